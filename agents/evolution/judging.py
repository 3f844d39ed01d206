"""Playing a population: whole episodes in a world's own kernel, or step by step over N worlds."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cairngym.agents.evolution.controller import Controller
from cairngym.agents.evolution.population import play_episodes
from cairngym.envs.core import Observation, TensorEnv
from cairngym.envs.fused import FusedWorld, Played
from cairngym.envs.wrapper import TensorWrapper


def fused(env: TensorEnv) -> FusedWorld | None:
    """The world that plays whole episodes of `env` by itself.

    None where it can't, or where wrappers and shapers change what is seen, done or paid.
    """
    world = env.unwrapped.world
    return None if isinstance(env, TensorWrapper) or not isinstance(world, FusedWorld) else world


def judge(
    env: TensorEnv, controller: Controller, genomes: torch.Tensor, seeds: torch.Tensor, *, record: bool = False
) -> tuple[Played, int]:
    """Let every genome play, and count the env steps it took.

    A fused world plays one episode of each, of the life that its seed gives. Elsewhere the N envs go on to their next
    episodes: up to N policies play at once, each on N / P of the worlds or one more, and their returns are averaged;
    the descriptor is that of a policy's first world.

    Args:
        env: as the agent learns on it; returns are what it pays, shaped where it is.
        controller: plays the genomes.
        genomes: float32 `(P, size)`.
        seeds: int64 `(P,)`, for fused worlds.
        record: whether to keep the descriptors along the way, for fused worlds.

    Raises:
        ValueError: a return or a descriptor is not finite.
    """
    genomes = genomes.to(env.device)
    world = fused(env)
    if world is not None:
        task = env.unwrapped.task
        played = world.play(task, genomes, controller.policy, seeds=seeds.to(env.device), record=record)
        steps = int(played.length.sum())
    else:
        waves = [_wave(env, controller, part) for part in genomes.split(env.num_envs)]
        played, steps = joined([wave for wave, _ in waves]), sum(count for _, count in waves)
    _check_finite(env, played)
    return played, steps


def joined(parts: Sequence[Played]) -> Played:
    """What several populations came to, one after another, without trajectories."""
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in FIELDS}
    return Played(**columns, trajectory=None)


def split(played: Played, sizes: Sequence[int]) -> list[Played]:
    """Undo `joined`."""
    parts = zip(*(getattr(played, name).split(list(sizes)) for name in FIELDS), strict=True)
    return [Played(**dict(zip(FIELDS, part, strict=True)), trajectory=None) for part in parts]


FIELDS = ("returns", "descriptor", "success", "length")


def _wave(env: TensorEnv, controller: Controller, genomes: torch.Tensor) -> tuple[Played, int]:
    """Play at most N policies, world i policy i * P // N."""
    count, policies, device = env.num_envs, len(genomes), env.device
    owner = torch.arange(count, device=device) * policies // count
    watch = _Ends(env)
    played = genomes[owner]

    def act(obs: Observation) -> torch.Tensor:
        return controller.act(played, obs)

    returns, steps = play_episodes(env, act, watch=watch.add)
    first = torch.searchsorted(owner, torch.arange(policies, device=device))
    mean = functools.partial(_means, owner=owner, policies=policies)
    found = Played(
        returns=mean(returns), descriptor=watch.descriptor[first], success=mean(watch.success.float()) > 0.5,
        length=mean(watch.length.float()).round().long(), trajectory=None,
    )  # fmt: skip
    return found, steps


def _means(values: torch.Tensor, owner: torch.Tensor, policies: int) -> torch.Tensor:
    sums = torch.zeros(policies, device=values.device).index_add_(0, owner, values)
    return sums / torch.bincount(owner, minlength=policies)


class _Ends:
    """Last states of the episodes that count, one an env."""

    def __init__(self, env: TensorEnv) -> None:
        self.describe = env.unwrapped.task.descriptor
        size = 0 if self.describe is None else self.describe.size
        self.descriptor = torch.zeros(env.num_envs, size, device=env.device)
        self.success = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self.length = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)

    def add(self, info: Mapping[str, Any]) -> None:
        """Take in a step's `info`, in which `_episode` marks the episodes that count."""
        done, episode = info["_episode"], info["episode"]
        if self.describe is not None:
            ended = self.describe(info["final_state"])
            self.descriptor = torch.where(done.unsqueeze(1), ended, self.descriptor)
        self.success = torch.where(done, episode["success_once"], self.success)
        self.length = torch.where(done, episode["length"], self.length)


def _check_finite(env: TensorEnv, played: Played) -> None:
    for what, values in (("returns", played.returns.unsqueeze(1)), ("descriptors", played.descriptor)):
        bad = ~values.isfinite().all(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise ValueError(
                f"Expected finite {what} from {env}, got NaN or infinity of {int(bad.sum())} policies of {len(bad)}, "
                f"first of policy {row}: {values[row].tolist()}. Look for where the env's reward or state comes from."
            )
