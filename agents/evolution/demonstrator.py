"""Rewarded trajectories of a search as demonstrations: quality-diversity explores, reinforcement learning exploits."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from cairngym.agents.demonstrations import Demonstrations, collect
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.evolution.individuals import Individuals, best_first
from cairngym.envs.core import Observation, State, TensorEnv


def rewarded_elites(agent: Evolution) -> Individuals:
    """The elites that were rewarded, one a cell of the grid, the fittest first; without a grid, the elite alone.

    Raises:
        ValueError: none was, saying what was found.
    """
    elites = agent.elite if agent.findings is None else agent.findings.elites
    order = best_first(elites.fitness)
    rewarded = elites.rows(order[elites.fitness[order] > 0.0])
    if not rewarded.size:
        found = "" if agent.findings is None else f" {agent.findings.record.explain()}"
        raise ValueError(
            f"Expected {agent.name!r} to have found a reward before it demonstrates, got none in {agent.evaluations} "
            f"evaluations.{found} Let it learn longer."
        )
    return rewarded


def demonstrations_of(agent: Evolution, env: TensorEnv, episodes: int, seed: int = 0) -> Demonstrations:
    """Let the rewarded elites play in `env`, in turns, and keep the episodes that are rewarded again.

    Each plays once before any plays twice, so that the demonstrations differ as much as what was found.

    Args:
        agent: has found a reward.
        env: with the spaces the agent was made for; it is reset.
        episodes: how many to keep.
        seed: of the lives.

    Raises:
        ValueError: no episodes wanted, or nothing rewarded was found.
        RuntimeError: the elites are not rewarded again.
    """
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    genomes = rewarded_elites(agent).genome.to(env.device)
    kept: list[Demonstrations] = []
    count, played, limit = 0, 0, 20 * max(episodes, len(genomes))
    while count < episodes and played < limit:
        turn = genomes[(torch.arange(env.num_envs, device=env.device) + played) % len(genomes)]
        wave = _rewarded(_wave(agent, env, turn, seed + played))
        if wave is not None:
            kept.append(wave)
            count += len(wave)
        played += env.num_envs
    if count < episodes:
        raise RuntimeError(
            f"Expected {episodes} rewarded episodes, got {count} in {played}: the elites owe their reward to chance. "
            "Let the agent learn longer, or ask for fewer."
        )
    return _first(joined(kept), episodes)


def _wave(agent: Evolution, env: TensorEnv, genomes: torch.Tensor, seed: int) -> Demonstrations:
    def policy(obs: Observation, state: State) -> torch.Tensor:
        del state
        return agent.controller.act(genomes, obs)

    with torch.no_grad():
        return collect(policy, env, env.num_envs, seed, only_successful=False)


def _rewarded(demonstrations: Demonstrations) -> Demonstrations | None:
    """The episodes with a return above zero; None where there is none."""
    lengths = demonstrations.lengths
    owner = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    returns = torch.zeros(len(lengths), device=lengths.device).index_add_(0, owner, demonstrations.reward)
    good = returns > 0.0
    return _chosen(demonstrations, good[owner], lengths[good]) if bool(good.any()) else None


def _first(demonstrations: Demonstrations, episodes: int) -> Demonstrations:
    lengths = demonstrations.lengths[:episodes]
    steps = torch.arange(int(demonstrations.lengths.sum()), device=lengths.device)
    return _chosen(demonstrations, steps < lengths.sum(), lengths)


def _chosen(demonstrations: Demonstrations, steps: torch.Tensor, lengths: torch.Tensor) -> Demonstrations:
    def pick(value: Any) -> Any:
        return {name: pick(entry) for name, entry in value.items()} if isinstance(value, dict) else value[steps]

    return Demonstrations(**{name: pick(getattr(demonstrations, name)) for name in COLUMNS}, lengths=lengths)


def joined(parts: list[Demonstrations]) -> Demonstrations:
    """Several demonstrations, one after another."""

    def join(values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, dict):
            return {name: join([value[name] for value in values]) for name in first}
        return torch.cat(values)

    columns = {name: join([getattr(part, name) for part in parts]) for name in (*COLUMNS, "lengths")}
    return Demonstrations(**columns)


COLUMNS = tuple(field.name for field in fields(Demonstrations) if field.name != "lengths")
