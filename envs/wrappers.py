"""Wrappers that any TensorEnv can wear; `cairngym.envs.wrapper_registry` has their names."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.checks import check_action, check_shape, unknown_name
from cairngym.envs.core import Observation, State, TensorEnv, clone, where
from cairngym.envs.random import uniform
from cairngym.envs.wrapper import TensorWrapper

STICKY_STREAM = 16
"""The stream of `StickyActions`, beside those of `cairngym.envs.random.Stream`."""


class FrameStack(TensorWrapper):
    """Shows the last observations together, joined along their last axis, the oldest first.

    An episode's first observation stands for those before it. Indices and codes keep their meaning per channel
    (`task.categories` is repeated), so networks read a stack as they read one frame.

    Args:
        env: any TensorEnv.
        frames: how many observations, at least one.
        keys: entries of a Dict observation to stack; None stacks all of them.

    Raises:
        ValueError: frames below one.
        UnknownNameError: a key that the observation does not have.

    Example:
        >>> import cairngym
        >>> env = FrameStack(cairngym.make("Chain-N10-v0", num_envs=2), frames=3)
        >>> env.reset(seed=0)[0].shape
        torch.Size([2, 30])
    """

    def __init__(self, env: TensorEnv, *, frames: int = 4, keys: tuple[str, ...] | None = None) -> None:
        if frames < 1:
            raise ValueError(f"Expected frames >= 1, got {frames}.")
        space = env.single_observation_space
        entries = tuple(space.spaces) if isinstance(space, spaces.Dict) else ("",)
        self.frames, self.keys = frames, entries if keys is None else tuple(keys)
        for name in self.keys:
            if name not in entries:
                raise unknown_name("observation entry", name, entries)
        super().__init__(env, observation_space=self._map(space, self._stack_space))
        self.task = copy.copy(env.task)
        self.task.single_observation_space = self.single_observation_space
        self.task.categories = {
            name: tuple(codes) * frames if name in self.keys else codes
            for name, codes in env.task.categories.items()
        }  # fmt: skip
        self._stack: dict[str, torch.Tensor] = {}

    def _map(self, value: Any, change: Callable[[Any], Any]) -> Any:
        """`change` the entries to be stacked, in an observation or a space."""
        if isinstance(value, spaces.Dict):
            return spaces.Dict(self._map(value.spaces, change))
        if isinstance(value, Mapping):
            return {name: change(item) if name in self.keys else item for name, item in value.items()}
        return change(value)

    def _stack_space(self, space: spaces.Space) -> spaces.Box:
        if not isinstance(space, spaces.Box):
            raise TypeError(f"Expected boxes to stack, got {space}.")
        low, high = (np.atleast_1d(bound) for bound in (space.low, space.high))
        times = (1,) * (low.ndim - 1) + (self.frames,)
        return spaces.Box(np.tile(low, times), np.tile(high, times), dtype=space.dtype)

    def _select(self, obs: Observation) -> dict[str, torch.Tensor]:
        """The entries to be stacked, with at least one axis beside the envs'."""
        entries = obs if isinstance(obs, dict) else {"": obs}
        return {name: entries[name].view(self.num_envs, -1) if entries[name].ndim == 1 else entries[name]
                for name in self.keys}  # fmt: skip

    def remember(self, obs: Observation, state: State) -> None:
        """Drop the oldest frame and take in the newest."""
        for name, frame in self._select(obs).items():
            self._stack[name] = torch.cat((self._stack[name][..., frame.shape[-1] :], frame), dim=-1)

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Fill the stacks of new episodes with their first observation."""
        for name, frame in self._select(obs).items():
            full = torch.cat((frame,) * self.frames, dim=-1)
            self._stack[name] = where(mask, full, self._stack[name]) if name in self._stack else full

    def observation(self, obs: Observation, state: State) -> Observation:
        """The stacks, and the other entries as they are."""
        return {**obs, **self._stack} if isinstance(obs, dict) else self._stack[""]

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env and the stacks."""
        return {"env": self.env.get_state(), "stack": clone(self._stack)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._stack = clone(snapshot["stack"])


class _ActionMemory(TensorWrapper):
    """Base of wrappers that do another action than the one given; `info["executed_action"]` tells which."""

    def __init__(self, env: TensorEnv) -> None:
        super().__init__(env)
        self._executed: torch.Tensor | None = None

    def _check(self, action: Any) -> torch.Tensor:
        return check_action(action, self.single_action_space, self.num_envs, self.device)

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env and tell what was done."""
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, truncated, {**info, "executed_action": self._executed}


class ActionDelay(_ActionMemory):
    """Does every action some steps late, as a slow actuator or network does.

    Args:
        env: any TensorEnv.
        steps: how many steps late, at least zero.
        idle: the action done until an episode's first one arrives; None takes zeros for a Box (or what of it lies
            nearest) and the first action for Discrete.

    Raises:
        ValueError: steps below zero, or an idle action outside the action space.
    """

    def __init__(self, env: TensorEnv, *, steps: int = 1, idle: Any = None) -> None:
        if steps < 0:
            raise ValueError(f"Expected steps >= 0, got {steps}.")
        super().__init__(env)
        self.steps = steps
        self.idle = self._idle(idle)
        self._waiting = self.idle.expand(steps, *self.idle.shape).clone()

    def _idle(self, idle: Any) -> torch.Tensor:
        """The idle action of every env, `(N, *action_shape)`."""
        space = self.single_action_space
        if idle is None and isinstance(space, spaces.Box):
            idle = np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
        elif idle is None and isinstance(space, spaces.Discrete):
            idle = int(space.start)
        one = torch.as_tensor(idle, device=self.device)
        check_shape("the idle action", one, space.shape or (), "action_shape")
        return self._check(one.expand(self.num_envs, *one.shape))

    def action(self, action: Any) -> torch.Tensor:
        """The action given `steps` steps ago."""
        queue = torch.cat((self._waiting, self._check(action)[None]))
        self._executed, self._waiting = queue[0], queue[1:]
        return self._executed

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Forget the actions of the old episode."""
        if self.steps:
            idle = self.idle.expand_as(self._waiting).transpose(0, 1)
            self._waiting = where(mask, idle, self._waiting.transpose(0, 1)).transpose(0, 1)

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env and the waiting actions."""
        return {"env": self.env.get_state(), "waiting": self._waiting.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._waiting = snapshot["waiting"].clone()


class StickyActions(_ActionMemory):
    """Repeats the last executed action with some probability instead of doing the new one.

    An episode's first action is always done. Draws are made by (seed, env, episode, step). After Machado et al.,
    "Revisiting the Arcade Learning Environment", JAIR 2018, section 5.2.

    Args:
        env: any TensorEnv.
        probability: of repeating, in [0, 1].

    Raises:
        ValueError: a probability outside [0, 1].
    """

    def __init__(self, env: TensorEnv, *, probability: float = 0.25) -> None:
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"Expected a probability in [0, 1], got {probability}.")
        super().__init__(env)
        self.probability = probability
        self._fresh = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def action(self, action: Any) -> torch.Tensor:
        """The new action, or the last one again."""
        new = self._check(action)
        lives = self.unwrapped.episodes
        draw = uniform(lives.seed, lives.env_id, lives.number, STICKY_STREAM, 1, step=lives.length)[:, 0]
        repeat = (draw < self.probability) & ~self._fresh
        self._executed = new if self._executed is None else where(repeat, self._executed, new)
        self._fresh = torch.zeros_like(self._fresh)
        return self._executed

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Start new episodes without an action to repeat."""
        self._fresh = self._fresh | mask

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env and the last actions."""
        return {"env": self.env.get_state(), "executed": clone(self._executed), "fresh": self._fresh.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._executed, self._fresh = clone(snapshot["executed"]), snapshot["fresh"].clone()
