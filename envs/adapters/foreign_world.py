"""N copies of any gymnasium env as a world."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from cairngym.envs.adapters.convert import to_tensors
from cairngym.envs.adapters.flatten import LONE, Flattener
from cairngym.envs.adapters.life import Life
from cairngym.envs.checks import check_shape
from cairngym.envs.core import Observation, Outcome, State, StateField, TaskSpec, WorldSpec, clone, where
from cairngym.envs.episodes import Episodes
from cairngym.envs.random import Stream, integers

SUCCESS = "success"
Info = dict[str, Any]
SuccessRule = Callable[[Observation, torch.Tensor, torch.Tensor, Info], torch.Tensor]
Measure = Callable[[Observation, Info], Mapping[str, torch.Tensor]]


class SnapshotError(RuntimeError):
    """The env cannot be snapshotted; whoever resumes starts with new episodes."""


class ForeignWorld(WorldSpec):
    """N copies of a gymnasium env, stepped by a Python loop or by processes.

    `state` holds the observation's entries, what `measure` adds, and `success` of the last step. Episode seeds are
    drawn by (seed, env, episode), so env i lives the same life whatever N is.

    Args:
        makers: one callable per copy.
        flatten: reads their observations.
        device: where the tensors live.
        asynchronous: one process per copy instead of a loop.
        snapshot: "deepcopy" lets `get_state` copy the envs themselves.
        rule: success of a step from `(obs, reward, terminated, info)`, batched; None reads info["success"] or
            ["is_success"] where the env reports one, and takes a rewarded termination for success elsewhere.
        measure: further state fields from `(obs, info)`, batched.
        measure_spec: what they mean.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gymnasium.Env]],
        flatten: Flattener,
        device: str,
        *,
        asynchronous: bool,
        snapshot: str,
        rule: SuccessRule | None,
        measure: Measure | None,
        measure_spec: Mapping[str, StateField],
    ) -> None:
        self.num_envs, self.device = len(makers), torch.device(device)
        keep = rule is not None or measure is not None
        lives = [_Living(maker, flatten, keep) for maker in makers]
        vectorize = AsyncVectorEnv if asynchronous else SyncVectorEnv
        self.vector: Any = vectorize(lives, autoreset_mode=AutoresetMode.DISABLED)
        self.asynchronous, self.snapshot = asynchronous, snapshot
        self.rule, self.measure, self.measure_spec = rule, measure, dict(measure_spec)
        self.foreign_action_space = self.vector.single_action_space
        self.single_action_space = _declare_action(self.foreign_action_space)
        self.observation_space = self.vector.single_observation_space
        self.state_spec = self._describe()
        self._obs: Any = None
        self._state: dict[str, torch.Tensor] = {}

    def _describe(self) -> dict[str, StateField]:
        space = self.observation_space
        boxes = space.spaces if isinstance(space, spaces.Dict) else {LONE: space}
        spec = {
            name: StateField(
                shape=box.shape or (), unit="as observed", description=f"The observation's entry {name!r}.",
                dtype=torch.from_numpy(np.empty(0, box.dtype)).dtype,
            )
            for name, box in boxes.items()
        }  # fmt: skip
        won = StateField(shape=(), unit="bool", description="Whether the last step succeeded.", dtype=torch.bool)
        clash = (spec.keys() & self.measure_spec.keys()) | ({SUCCESS} & (spec.keys() | self.measure_spec.keys()))
        if clash:
            raise ValueError(
                f"The state fields {sorted(clash)} are already taken; name what state() measures otherwise."
            )
        return {**spec, **self.measure_spec, SUCCESS: won}

    def _read(self, obs: Any, info: Info, success: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        """Observation and state of all copies as tensors."""
        tensors = to_tensors(obs, self.device)
        fields = dict(tensors) if isinstance(tensors, dict) else {LONE: tensors}
        for name, value in (self.measure(tensors, info) if self.measure else {}).items():
            if name not in self.measure_spec:
                raise ValueError(f"state() measures {name!r}, which state_spec does not describe; add a StateField.")
            shape = (self.num_envs, *self.measure_spec[name].shape)
            check_shape(f"the state field {name!r}", value, shape, "(num_envs, *shape)")
            fields[name] = value.to(self.device, self.measure_spec[name].dtype)
        return tensors, {**fields, SUCCESS: success}

    def _begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Reset the masked copies, each with a seed of its own for this episode."""
        chosen = mask.cpu().numpy()
        if not chosen.any():
            return
        seeds = integers(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, 2**31)[:, 0].tolist()
        raw, infos = self.vector.reset(seed=seeds, options={"reset_mask": chosen})
        info = to_tensors(infos.get("reported", {}), self.device)
        obs, state = self._read(raw, info, torch.zeros_like(mask))
        known = self._obs is not None
        self._obs = where(mask, obs, self._obs) if known else obs
        self._state = where(mask, state, self._state) if known else state

    def _advance(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Step every copy; one whose episode has ended stands still and earns nothing."""
        space = self.foreign_action_space
        given = action.cpu().numpy()
        if isinstance(space, spaces.Box):
            given = np.clip(given, space.low, space.high).astype(space.dtype)
        raw, rewards, _, _, infos = self.vector.step(given)
        reward = torch.as_tensor(rewards, device=self.device).to(torch.float32)
        ends = to_tensors({name: infos[name] for name in ("terminated", "truncated")}, self.device)
        info = to_tensors(infos.get("reported", {}), self.device)
        success = self._judge(to_tensors(raw, self.device), reward, ends["terminated"], info)
        self._obs, self._state = self._read(raw, info, success)
        return reward, ends["terminated"], ends["truncated"]

    def _judge(self, obs: Any, reward: torch.Tensor, terminated: torch.Tensor, info: Info) -> torch.Tensor:
        if self.rule is not None:
            success = torch.as_tensor(self.rule(obs, reward, terminated, info), device=self.device)
            check_shape("what success() returns", success, (self.num_envs,), "(num_envs,)")
            return success.bool()
        success = terminated & (reward > 0)
        for name in ("is_success", "success"):
            if name in info:
                success = torch.where(info[f"_{name}"], info[name] > 0, success)
        return success

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked copies and observe all."""
        self._begin(mask, episodes)
        return self._obs

    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every copy and reset what `mode` asks for."""
        over = episodes.ended
        reward, ended, cut = self._advance(action)
        episodes.length += ~over if mode is AutoresetMode.DISABLED else 1
        if mode is AutoresetMode.NEXT_STEP:
            episodes.next(over)
            self._begin(over, episodes)
        reward, success = torch.where(over, 0.0, reward), self._state[SUCCESS] & ~over
        self._state = {**self._state, SUCCESS: success}
        terminated = (ended | success if task.terminate_on_success else ended) & ~over
        truncated = (cut | (episodes.length >= task.horizon)) & ~over
        if mode is AutoresetMode.DISABLED:
            terminated, truncated = terminated | episodes.terminated, truncated | episodes.truncated
        statistics = episodes.record(reward, success, terminated, truncated)
        final_obs, final_state = self._obs, self._state
        done = terminated | truncated
        if mode is AutoresetMode.SAME_STEP:
            episodes.next(done)
            self._begin(done, episodes)
        return Outcome(
            obs=self._obs, reward=reward, terminated=terminated, truncated=truncated, done=done, success=success,
            final_obs=final_obs, final_state=final_state, episode=statistics,
        )  # fmt: skip

    @property
    def state(self) -> State:
        """The fields of `state_spec` as they are now."""
        return self._state

    def get_state(self) -> dict[str, Any]:
        """Copy the envs, if they were made with `snapshot="deepcopy"`.

        Raises:
            SnapshotError: they were not, or cannot be copied.
        """
        if self.snapshot != "deepcopy":
            raise SnapshotError(
                "Foreign envs cannot be snapshotted as they are. If copy.deepcopy can copy them, pass "
                "snapshot='deepcopy' to from_gymnasium; otherwise resume with new episodes."
            )
        return {"envs": self._copy(self.vector.envs), "obs": clone(self._obs), "state": clone(self._state)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        self.vector.envs = self._copy(snapshot["envs"])
        self._obs, self._state = clone(snapshot["obs"]), clone(snapshot["state"])

    def _copy(self, envs: Any) -> Any:
        try:
            return copy.deepcopy(envs)
        except Exception as error:  # a foreign env may fail to be copied in any way
            raise SnapshotError(f"copy.deepcopy cannot copy {envs[0]}: {error}. Resume with new episodes.") from error

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The envs' own frames; make them with `render_mode="rgb_array"`."""
        frames = self.vector.call("render") if self.asynchronous else {i: self.vector.envs[i].render() for i in env_ids}
        chosen = tuple(frames[i] for i in env_ids)
        if any(not isinstance(frame, np.ndarray) for frame in chosen):
            raise TypeError("Expected frames, got none; make the foreign env with render_mode='rgb_array'.")
        return chosen

    def close(self) -> None:
        """Close the envs."""
        self.vector.close()


class _Living:
    """Makes one copy; a class rather than a closure, so that processes can receive it."""

    def __init__(self, maker: Callable[[], gymnasium.Env], flatten: Flattener, keep_info: bool) -> None:
        self.maker, self.flatten, self.keep_info = maker, flatten, keep_info

    def __call__(self) -> gymnasium.Env:
        return Life(self.maker(), self.flatten, keep_info=self.keep_info)


def _declare_action(space: spaces.Space) -> spaces.Space:
    if isinstance(space, spaces.Discrete):
        return space
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind == "f":
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    raise TypeError(
        f"Expected Discrete actions or a Box of floats, got {space}. Wrap the env in a "
        "gymnasium.wrappers.TransformAction that offers one of them."
    )
