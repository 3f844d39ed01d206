"""Policies that solve tasks without learning, so that recordings hold successes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from gymnasium import spaces

from cairngym.envs.core import State, TensorEnv, clone
from cairngym.envs.random import Stream, uniform
from cairngym.envs.world import WorldSpec

Policy = Callable[[State], torch.Tensor]
"""Maps the state of all N envs to their actions `(N, ...)`; called once a step."""
TIE = 1e-6
"""Progress that differs by less counts as equal."""


def scripted(env: TensorEnv) -> Policy | None:
    """The scripted policy that the env's family offers; None where there is none.

    Fetch (but for FetchSlide), point mazes and the temporal-logic worlds have controllers of their own. With discrete
    actions, a policy that looks one step ahead follows the task's progress.
    """
    family = FAMILIES.get(type(env.unwrapped.world).__name__)
    if family is not None:
        return family(env.unwrapped.world)
    if isinstance(env.single_action_space, spaces.Discrete):
        return Lookahead(env)
    return None


class Lookahead:
    """Try every action from a snapshot, and take the one after which progress is greatest.

    Of equal ones, one that changes what is measured is drawn: an agent that must turn before it can come nearer turns.
    It solves tasks whose progress never has to fall on the way, as MiniGrid's does not.

    Args:
        env: the env that is acted in; it is back at its snapshot after every call.
        seed: of the draws.

    Raises:
        TypeError: the env's actions are not discrete.
    """

    def __init__(self, env: TensorEnv, seed: int = 0) -> None:
        if not isinstance(env.single_action_space, spaces.Discrete):
            raise TypeError(f"Expected discrete actions to look ahead by, got {env.single_action_space}.")
        self.env, self.space, self.seed = env, env.single_action_space, seed
        self._calls = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)

    def __call__(self, state: State) -> torch.Tensor:
        """The best action of every env, int64 `(N,)`."""
        now = {name: value.clone() for name, value in state.items()}
        worth, changes = self._try_all(now)
        env_id = torch.arange(self.env.num_envs, device=self.env.device)
        draw = uniform(self.seed, env_id, self._calls, Stream.SHAPER, len(worth)).T
        self._calls = self._calls + 1
        best = worth >= worth.amax(0) - TIE
        return torch.where(best, 1.0 + changes + draw, 0.0).argmax(0) + int(self.space.start)

    def _try_all(self, now: State) -> tuple[torch.Tensor, torch.Tensor]:
        """Progress after each action, and 1 where the action changes anything but clocks, float32 `(A, N)` each."""
        first, before = int(self.space.start), clone(self.env.get_state())
        worth, moved = [], []
        for action in range(first, first + int(self.space.n)):
            actions = torch.full((self.env.num_envs,), action, dtype=torch.int64, device=self.env.device)
            _, _, terminated, _, info = self.env.step(actions)
            after, success = dict(info["final_state"]), info["success"]
            progress = self.env.progress(after)
            worth.append(torch.where(success, 2.0, torch.where(terminated & ~success, -1.0, progress)))
            moved.append([differs(after[name], value) for name, value in now.items()])
            self.env.set_state(before)
        changed = torch.stack([torch.stack(fields) for fields in moved])
        clock = changed.flatten(2).all(2).all(0)  # what every action changes in every env
        return torch.stack(worth), (changed & ~clock.unsqueeze(-1)).any(1).to(torch.float32)


def differs(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Whether two tensors `(N, ...)` differ in a row, bool `(N,)`."""
    return (left != right).view(len(left), -1).any(1)


def _fetch(world: WorldSpec) -> Policy | None:
    from cairngym.envs.manipulation.fetch import FetchWorld
    from cairngym.envs.manipulation.fetch_config import FETCH
    from cairngym.envs.manipulation.fetch_oracle import ORACLES

    config = cast(FetchWorld, world).config
    return next((ORACLES[name] for name in ORACLES if FETCH[name] == config), None)


def _maze(world: WorldSpec) -> Policy | None:
    from cairngym.envs.navigation.maze import MazeWorld
    from cairngym.envs.navigation.point_maze_oracle import PointMazeOracle

    drives_a_point = world.single_action_space.shape == (2,)
    return PointMazeOracle(cast(MazeWorld, world).paths) if drives_a_point else None


def _temporal(world: WorldSpec) -> Policy | None:
    from cairngym.envs.stl import franka_oracle, oracle
    from cairngym.envs.stl.arena import ArenaWorld

    del franka_oracle  # imported for what it registers
    inner = getattr(world, "inner", None)
    known = tuple(kind for kind in oracle.control.registry if kind is not object)
    return oracle.Oracle(cast(ArenaWorld, inner)).act if isinstance(inner, known) else None


FAMILIES: dict[str, Callable[[WorldSpec], Policy | None]] = {
    "FetchWorld": _fetch,
    "MazeWorld": _maze,
    "MonitoredWorld": _temporal,
}
"""By the name of the world's class, so that no simulator is imported for an env that does without."""
