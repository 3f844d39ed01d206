"""Worlds and tasks: what can be measured and how it moves, and what is wanted of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs.data import Observation, Outcome, State, StateField, refreshed
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.episodes import Episodes
from cairngym.envs.layout import Layout, Quantity
from cairngym.envs.state_view import StateRows


class WorldSpec(ABC):
    """N copies of what moves, with a step of its own: what `TensorEnv` asks of a world."""

    num_envs: int
    device: torch.device
    single_action_space: spaces.Space
    action_layout: tuple[Quantity, ...] = ()
    """What the numbers of an action are, in order; empty where nothing is declared."""
    state_spec: Mapping[str, StateField]
    episodes: Episodes
    """The lives of the N copies; handed over by `TensorEnv`, which keeps them."""
    reset_options: tuple[str, ...] = ()
    """Options of `reset` that the world takes, see `prepare`."""
    spectators: tuple[Callable[[], None], ...] = ()
    """Called in every step at the moment that `final_obs` describes, before goals move and episodes begin; for cameras.
    Only worlds whose step is made by `World` call them."""

    def prepare(self, options: Mapping[str, Any]) -> None:
        """Take the `reset_options` given for the episodes about to begin; called with none once they have begun.

        Raises:
            ValueError: an option that cannot be met.
        """
        del options

    @abstractmethod
    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin new episodes in the masked `(N,)` worlds and observe all."""

    @abstractmethod
    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every world under `task`, reset what `mode` asks for, and keep `episodes`."""

    @property
    @abstractmethod
    def state(self) -> State:
        """The measurements named in `state_spec`, each `(N, *shape)` and never overwritten by later steps."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Copy everything that decides the future."""

    @abstractmethod
    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Draw RGB frames, uint8 `(height, width, 3)` each, of the given worlds."""
        raise TypeError(f"{type(self).__name__} draws no pictures; implement World.render to see it.")

    def close(self) -> None:
        """Release what the world holds outside of tensors; nothing by default."""
        return


class World(WorldSpec):
    """A world that only says how episodes begin and how it moves; the step around it is made here."""

    @abstractmethod
    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Start a new episode in the masked `(N,)` worlds, drawing only from `episodes` (seed, env, number)."""

    @abstractmethod
    def advance(self, action: torch.Tensor) -> None:
        """Move every world one step."""

    def diverged(self) -> torch.Tensor:
        """Where the last step failed numerically, bool `(N,)`; none by default.

        Such a world stands where it was before the step, its episode is truncated, and nothing that is not finite
        is ever seen of it.
        """
        return torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

    def settle(self, success: torch.Tensor, episodes: Episodes) -> None:
        """Take in the verdict on the step just judged, for instance to move a goal reached; nothing by default.

        What changes here is seen from the next observation on.
        """
        del success, episodes

    def report(self) -> Mapping[str, Any]:
        """Further entries of `info` about the step just made; every tensor has the env axis first."""
        return {}

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked worlds and observe all."""
        self.begin(mask, episodes)
        return judged(task).observe(self.state)

    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every world under `task`, reset what `mode` asks for, and keep `episodes`."""
        task, over = judged(task), episodes.ended
        self.advance(action)
        episodes.length += ~over if mode is AutoresetMode.DISABLED else 1
        if mode is AutoresetMode.NEXT_STEP:
            episodes.next(over)
            self.begin(over, episodes)
        state = self.state
        final_obs = task.observe(state)
        for look in self.spectators:
            look()
        broken = self.diverged() & ~over
        success, failure = task.success(state) & ~over, task.failure(state) & ~over & ~broken
        reward = torch.where(over, 0.0, task.reward(state, success, failure, episodes.length)).to(torch.float32)
        terminated = failure | success & ~broken if task.terminate_on_success else failure
        truncated = (episodes.length >= task.horizon) & ~over | broken
        if mode is AutoresetMode.DISABLED:
            terminated, truncated = terminated | episodes.terminated, truncated | episodes.truncated
        statistics = episodes.record(reward, success, terminated, truncated)
        obs, done, extra = final_obs, terminated | truncated, self.report()
        self.settle(success, episodes)
        if mode is AutoresetMode.SAME_STEP:
            episodes.next(done)
            self.begin(done, episodes)
            begun = self.state
            obs = refreshed(done, final_obs, lambda rows: task.observe(StateRows(begun, rows)))
        return Outcome(
            obs=obs, reward=reward, terminated=terminated, truncated=truncated, done=done, success=success,
            final_obs=final_obs, final_state=state, episode=statistics, extra=extra,
        )  # fmt: skip


class TaskSpec(ABC):
    """What a task declares of itself, and how far it has come; worlds with a step of their own judge such a task."""

    instruction: str = ""
    """What is wanted, in a sentence or two, for people and for language models."""
    horizon: int
    """Steps after which an episode is truncated."""
    terminate_on_success: bool = True
    reward_range: tuple[float, float] = (0.0, 1.0)
    """Least and greatest sparse reward of a step; agents bound the returns they believe in by it."""
    single_observation_space: spaces.Space
    categories: Mapping[str, tuple[tuple[int, ...], ...]] = MappingProxyType({})
    """For entries of the observation that hold codes: for each channel of the last axis, the codes worth telling apart.
    Networks encode these one-hot and drop a channel that has none."""
    observation_layout: Layout = MappingProxyType({})
    """What the numbers of the observation are, in order, by its entry ("observation" for a lone one); an entry of which
    nothing is declared is left out."""
    progress_fields: tuple[str, ...] = ()
    """The state fields `progress` reads; empty means all of them."""
    count_fields: tuple[str, ...] = ()
    """The state fields that tell places apart for visit counts; empty means all of them."""
    descriptor: BehaviorDescriptor | None = None
    """Which numbers of an episode's last state tell behaviors apart; None where the task names none."""
    reward_areas: tuple[tuple[float, ...], ...] = ()
    """Where an episode must end to be paid: middle, in the descriptor's numbers, and radius of each; may be empty."""

    @abstractmethod
    def progress(self, state: State) -> torch.Tensor:
        """How far the task has come, float32 `(B,)` in [0, 1]; one at success."""


class Task(TaskSpec):
    """A task judged from the world's state: what the agent sees, when it succeeds, and the sparse reward for it."""

    @abstractmethod
    def observe(self, state: State) -> Observation:
        """What the agent sees, `(B, ...)`."""

    @abstractmethod
    def success(self, state: State) -> torch.Tensor:
        """Whether the task is done, bool `(B,)`."""

    def failure(self, state: State) -> torch.Tensor:
        """Whether the episode is lost for good, bool `(B,)`; never by default."""
        return torch.zeros_like(self.success(state))

    def reward(self, state: State, success: torch.Tensor, failure: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """The sparse reward, float32 `(B,)`: one at success by default; `length` counts the steps taken."""
        del state, failure, length
        return success.to(torch.float32)

    def progress(self, state: State) -> torch.Tensor:
        """How far the task has come, float32 `(B,)` in [0, 1]; one exactly at success. The default knows only that."""
        return self.success(state).to(torch.float32)


def judged(task: TaskSpec) -> Task:
    """Return `task` if it can be judged from a world's state.

    Raises:
        TypeError: if it can't, so that only a world with a step of its own can run it.
    """
    if not isinstance(task, Task):
        raise TypeError(f"Expected a Task with observe() and success(), got {type(task).__name__}.")
    return task
