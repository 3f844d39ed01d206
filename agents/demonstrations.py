"""Demonstrations: whole episodes of somebody who can do the task, kept in a file and mixed into replay."""

from __future__ import annotations

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
from cairngym.agents.episode_collector import EpisodeCollector, flatten_columns, idle, rows_of
from cairngym.agents.records import to_unit
from cairngym.agents.ring import Ring
from cairngym.envs.core import Observation, State, TensorEnv
from cairngym.envs.files import replacing
from cairngym.envs.state_view import StateRows

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
        ValueError: lengths that do not add up, NaNs, or values other than the state's that are infinite.
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
        for name, tensor in self.columns().items():
            if len(tensor) != total:
                raise ValueError(f"Expected {total} steps, the sum of lengths, of {name!r}, got {len(tensor)}.")
            bounded = not name.startswith(("state/", "next_state/"))  # a robustness may be infinite
            if tensor.is_floating_point() and bool((tensor.isnan() | (tensor.isinf() & bounded)).any()):
                raise ValueError(f"Expected finite values of {name!r}, got NaN or infinities. Leave those out.")

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of_columns(cls, columns: Mapping[str, torch.Tensor]) -> Demonstrations:
        """Make them of what `columns` gives, and `lengths`."""
        return cls(**_unflatten(columns))

    def columns(self) -> dict[str, torch.Tensor]:
        """Every tensor but `lengths`; dict entries are named `obs/achieved_goal` and so on."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "lengths"}
        return flatten_columns(columns)

    def first(self, episodes: int) -> Demonstrations:
        """The first so many episodes."""
        steps = int(self.lengths[:episodes].sum())
        kept = {name: tensor[:steps] for name, tensor in self.columns().items()}
        return self.of_columns({**kept, "lengths": self.lengths[:episodes]})

    def per_episode(self, column: torch.Tensor) -> torch.Tensor:
        """Sum a column `(S,)` over every episode, `(E,)` in float64."""
        episode = torch.arange(len(self), device=self.lengths.device).repeat_interleave(self.lengths)
        return torch.zeros(len(self), dtype=torch.float64, device=self.lengths.device).index_add_(
            0, episode, column.to(torch.float64)
        )

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file in one atomic step; dict entries are named `obs/achieved_goal` and so on.

        Raises:
            OSError: the disk refuses; an older file at `path` stays as it was.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {**self.columns(), "lengths": self.lengths}
        arrays: dict[str, Any] = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        with replacing(path) as file:
            np.savez_compressed(file, format=np.array(FORMAT), **arrays)

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
            return cls.of_columns(columns)
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
        self.check_fits(env, required)
        columns = {
            "obs": self.obs, "action": to_unit(self.action, env.single_action_space), "next_obs": self.next_obs,
            "reward": self.reward, "terminated": self.terminated, "truncated": self.truncated,
            "state": {name: self.state[name] for name in required},
            "next_state": {name: self.next_state[name] for name in required},
            "kept": torch.zeros_like(self.reward), "success": self.success,
        }  # fmt: skip
        return Ring.of_episodes(columns, self.lengths, env.device)

    def check_fits(self, env: TensorEnv, required: tuple[str, ...] = ()) -> None:
        """Refuse to be learned from in an env of other spaces, or by shapers whose state fields are missing.

        Raises:
            ValueError: naming what differs.
        """
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
    players: int | None = None,
) -> Demonstrations:
    """Let `policy` play and keep its first episodes, in the order of their numbers and, within it, of their envs.

    That order, unlike the one in which they end, favours no short episodes.

    Args:
        policy: plays every env.
        env: it plays in; it is reset.
        episodes: how many to keep.
        seed: of the levels.
        only_successful: keep only those in which the task was done at some step.
        attempts: give up once every player has played its share of so many episodes; default is 20 times as many as
            wanted, or as there are players.
        players: let only the first so many envs play; the policy is asked for these alone, and the others do anything.

    Raises:
        ValueError: no episodes or players wanted, or an env that does not reset within the step.
        RuntimeError: too few of the attempts succeeded.
    """
    players = env.num_envs if players is None else players
    if episodes < 1 or not 1 <= players <= env.num_envs:
        raise ValueError(
            f"Expected episodes >= 1 and players between 1 and {env.num_envs}, got {episodes} and {players}."
        )
    check_autoreset(env)
    attempts = 20 * max(episodes, players) if attempts is None else attempts
    collector = EpisodeCollector(players)
    everyone = players == env.num_envs
    rows = None if everyone else torch.arange(players, device=env.device)
    others = idle(env.single_action_space, env.num_envs - players).to(env.device)
    obs, _ = env.reset(seed=seed)
    while collector.settled < episodes:
        if players * min(collector.played) >= attempts:
            raise RuntimeError(
                f"Expected {episodes} successful episodes, got {len(collector.kept)} in {sum(collector.played)}. "
                "Give a better policy, more attempts=…, or only_successful=False."
            )
        state = dict(StateRows(env.state, rows))
        seen = rows_of(obs, players)
        action = torch.as_tensor(policy(seen, state), device=env.device)
        obs, reward, terminated, truncated, info = env.step(torch.cat((action, others.to(action.dtype))))
        step = {
            "obs": seen, "action": action, "next_obs": info["final_obs"], "reward": info.get("task_reward", reward),
            "terminated": terminated, "truncated": truncated, "success": info["success"], "state": state,
            "next_state": dict(StateRows(info["final_state"], rows)),
        }  # fmt: skip
        done = (terminated | truncated)[:players]
        collector.add(
            rows_of(step, players), done, done & (info["episode"]["success_once"][:players] | (not only_successful))
        )
    kept = collector.first(episodes)
    joined = {name: torch.cat([episode[name] for episode in kept]) for name in kept[0]}
    lengths = torch.tensor([len(episode["reward"]) for episode in kept], device=env.device)
    return Demonstrations.of_columns({**joined, "lengths": lengths})


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
