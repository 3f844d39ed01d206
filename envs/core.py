"""The one batched contract: worlds and tasks joined into a `TensorEnv`.

A *world* says what can be measured and how it moves; a *task* says what is wanted. `TensorEnv` joins them and owns
autoreset, time limits, episode statistics and randomness. Arrays are torch tensors with the env axis first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from cairngym.envs.checks import check_action, check_options, check_seed, check_shape
from cairngym.envs.data import Observation, Outcome, State, StateField, Transition, clone, where
from cairngym.envs.episodes import Episodes
from cairngym.envs.goals import goal_task
from cairngym.envs.relabelling import Relabeller
from cairngym.envs.world import Task, TaskSpec, World, WorldSpec, judged

__all__ = [
    "Critic", "Observation", "Outcome", "State", "StateField", "Task", "TaskSpec", "TensorEnv", "Transition", "World",
    "WorldSpec", "clone", "judged", "where",
]  # fmt: skip

Critic = Callable[[Observation], torch.Tensor]


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
    id: str = ""
    """The id that `make` made it by; empty for others."""

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
        check_options("reset()", options, (*self.reset_options, *self.world.reset_options))
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
        self.world.prepare({name: options[name] for name in self.world.reset_options if name in options})
        obs = self.world.start(self.task, mask, self.episodes)
        self.world.prepare({})
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
            "episode": out.episode, "_episode": out.done, **out.extra,
        }  # fmt: skip
        return out.obs, out.reward, out.terminated, out.truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """The sparse reward of goal tasks, for torch tensors or numpy arrays of any leading batch shape.

        Raises:
            TypeError: the task has no goals.
        """
        return goal_task(self.task).compute_reward(achieved_goal, desired_goal, info)

    def progress(self, state: State | None = None) -> torch.Tensor:
        """The task's progress in [0, 1] at `state` (default: now), float32 `(B,)`."""
        return self.task.progress(self.state if state is None else state)

    def guide(self, critic: Critic, *, exploit: bool = False) -> None:
        """Take the learner's values, for a wrapper that chooses an episode's goals or times by them; does nothing here.

        Args:
            critic: the value of observations as the agent sees them, `(B, ...) -> (B,)`; it follows the learning.
            exploit: choose what is best valued, as in an evaluation, instead of what is worth trying.
        """

    @property
    def relabeller(self) -> Relabeller | None:
        """What gives replayed steps another plan; None where episodes have none that observations show."""
        return None

    @property
    def observes_truth(self) -> bool:
        """Whether observations show the state as it is; sensors that err, drift or lag show another one."""
        return True

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
