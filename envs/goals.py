"""Tasks with goals: Dict observations, and a reward that can be asked about any goal."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.data import Observation, State
from cairngym.envs.world import Task, TaskSpec

Array = TypeVar("Array", torch.Tensor, np.ndarray)
GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")


def goal_distance(achieved_goal: Array, desired_goal: Array) -> Array:
    """Euclidean distance over the last axis, for torch tensors or numpy arrays of any leading shape.

    Raises:
        ValueError: the shapes do not broadcast, or the last axes differ.
    """
    if achieved_goal.shape[-1] != desired_goal.shape[-1]:
        raise ValueError(
            f"Expected goals with equal last axes, got {tuple(achieved_goal.shape)} and {tuple(desired_goal.shape)}."
        )
    difference = achieved_goal - desired_goal
    squared = difference[..., 0] * difference[..., 0]
    for k in range(1, difference.shape[-1]):  # in this order everywhere: sums by torch and numpy round differently
        squared = squared + difference[..., k] * difference[..., k]
    if isinstance(squared, np.ndarray | np.generic):
        return np.sqrt(squared)
    return squared.double().sqrt().to(squared.dtype)  # torch's own of float32 may be off by the last bit


class GoalTask(Task):
    """Bring what is achieved near what is desired.

    Observations are `{"observation", "achieved_goal", "desired_goal"}`; the reward of every transition equals
    `compute_reward(final_obs["achieved_goal"], final_obs["desired_goal"])`, bit for bit.

    Args:
        observation_size: numbers in `observation`.
        goal_size: numbers in a goal.
        threshold: distance at which a goal counts as reached, in the goal's unit.
        horizon: steps after which an episode is truncated.
        reward_range: (reward while the goal is not reached, reward where it is).
        terminate_on_success: whether reaching the goal ends the episode.
        inclusive: whether a distance of exactly `threshold` counts as success.
        dtype: of the observations.
    """

    def __init__(
        self,
        *,
        observation_size: int,
        goal_size: int,
        threshold: float,
        horizon: int,
        reward_range: tuple[float, float],
        terminate_on_success: bool,
        inclusive: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.threshold, self.horizon, self.inclusive, self.dtype = threshold, horizon, inclusive, dtype
        self.reward_range, self.terminate_on_success = reward_range, terminate_on_success
        number = np.dtype(str(dtype).removeprefix("torch."))
        sizes = zip(GOAL_KEYS, (observation_size, goal_size, goal_size), strict=True)
        self.single_observation_space = spaces.Dict(
            {key: spaces.Box(-np.inf, np.inf, (size,), number.type) for key, size in sizes}
        )

    goal_field: str = "goal"
    """The state field that holds the desired goal; hindsight puts other goals in its place."""

    @abstractmethod
    def features(self, state: State) -> torch.Tensor:
        """The entry `observation`, `(B, observation_size)`."""

    @abstractmethod
    def achieved_goal(self, state: State) -> torch.Tensor:
        """What has been achieved, `(B, goal_size)`."""

    def desired_goal(self, state: State) -> torch.Tensor:
        """What is wanted, `(B, goal_size)`."""
        return state[self.goal_field]

    def observe(self, state: State) -> Observation:
        """The three entries, each `(B, ...)`."""
        values = (self.features(state), self.achieved_goal(state), self.desired_goal(state))
        return {key: value.to(self.dtype) for key, value in zip(GOAL_KEYS, values, strict=True)}

    def distance(self, state: State) -> torch.Tensor:
        """How far what is achieved is from what is desired, `(B,)`."""
        return goal_distance(self.achieved_goal(state).to(self.dtype), self.desired_goal(state).to(self.dtype))

    def success(self, state: State) -> torch.Tensor:
        """Whether the goal is reached, bool `(B,)`."""
        distance = self.distance(state)
        return distance <= self.threshold if self.inclusive else distance < self.threshold

    def reward(self, state: State, success: torch.Tensor, failure: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """`compute_reward` of the state's goals, float32 `(B,)`."""
        del success, failure, length
        return self._rewards(self.distance(state))

    def compute_reward(self, achieved_goal: Array, desired_goal: Array, info: Any = None) -> Array:
        """The sparse reward of any goals, over any leading batch shape, torch or numpy.

        Args:
            achieved_goal: `(..., goal_size)`.
            desired_goal: `(..., goal_size)`.
            info: ignored; HER implementations pass it.

        Returns:
            float32 `(...)`.

        Raises:
            ValueError: goals of another size, or shapes that do not broadcast.
        """
        del info
        return self._rewards(goal_distance(achieved_goal, desired_goal))

    def _rewards(self, distance: Array) -> Array:
        missed, reached = self.reward_range
        far = distance > self.threshold
        if isinstance(far, torch.Tensor):
            return torch.where(far, missed, reached).to(torch.float32)
        return np.where(far, missed, reached).astype(np.float32)

    def progress(self, state: State) -> torch.Tensor:
        """One minus the distance in units of `progress_scale`, one where the goal is reached, float32 `(B,)`."""
        distance = self.distance(state)
        near = 1.0 - (distance - self.threshold) / self.progress_scale
        return torch.where(self.success(state), 1.0, near.clamp(0.0, 1.0)).to(torch.float32)

    progress_scale: float = 1.0
    """Distance beyond the threshold, in the goal's unit, at which progress is zero."""


def goal_task(task: TaskSpec) -> GoalTask:
    """Return `task` if it has goals.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(task, GoalTask):
        raise TypeError(
            f"Expected a task with goals, got {type(task).__name__}. Its observations have no achieved_goal; hindsight "
            "needs one, such as FetchReach-v4 or PointMaze_UMaze-v3."
        )
    return task
