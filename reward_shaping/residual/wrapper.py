"""The wrapper "residual": a frozen base policy plays, and actions correct what it does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.checks import check_shape
from cairngym.envs.core import Observation, State, TensorEnv, clone, where
from cairngym.envs.factories import Factory
from cairngym.envs.wrapper import TensorWrapper
from cairngym.reward_shaping.residual.base import BASE_ACTION, BasePolicy, Lives, make_base


class Residual(TensorWrapper):
    """Does `clip(base + scale * residual)`, the scale being in halves of the action's range.

    Observations gain the entry `base_action`, what the base does next if it is not corrected, in the env's own units;
    one that was no Dict becomes the entry `observation`. `info` gains `executed_action` and `base_action` `(N, ...)`,
    both in the env's units, and `clipped` `(N,)`, the share of an action's entries that the box cut off. Actions of
    zero play the base exactly. They may leave [-1, 1], for only their sum with the base is bounded: exploration noise
    need not be as small as the correction (Ankile et al., "Residual off-policy RL for finetuning behavior cloning
    policies", 2025).

    Args:
        env: any TensorEnv with a Box of finite bounds for actions.
        base: a name of `list_bases()`, or what makes a base policy from env, number of envs and options.
        base_options: its options.
        scale: how far a residual of one moves the action.

    Raises:
        TypeError: an action space other than Box, or an observation that has a base action already.
        ValueError: infinite bounds, a scale that is none, or a base that gives another shape or NaN.
    """

    def __init__(
        self,
        env: TensorEnv,
        *,
        base: Factory[BasePolicy] = "oracle",
        base_options: Mapping[str, Any] | None = None,
        scale: float = 0.2,
    ) -> None:
        box = _bounded(env.single_action_space)
        if not 0.0 < scale < float("inf"):
            raise ValueError(f"Expected a finite scale > 0, got {scale}.")
        shown = _shown(env.single_observation_space, box)
        super().__init__(env, observation_space=shown, action_space=spaces.Box(-1.0, 1.0, box.shape, np.float32))
        self.scale, self.corrected_space = scale, box
        self.task = copy.copy(env.task)
        self.task.single_observation_space = shown
        if not isinstance(env.single_observation_space, spaces.Dict):
            codes = env.task.categories.get("")
            self.task.categories = {} if codes is None else {"observation": codes}
        self._recipe = (base, dict(base_options or {}))
        self.base = self.make_base(env.num_envs)
        self.low, self.high = (
            torch.as_tensor(bound, dtype=torch.float32, device=env.device) for bound in (box.low, box.high)
        )
        self._reach = 0.5 * scale * (self.high - self.low)
        self._base_action: torch.Tensor | None = None
        self._done: dict[str, torch.Tensor] = {}
        self._ahead = self._lives()

    def make_base(self, num_envs: int) -> BasePolicy:
        """Another copy of the base policy, for `num_envs` envs."""
        return make_base(self._recipe[0], self.env, num_envs, self._recipe[1])

    def shown(self, obs: Observation, base_action: torch.Tensor) -> dict[str, torch.Tensor]:
        """An observation of the inner env together with the base's action."""
        entries = obs if isinstance(obs, dict) else {"observation": obs}
        return {**entries, BASE_ACTION: base_action}

    def decided(self, action: Any, num_envs: int) -> torch.Tensor:
        """A base's answer as float32 `(num_envs, ...)` within the box.

        Raises:
            ValueError: it has another shape, or, on the CPU, is not finite.
        """
        decided = torch.as_tensor(action, device=self.device)
        check_shape("the base policy's actions", decided, (num_envs, *self.low.shape), "(num_envs, *action_shape)")
        if self.device.type == "cpu" and not bool(torch.isfinite(decided).all()):
            raise ValueError("Expected finite actions of the base policy, got NaN or infinities.")
        return decided.to(torch.float32).clamp(self.low, self.high)

    def _ask(self, obs: Observation, state: State, lives: Lives) -> torch.Tensor:
        with torch.no_grad():
            return self.decided(self.base.act(obs, state, lives), self.num_envs)

    def _lives(self) -> Lives:
        episodes = self.unwrapped.episodes
        return Lives(episodes.seed, episodes.env_id, episodes.number, episodes.length)

    # Hooks of TensorWrapper -------------------------------------------------------------------------------------------

    def remember(self, obs: Observation, state: State) -> None:
        """Ask the base what it does next, or would where the episode is over."""
        self._base_action = self._ask(obs, state, self._ahead)

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Ask the base what it does first in the new episodes; elsewhere it does not move on."""
        self.base.begin(mask)
        if self._base_action is not None and mask.device.type == "cpu" and not bool(mask.any()):
            return
        before = self.base.get_state()
        first = self._ask(obs, state, self._lives())
        self.base.set_state(where(mask, self.base.get_state(), before))
        self._base_action = first if self._base_action is None else where(mask, first, self._base_action)

    def observation(self, obs: Observation, state: State) -> Observation:
        """The observation with the base's action."""
        if self._base_action is None:
            raise RuntimeError("Call reset() before step().")
        return self.shown(obs, self._base_action)

    def action(self, action: Any) -> torch.Tensor:
        """The base's action, corrected."""
        residual = torch.as_tensor(action, device=self.device)
        check_shape("residual actions", residual, (self.num_envs, *self.low.shape), "(num_envs, *action_shape)")
        if self._base_action is None:
            raise RuntimeError("Call reset() before step().")
        if self.device.type == "cpu" and not bool(torch.isfinite(residual).all()):
            raise ValueError("Expected finite residual actions, got NaN or infinities.")
        wanted = self._base_action + self._reach * residual.to(torch.float32)
        executed = wanted.clamp(self.low, self.high)
        # After the step an env that ended will count the new episode.
        lives, going = self._lives(), ~self.unwrapped.episodes.ended
        self._ahead = lives._replace(number=lives.number.clone(), length=lives.length + going)
        clipped = (executed != wanted).to(torch.float32).flatten(1).mean(1)
        self._done = {"executed_action": executed, BASE_ACTION: self._base_action, "clipped": clipped}
        return executed

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env and tell what was done."""
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, truncated, {**info, **self._done}

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env, the base's memory and its next action."""
        return {
            "env": self.env.get_state(), "base": self.base.get_state(), "base_action": clone(self._base_action),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self.base.set_state(snapshot["base"])
        self._base_action = clone(snapshot["base_action"])


def _bounded(space: spaces.Space) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise TypeError(f"Expected a Box of actions to correct, got {space}: a correction is added to them.")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(f"Expected actions with finite bounds to correct, got {space}. Bound them with a wrapper.")
    return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)


def _shown(space: spaces.Space, box: spaces.Box) -> spaces.Dict:
    entries = dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}
    if BASE_ACTION in entries:
        raise TypeError(f"Expected an observation without {BASE_ACTION!r}, got {space}. Correct a base policy once.")
    return spaces.Dict({**entries, BASE_ACTION: box})


def residual_of(env: TensorEnv) -> Residual:
    """The residual wrapper of an env.

    Raises:
        TypeError: it wears none.
    """
    inner: Any = env
    while not isinstance(inner, Residual):
        inner = inner.__dict__.get("env")
        if inner is None:
            raise TypeError(
                "Expected an env whose base policy is to be corrected, got one without it. Put it in the wrapper "
                '"residual".'
            )
    return inner
