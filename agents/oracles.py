"""Who can show a task: scripted oracles by task, their noisy kin, and trained agents, all as policies for `collect`.

A policy maps observations and state to actions, see `cairngym.agents.demonstrations.Policy`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces

from cairngym.envs.checks import UnknownNameError, check_seed
from cairngym.envs.core import Observation, State, TensorEnv
from cairngym.envs.factories import load
from cairngym.envs.random import uniform

if TYPE_CHECKING:
    from cairngym.agents.core import Agent
    from cairngym.agents.demonstrations import Policy

Factory = str | Callable[[TensorEnv], "Policy"]
WHETHER, WHICH, HOW_FAR = 101, 102, 103
"""Streams of `cairngym.envs.random` that the noise draws from."""


@dataclass(frozen=True, kw_only=True)
class OracleEntry:
    """Which tasks an oracle can show."""

    ids: str
    """Regular expression that matches their whole ids."""
    tasks: str
    """The same for people."""
    make: Factory
    """`make(env)` gives the policy, or "module:function"."""
    whole: bool = False
    """Whether it has a memory, and must be asked for all envs at every step."""


_oracles: dict[str, OracleEntry] = {
    "minigrid": OracleEntry(ids=r"MiniGrid-.*", tasks="MiniGrid-*", make="cairngym.agents.oracles:_minigrid"),
    "fetch": OracleEntry(
        ids=r"Fetch(Reach|Push|PickAndPlace)-v\d+",
        tasks="FetchReach, FetchPush, FetchPickAndPlace",
        make="cairngym.agents.oracles:_fetch",
    ),
    "point_maze": OracleEntry(ids=r"PointMaze_.*", tasks="PointMaze_*", make="cairngym.agents.oracles:_point_maze"),
    "quadrotor": OracleEntry(ids=r"Quadrotor-v\d+", tasks="Quadrotor", make="cairngym.agents.oracles:_quadrotor"),
    "differential_drive": OracleEntry(
        ids=r"DifferentialDrive-v\d+", tasks="DifferentialDrive", make="cairngym.agents.oracles:_differential_drive"
    ),
    "franka_reach": OracleEntry(
        ids=r"FrankaReach-v\d+", tasks="FrankaReach", make="cairngym.agents.oracles:_franka_reach"
    ),
    "lidar": OracleEntry(ids=r"LidarRooms-.*", tasks="LidarRooms-*", make="cairngym.agents.oracles:_lidar"),
    "stl": OracleEntry(
        ids=r"Stl(Linear|Unicycle|Quadrotor|Franka)-.*",
        tasks="StlLinear-*, StlUnicycle-*, StlQuadrotor-*, StlFranka-*",
        make="cairngym.agents.oracles:_stl",
        whole=True,
    ),
}


def register_oracle(name: str, ids: str, make: Factory, tasks: str = "") -> None:
    """Add an oracle for the tasks whose whole id matches the regular expression `ids`.

    Args:
        name: for the record.
        ids: regular expression.
        make: `make(env)` gives a policy, or "module:function" naming it.
        tasks: the ids for people; default is `ids`.

    Raises:
        ValueError: if the name is taken.
    """
    if name in _oracles:
        raise ValueError(f"The oracle {name!r} is already registered; choose another name.")
    _oracles[name] = OracleEntry(ids=ids, tasks=tasks or ids, make=make)


def list_oracles() -> dict[str, str]:
    """The tasks that oracles can show, by the oracle's name."""
    return {name: entry.tasks for name, entry in sorted(_oracles.items())}


def find_oracle(env_id: str) -> str:
    """The name of the oracle that shows a task.

    Raises:
        UnknownNameError: it has none; the message lists the tasks that have one.
    """
    for name, entry in _oracles.items():
        if env_id and re.fullmatch(entry.ids, env_id):
            return name
    known = "; ".join(f"{name}: {tasks}" for name, tasks in list_oracles().items())
    raise UnknownNameError(
        f"There is no oracle for the task {env_id or 'without an id'!r}. Oracles: {known}. Record a trained run, or "
        "add an oracle with register_oracle()."
    )


def plays_all(env: TensorEnv) -> bool:
    """Whether the oracle of an env's task must be asked for all envs at every step."""
    return _oracles[find_oracle(env.unwrapped.id)].whole


def make_oracle(env: TensorEnv) -> Policy:
    """The oracle of an env's task.

    Raises:
        UnknownNameError: it has none.
    """
    made: Policy = load(_oracles[find_oracle(env.unwrapped.id)].make)(env.unwrapped)
    return made


class NoisyPolicy:
    """A policy whose actions are disturbed: some are uniform draws, and boxes get Gaussian noise.

    Noise is keyed by seed, env, episode and step, so env i is disturbed alike in a batch of any size.

    Args:
        policy: disturbed.
        env: which it plays, for its spaces and the lives of its envs.
        noise: standard deviation as a share of half the box's range.
        random_actions: probability that an action is drawn uniformly.
        seed: of the noise.

    Raises:
        ValueError: negative noise, a probability outside [0, 1], or noise on actions that are not a bounded Box.
    """

    def __init__(
        self, policy: Policy, env: TensorEnv, *, noise: float = 0.0, random_actions: float = 0.0, seed: int = 0
    ) -> None:
        self.policy, self.space, self.episodes = policy, env.single_action_space, env.unwrapped.episodes
        self.noise, self.random_actions, self.seed = noise, random_actions, check_seed(seed)
        self.discrete = isinstance(self.space, spaces.Discrete)
        if not noise >= 0.0 or not 0.0 <= random_actions <= 1.0:
            raise ValueError(f"Expected noise >= 0 and random_actions in [0, 1], got {noise} and {random_actions}.")
        if noise and self.discrete:
            raise ValueError(f"Expected noise=0 with {self.space}, got {noise}. Give random_actions instead.")
        if not self.discrete and not (isinstance(self.space, spaces.Box) and self.space.is_bounded()):
            raise ValueError(f"Expected Discrete actions or a bounded Box to add noise to, got {self.space}.")

    def __call__(self, obs: Observation, state: State) -> torch.Tensor:
        """Actions for the first B envs."""
        action = self.policy(obs, state)
        wild = self._draw(WHETHER, len(action), 1)[:, 0] < self.random_actions
        if isinstance(self.space, spaces.Discrete):
            drawn = (self._draw(WHICH, len(action), 1)[:, 0] * int(self.space.n)).long() + int(self.space.start)
            return torch.where(wild, drawn, action)
        low, high = self._bounds(action)
        share = self._draw(WHICH, len(action), action[0].numel()).view_as(action)
        drawn = low + share * (high - low)
        disturbed = (action + 0.5 * self.noise * (high - low) * self._normal(action)).clamp(low, high)
        return torch.where(wild.view(-1, *(1,) * (action.ndim - 1)), drawn, disturbed)

    def _draw(self, stream: int, size: int, count: int) -> torch.Tensor:
        lives = self.episodes
        ids, number, step = (column[:size] for column in (lives.env_id, lives.number, lives.length))
        return uniform(self.seed, ids, number, stream, count, step)

    def _normal(self, action: torch.Tensor) -> torch.Tensor:
        """Box and Muller's transform of uniform draws."""
        first, second = self._draw(HOW_FAR, len(action), 2 * action[0].numel()).chunk(2, dim=1)
        return ((-2.0 * (1.0 - first).log()).sqrt() * torch.cos(2.0 * torch.pi * second)).view_as(action)

    def _bounds(self, action: torch.Tensor) -> tuple[torch.Tensor, ...]:
        box: Any = self.space
        return tuple(torch.as_tensor(bound, device=action.device) for bound in (box.low, box.high))


class AgentPolicy:
    """An agent's present policy.

    Args:
        agent: plays.
        num_envs: how many envs.
        deterministic: the likeliest action instead of a sampled one.
        seed: of the sampling.
        env: tells it where episodes begin.
    """

    def __init__(
        self, agent: Agent, env: TensorEnv, num_envs: int, *, deterministic: bool = False, seed: int = 0
    ) -> None:
        self.actor = agent.actor(num_envs, deterministic=deterministic, seed=seed)
        self.episodes = env.unwrapped.episodes

    def __call__(self, obs: Observation, state: State) -> torch.Tensor:
        """Actions for the first `num_envs` envs."""
        del state
        size = len(obs) if isinstance(obs, torch.Tensor) else len(next(iter(obs.values())))
        self.actor.begin(self.episodes.length[:size] == 0)
        return self.actor.act(obs)


def _of_state(oracle: Callable[[State], torch.Tensor]) -> Policy:
    return lambda obs, state: oracle(state)


def _minigrid(env: TensorEnv) -> Policy:
    from cairngym.envs.minigrid.oracle import MiniGridOracle

    return _of_state(MiniGridOracle(env))


def _fetch(env: TensorEnv) -> Policy:
    from cairngym.envs.manipulation.fetch_oracle import fetch_oracle

    return _of_state(fetch_oracle(env.id))


def _point_maze(env: TensorEnv) -> Policy:
    from cairngym.envs.navigation.point_maze_oracle import PointMazeOracle

    world: Any = env.world
    return _of_state(PointMazeOracle(world.paths))


def _lidar(env: TensorEnv) -> Policy:
    from cairngym.envs.navigation.lidar.oracle import ShortestWayDriver

    return _of_state(ShortestWayDriver(env))


def _stl(env: TensorEnv) -> Policy:
    from cairngym.envs.stl.oracle import Oracle

    if "Franka" in env.id:
        import cairngym.envs.stl.franka_oracle  # noqa: F401  # teaches the oracle to act there

    world: Any = env.world
    return _of_state(Oracle(world.inner).act)


def _quadrotor(env: TensorEnv) -> Policy:
    from cairngym.envs.navigation.quadrotor_oracle import fly

    return _of_state(fly)


def _differential_drive(env: TensorEnv) -> Policy:
    from cairngym.envs.navigation.differential_drive_oracle import drive

    return _of_state(drive)


def _franka_reach(env: TensorEnv) -> Policy:
    from cairngym.envs.manipulation.franka_reach_oracle import FrankaReachOracle

    return _of_state(FrankaReachOracle(env.device))
