"""Demonstrations: whole episodes of somebody who can do the task, kept in a file and mixed into replay."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.agents.core import check_autoreset
from cairngym.agents.records import to_unit
from cairngym.agents.ring import Ring
from cairngym.envs.core import Observation, State, TensorEnv

FORMAT = "cairngym demonstrations 1"
DAMAGE = (
    OSError, EOFError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a file that is not whole may raise."""
Policy = Callable[[Observation, State], torch.Tensor]
"""From observation and state of N envs to actions as the env's `step` takes them."""


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """E episodes of S steps in all, one after another; every tensor but `lengths` is `(S, ...)`.

    Raises:
        ValueError: lengths that do not add up, or values that are not finite.
    """

    obs: Observation
    action: torch.Tensor
    """In the env's own units."""
    next_obs: Observation
    """The true next ones."""
    reward: torch.Tensor
    """The sparse task reward."""
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    state: State
    """All state fields of the env, so that any shaper without memory can judge the steps."""
    next_state: State
    lengths: torch.Tensor
    """int64 `(E,)`, steps of every episode."""

    def __post_init__(self) -> None:
        if self.lengths.ndim != 1 or not len(self.lengths) or int(self.lengths.min()) < 1:
            raise ValueError(f"Expected lengths >= 1 of at least one episode, got {self.lengths.tolist()}.")
        total = int(self.lengths.sum())
        for name, tensor in self._tensors().items():
            if len(tensor) != total:
                raise ValueError(f"Expected {total} steps, the sum of lengths, of {name!r}, got {len(tensor)}.")
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"Expected finite values of {name!r}, got NaN or infinities. Leave those out.")

    def __len__(self) -> int:
        return len(self.lengths)

    def _tensors(self) -> dict[str, torch.Tensor]:
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "lengths"}
        return _flatten(columns)

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file in one atomic step; dict entries are named `obs/achieved_goal` and so on.

        Raises:
            OSError: the disk refuses; an older file at `path` stays as it was.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {**self._tensors(), "lengths": self.lengths}
        arrays: dict[str, Any] = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, format=np.array(FORMAT), **arrays)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Demonstrations:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is damaged or something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"Expected demonstrations at {path}, got no such file. Collect some first.")
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            if str(arrays.pop("format", None)) != FORMAT:
                raise ValueError(f"not marked {FORMAT!r}")
            columns = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
            return cls(**_unflatten(columns))
        except DAMAGE as error:
            raise ValueError(
                f"Expected demonstrations written by Demonstrations.save at {path}, got a damaged or foreign file of "
                f"{path.stat().st_size} bytes ({error}). Collect them again, or put an intact copy in its place."
            ) from error

    def ring(self, env: TensorEnv, required: tuple[str, ...] = ()) -> Ring:
        """The steps as a replay of `env` keeps them, on its device, actions in [-1, 1].

        Terms of the reward that have a memory are left out, as nothing was collected for them.

        Args:
            env: they are to be learned from for.
            required: the state fields to keep.

        Raises:
            ValueError: they were made in another env, or lack a required field.
        """
        self._check_fits(env, required)
        columns = {
            "obs": self.obs, "action": to_unit(self.action, env.single_action_space), "next_obs": self.next_obs,
            "reward": self.reward, "terminated": self.terminated, "truncated": self.truncated,
            "state": {name: self.state[name] for name in required},
            "next_state": {name: self.next_state[name] for name in required},
            "kept": torch.zeros_like(self.reward), "success": self.success,
        }  # fmt: skip
        return Ring.of_episodes(columns, self.lengths, env.device)

    def _check_fits(self, env: TensorEnv, required: tuple[str, ...]) -> None:
        for name, seen in (("observations", self.obs), ("next observations", self.next_obs)):
            expected, got = _shapes(env.single_observation_space), _layout(seen)
            if expected != got:
                raise ValueError(f"Expected demonstrated {name} of {expected}, got {got}. Collect them in this env.")
        space = env.single_action_space
        if tuple(self.action.shape[1:]) != tuple(space.shape or ()):
            raise ValueError(
                f"Expected demonstrated actions of shape {space.shape}, i.e. {space}, got "
                f"{tuple(self.action.shape[1:])}. Collect them in this env."
            )
        if isinstance(space, spaces.Box):
            low, high = (torch.as_tensor(bound, device=self.action.device) for bound in (space.low, space.high))
            if not bool(((self.action >= low - 1e-6) & (self.action <= high + 1e-6)).all()):
                raise ValueError(
                    f"Expected demonstrated actions within {space}, got values from {float(self.action.min())} to "
                    f"{float(self.action.max())}."
                )
        missing = [name for name in required if name not in self.state or name not in self.next_state]
        if missing:
            raise ValueError(
                f"Expected demonstrations with the state fields that the shapers read, got none of {missing}. "
                f"They hold: {', '.join(self.state) or 'none'}. Collect them in this env, or leave the shapers out."
            )


def collect(
    policy: Policy,
    env: TensorEnv,
    episodes: int,
    seed: int = 0,
    *,
    only_successful: bool = True,
    attempts: int | None = None,
) -> Demonstrations:
    """Let `policy` play and keep its first episodes, in the order in which they end.

    Args:
        policy: plays every env.
        env: it plays in; it is reset.
        episodes: how many to keep.
        seed: of the levels.
        only_successful: keep only those in which the task was done at some step.
        attempts: give up after so many episodes; default is 20 times as many as wanted.

    Raises:
        ValueError: no episodes wanted, or an env that does not reset within the step.
        RuntimeError: too few of the attempts succeeded.
    """
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    check_autoreset(env)
    attempts = 20 * episodes if attempts is None else attempts
    collector = _Collector(env.num_envs)
    obs, _ = env.reset(seed=seed)
    while len(collector.kept) < episodes:
        if collector.ended >= attempts:
            raise RuntimeError(
                f"Expected {episodes} successful episodes, got {len(collector.kept)} in {collector.ended}. "
                "Give a better policy, more attempts=…, or only_successful=False."
            )
        state = dict(env.state)
        action = policy(obs, state)
        following, reward, terminated, truncated, info = env.step(action)
        step = {
            "obs": obs, "action": torch.as_tensor(action, device=env.device), "next_obs": info["final_obs"],
            "reward": info.get("task_reward", reward), "terminated": terminated, "truncated": truncated,
            "success": info["success"], "state": state, "next_state": dict(info["final_state"]),
        }  # fmt: skip
        done = terminated | truncated
        collector.add(step, done, done & (info["episode"]["success_once"] | (not only_successful)))
        obs = following
    kept = collector.kept[:episodes]
    joined = {name: torch.cat([episode[name] for episode in kept]) for name in kept[0]}
    lengths = torch.tensor([len(episode["reward"]) for episode in kept], device=env.device)
    return Demonstrations(**_unflatten({**joined, "lengths": lengths}))


class _Collector:
    """Cuts the steps of N envs into episodes."""

    def __init__(self, num_envs: int) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.begin = [0] * num_envs
        self.kept: list[dict[str, torch.Tensor]] = []
        self.ended = 0

    def add(self, step: Mapping[str, Any], done: torch.Tensor, wanted: torch.Tensor) -> None:
        """Take in a step; episodes that are `done` are kept where `wanted`."""
        self.steps.append(_flatten(step))
        for i in wanted.nonzero().flatten().tolist():
            lived = self.steps[self.begin[i] :]
            self.kept.append({name: torch.stack([past[name][i] for past in lived]) for name in lived[0]})
        for i in done.nonzero().flatten().tolist():
            self.begin[i] = len(self.steps)
            self.ended += 1
        over = min(self.begin)
        del self.steps[:over]
        self.begin = [first - over for first in self.begin]


def _flatten(columns: Mapping[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    flat: dict[str, torch.Tensor] = {}
    for name, entry in columns.items():
        flat.update(_flatten(entry, f"{prefix}{name}/") if isinstance(entry, Mapping) else {prefix + name: entry})
    return flat


def _unflatten(flat: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    columns: dict[str, Any] = {"state": {}, "next_state": {}}
    for name, tensor in flat.items():
        column, _, entry = name.partition("/")
        if entry:
            columns.setdefault(column, {})[entry] = tensor
        else:
            columns[column] = tensor
    return columns


def _shapes(space: spaces.Space) -> Any:
    """Shape and dtype of a space's entries by name."""
    if isinstance(space, spaces.Dict):
        return {name: _shapes(entry) for name, entry in sorted(space.spaces.items())}
    return tuple(space.shape or ()), str(space.dtype)


def _layout(obs: Observation) -> Any:
    """The same of `(S, ...)` tensors."""
    if isinstance(obs, Mapping):
        return {name: _layout(entry) for name, entry in sorted(obs.items())}
    return tuple(obs.shape[1:]), str(obs.dtype).removeprefix("torch.")
