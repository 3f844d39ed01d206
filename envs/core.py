"""The one batched contract: worlds and tasks joined into a `TensorEnv`, and wrappers around it.

A *world* says what can be measured and how it moves; a *task* says what is wanted. `TensorEnv` joins them and owns
autoreset, time limits, episode statistics and randomness. Arrays are torch tensors with the env axis first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from cairngym.envs.checks import check_action, check_options, check_seed, check_shape
from cairngym.envs.episodes import Episodes

Observation = torch.Tensor | dict[str, torch.Tensor]
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class StateField:
    """What one named measurement of a world means."""

    shape: tuple[int, ...]
    """Shape of one env's value."""
    unit: str
    """Unit in SI symbols, or the kind of index ("cell", "object type")."""
    description: str
    """One sentence."""
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A batch of B transitions; `next_obs` and `next_state` are the true ones, before any reset."""

    obs: Observation
    state: State
    action: torch.Tensor
    next_obs: Observation
    next_state: State
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    env_id: torch.Tensor | None
    """int64 `(B,)`, None when the transition comes from a replay."""
    valid: torch.Tensor | None = None
    """bool `(B,)`, false where the episode was over before the step, so that nothing was done; None when all are real.
    Only NEXT_STEP and DISABLED know such rows."""

    def __len__(self) -> int:
        return len(self.reward)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one step of a world under a task came to; every tensor has the env axis first."""

    obs: Observation
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    done: torch.Tensor
    """Terminated or truncated."""
    success: torch.Tensor
    final_obs: Observation
    final_state: State
    episode: dict[str, torch.Tensor]
    """`return`, `length`, `success_once`, `success_at_end` up to this step, before any reset."""


def where(mask: torch.Tensor, new: Any, old: Any) -> Any:
    """Choose rows of `new` where `mask` `(B,)` holds, else of `old`; for tensors and (nested) dicts of tensors."""
    if isinstance(new, Mapping):
        return {name: where(mask, new[name], old[name]) for name in new}
    return torch.where(mask.view(-1, *(1,) * (new.ndim - 1)), new, old)


def clone(value: Any) -> Any:
    """Copy a tensor or a (nested) dict of tensors."""
    if isinstance(value, Mapping):
        return {name: clone(item) for name, item in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else value


class WorldSpec(ABC):
    """N copies of what moves, with a step of its own: what `TensorEnv` asks of a world."""

    num_envs: int
    device: torch.device
    single_action_space: spaces.Space
    state_spec: Mapping[str, StateField]
    episodes: Episodes
    """The lives of the N copies; handed over by `TensorEnv`, which keeps them."""

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
        success, failure = task.success(state) & ~over, task.failure(state) & ~over
        reward = torch.where(over, 0.0, task.reward(success, failure, episodes.length)).to(torch.float32)
        terminated = failure | success if task.terminate_on_success else failure
        truncated = (episodes.length >= task.horizon) & ~over
        if mode is AutoresetMode.DISABLED:
            terminated, truncated = terminated | episodes.terminated, truncated | episodes.truncated
        statistics = episodes.record(reward, success, terminated, truncated)
        obs, done = final_obs, terminated | truncated
        if mode is AutoresetMode.SAME_STEP:
            episodes.next(done)
            self.begin(done, episodes)
            obs = where(done, task.observe(self.state), final_obs)
        return Outcome(
            obs=obs, reward=reward, terminated=terminated, truncated=truncated, done=done, success=success,
            final_obs=final_obs, final_state=state, episode=statistics,
        )  # fmt: skip


class TaskSpec(ABC):
    """What a task declares of itself, and how far it has come; worlds with a step of their own judge such a task."""

    horizon: int
    """Steps after which an episode is truncated."""
    terminate_on_success: bool = True
    single_observation_space: spaces.Space
    categories: Mapping[str, tuple[tuple[int, ...], ...]] = MappingProxyType({})
    """For entries of the observation that hold codes: for each channel of the last axis, the codes worth telling apart.
    Networks encode these one-hot and drop a channel that has none."""
    progress_fields: tuple[str, ...] = ()
    """The state fields `progress` reads; empty means all of them."""
    count_fields: tuple[str, ...] = ()
    """The state fields that tell places apart for visit counts; empty means all of them."""

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

    def reward(self, success: torch.Tensor, failure: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """The sparse reward, float32 `(B,)`: one at success by default; `length` counts the steps taken."""
        del failure, length
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


class TensorEnv(VectorEnv):
    """N copies of one task stepped together, as a `gymnasium.vector.VectorEnv` of torch tensors.

    `info` of a step holds `success` (alias `is_success`), `final_obs` and `final_state` (the true next values in every
    row; `_final_obs` marks where an episode ended), and `episode` (`return`, `length`, `success_once`,
    `success_at_end`) with its mask `_episode`. Both flags may be true at once; termination wins for bootstrapping.
    Under `AutoresetMode.DISABLED` an ended env keeps its flags and earns nothing until it is reset.

    Args:
        world: what moves.
        task: what is wanted.
        seed: every draw derives from it, the env's index and the episode's number.
        autoreset_mode: SAME_STEP (default), NEXT_STEP or DISABLED.
    """

    reset_options: ClassVar[tuple[str, ...]] = ("reset_mask", "stagger")

    def __init__(
        self,
        world: WorldSpec,
        task: TaskSpec,
        *,
        seed: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:
        self.world, self.task = world, task
        self.num_envs, self.device = world.num_envs, world.device
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.single_observation_space = task.single_observation_space
        self.single_action_space = world.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        modes = ["rgb_array"] if type(world).render is not WorldSpec.render else []
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": modes, "render_fps": 10}
        self.render_mode = modes[0] if modes else None
        self.episodes = world.episodes = Episodes(self.num_envs, self.device, check_seed(seed))
        self._started = False

    @property
    def unwrapped(self) -> TensorEnv:
        """The env under every wrapper."""
        return self

    @property
    def state(self) -> State:
        """Named measurements of the worlds as they are now; see `state_spec`."""
        return self.world.state

    @property
    def state_spec(self) -> Mapping[str, StateField]:
        """Shape, unit and meaning of every entry of `state`."""
        return self.world.state_spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: starts over from episode 0 of this seed; None goes on to each env's next episode.
            options: `reset_mask`, bool `(N,)`, resets only those; `stagger=True` lets each env pretend to have lived a
                random part of its horizon, so that time limits do not fall together.
        """
        options = options or {}
        check_options("reset()", options, self.reset_options)
        mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if "reset_mask" in options:
            mask = torch.as_tensor(options["reset_mask"], device=self.device)
            check_shape("reset_mask", mask, (self.num_envs,), "(num_envs,)")
            if mask.dtype is not torch.bool:
                raise TypeError(f"Expected a bool reset_mask, got {mask.dtype}.")
            if not self._started and not bool(mask.all()):
                raise RuntimeError("The first reset must start every env; call reset() once without a mask.")
        if seed is not None:
            if check_seed(seed) != self.episodes.seed and not bool(mask.all()):
                raise ValueError(
                    f"A new seed would change the lives of the envs outside reset_mask: got seed {seed}, they live by "
                    f"{self.episodes.seed}. Reset every env, or leave the seed out."
                )
            self.episodes.seed = check_seed(seed)
            self.episodes.restart(mask)
        elif self._started:
            self.episodes.next(mask)
        else:
            self.episodes.restart(mask)
        self._started = True
        if options.get("stagger"):
            self.episodes.stagger(mask, self.task.horizon)
        obs = self.world.start(self.task, mask, self.episodes)
        nothing = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        return obs, {"success": nothing, "is_success": nothing}

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step every env; returns `obs, reward, terminated, truncated, info` as the class describes."""
        if not self._started:
            raise RuntimeError("Call reset() before step().")
        action = check_action(actions, self.single_action_space, self.num_envs, self.device)
        out = self.world.transition(self.task, action, self.episodes, self.autoreset_mode)
        info = {
            "success": out.success, "is_success": out.success,
            "final_obs": out.final_obs, "final_state": out.final_state, "_final_obs": out.done,
            "episode": out.episode, "_episode": out.done,
        }  # fmt: skip
        return out.obs, out.reward, out.terminated, out.truncated, info

    def progress(self, state: State | None = None) -> torch.Tensor:
        """The task's progress in [0, 1] at `state` (default: now), float32 `(B,)`."""
        return self.task.progress(self.state if state is None else state)

    def render(self, env_ids: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
        """RGB frames of the given envs (default: all)."""
        return self.world.render(range(self.num_envs) if env_ids is None else env_ids)

    def get_state(self) -> dict[str, Any]:
        """Snapshot everything that decides the future."""
        return {"world": self.world.get_state(), "episodes": self.episodes.get_state(), "started": self._started}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state` of an env with the same id and number of envs."""
        self.episodes.set_state(snapshot["episodes"])
        self.world.set_state(snapshot["world"])
        self._started = snapshot["started"]

    def close_extras(self, **kwargs: Any) -> None:
        """Release what the world holds."""
        del kwargs
        self.world.close()
