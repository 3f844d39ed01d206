"""What trained policies are worth in simulation and on hidden twins: every episode counted, robot by robot.

A twin is a unit of a fleet: the simulation with the startup events of a randomization drawn for that unit under a
hidden seed. Units that were looked at for identification must not be evaluated on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from cairngym.agents.core import Agent, check_autoreset
from cairngym.agents.evaluation import PATIENCE
from cairngym.envs.core import TensorEnv
from cairngym.sim2real.randomization.config import RandomizationConfig, resolve_config
from cairngym.sim2real.randomization.wrapper import Randomization

Success = Literal["once", "at_end"]
COPIES = 4
"""Envs that play one robot side by side."""
SEED = 2_000_003
"""Default seed of the episodes, apart from those of training and of the evaluations while training."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A trained policy, and how to make the simulation it was trained for."""

    variant: str
    """How it was trained."""
    seed: int
    """Of its training."""
    agent: Agent
    make_sim: Callable[[int, int], TensorEnv]
    """`(num_envs, seed)` to the nominal env, without wrappers."""
    wrap: Callable[[TensorEnv], TensorEnv]
    """Puts the policy's own wrappers around an env."""

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant} seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Robots that are alike but not the same."""

    config: RandomizationConfig
    """What differs: startup events between robots, the others on all of them."""
    seed: int
    """Hidden: of the startup draws."""
    units: tuple[int, ...]
    """The robots to evaluate on."""

    @classmethod
    def named(cls, config: object, *, seed: int, units: Sequence[int], excluded: Sequence[int] = ()) -> Fleet:
        """A fleet by the name or path of its preset.

        Args:
            config: as `Randomization` takes it.
            seed: of the startup draws.
            units: the robots to evaluate on.
            excluded: robots that have been used for identification.

        Raises:
            ValueError: no units, one of them twice, or one that is excluded.
        """
        chosen = tuple(units)
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(f"Expected different units of the fleet, at least one, got {list(chosen)}.")
        seen = sorted(set(chosen) & set(excluded))
        if seen:
            raise ValueError(
                f"Expected units that identification has not seen, got {seen} among them. Evaluate on others, or they "
                "are no longer hidden."
            )
        return cls(config=resolve_config(config), seed=seed, units=chosen)  # type: ignore[arg-type]

    def with_config(self, config: RandomizationConfig) -> Fleet:
        """The same robots with other events."""
        return replace(self, config=config)


@dataclass(frozen=True, kw_only=True)
class Played:
    """The episodes of one policy."""

    variant: str
    seed: int
    sim: np.ndarray
    """Successes in simulation, bool `(episodes,)`, the earliest first."""
    twins: np.ndarray
    """Successes on the twins, bool `(units, episodes)`."""

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant} seed {self.seed}"


def play(
    agent: Agent, env: TensorEnv, episodes: int, *, seed: int, success: Success = "once", deterministic: bool = True
) -> np.ndarray:
    """Play so many episodes in every env and note which succeed.

    Args:
        agent: whose present policy plays, with a memory and random numbers of its own.
        env: an env for this purpose alone: it is reset.
        episodes: of every env; the first ones count, however long they take.
        seed: of the env and of the sampled actions.
        success: whether an episode counts where the task was done at any of its steps, or only at its last.
        deterministic: play the likeliest action, as a deployed policy does, instead of sampling.

    Returns:
        bool `(N, episodes)`.

    Raises:
        ValueError: no episodes, or an env that does not reset within the step.
    """
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    check_autoreset(env)
    found = torch.zeros(env.num_envs, episodes + 1, dtype=torch.bool, device=env.device)
    count = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    rows = torch.arange(env.num_envs, device=env.device)
    if agent.values is not None:
        env.guide(agent.values, exploit=True)
    actor = agent.actor(env.num_envs, deterministic=deterministic, seed=seed)
    obs, _ = env.reset(seed=seed)
    steps = 0
    while steps % PATIENCE or bool((count < episodes).any()):
        obs, _, _, _, info = env.step(actor.act(obs))
        ended = info["_episode"]
        place = torch.where(ended, count, episodes).clamp(max=episodes)  # the last column takes what does not count
        found[rows, place] = info["episode"]["success_once" if success == "once" else "success_at_end"].bool()
        count += ended
        actor.begin(ended)
        steps += 1
    return found[:, :episodes].cpu().numpy()


def make_fleet_env(policy: Policy, fleet: Fleet, *, copies: int = COPIES, seed: int = SEED) -> TensorEnv:
    """Every robot of the fleet `copies` times, in the policy's wrappers; env i is unit `units[i % len(units)]`."""
    env = policy.make_sim(len(fleet.units) * copies, seed)
    return policy.wrap(Randomization(env, config=fleet.config, seed=fleet.seed, units=fleet.units))


def play_fleet(
    policy: Policy,
    fleet: Fleet,
    episodes: int,
    *,
    seed: int = SEED,
    success: Success = "once",
    deterministic: bool = True,
) -> np.ndarray:
    """Successes on every robot of a fleet, bool `(units, episodes)`."""
    copies, units = min(COPIES, episodes), len(fleet.units)
    env = make_fleet_env(policy, fleet, copies=copies, seed=seed)
    found = _play_and_close(policy, env, -(-episodes // copies), seed, success, deterministic)
    # (copies, units, each) to (units, each, copies): what was played side by side stays together in time
    return found.reshape(copies, units, -1).transpose(1, 2, 0).reshape(units, -1)[:, :episodes]


def play_sim(
    policy: Policy, episodes: int, *, seed: int = SEED, success: Success = "once", deterministic: bool = True
) -> np.ndarray:
    """Successes in the nominal simulation, bool `(episodes,)`."""
    count = min(episodes, 8 * COPIES)
    env = policy.wrap(policy.make_sim(count, seed))
    found = _play_and_close(policy, env, -(-episodes // count), seed, success, deterministic)
    return found.T.reshape(-1)[:episodes]


def _play_and_close(
    policy: Policy, env: TensorEnv, each: int, seed: int, success: Success, deterministic: bool
) -> np.ndarray:
    try:
        return play(policy.agent, env, each, seed=seed, success=success, deterministic=deterministic)
    finally:
        env.close()


def evaluate_policy(
    policy: Policy,
    fleet: Fleet,
    *,
    episodes: int,
    seed: int = SEED,
    success: Success = "once",
    deterministic: bool = True,
) -> Played:
    """Play a policy in simulation and on every robot of a fleet.

    Args:
        policy: what is evaluated.
        fleet: the hidden twins.
        episodes: on each twin; simulation gets as many as all twins together.
        seed: of the episodes; every policy meets the same ones.
        success: see `play`.
        deterministic: see `play`.
    """
    total = episodes * len(fleet.units)
    sim = play_sim(policy, total, seed=seed, success=success, deterministic=deterministic)
    twins = play_fleet(policy, fleet, episodes, seed=seed, success=success, deterministic=deterministic)
    return Played(variant=policy.variant, seed=policy.seed, sim=sim, twins=twins)
