"""Hindsight: what was achieved later is put in as the goal, so that failures, too, show how something is reached.

Andrychowicz et al., "Hindsight experience replay", NeurIPS 2017, section 3 and 4.5. Where episodes follow plans with
times, other times are put in (`cairngym.envs.relabelling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces

from cairngym.envs.checks import unknown_name
from cairngym.envs.core import TensorEnv, where
from cairngym.envs.goals import GOAL_KEYS, goal_task
from cairngym.reward_shaping.residual.base import BASE_ACTION

PLAN_STRATEGIES = ("times",)
"""Those that put in another plan instead of another goal."""
STRATEGIES = ("none", "future", "final", "episode", *PLAN_STRATEGIES)


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """Which samples are given another goal or plan, and which one.

    Raises:
        UnknownNameError: no such strategy.
        ValueError: a ratio outside [0, 1].
    """

    strategy: str = "future"
    """Where the goal is taken from, always as achieved *after* a step: "future", a uniformly drawn one from the sampled
    step on to the episode's end; "final", the episode's last; "episode", any of the episode that is still held; "none".
    The last step of an episode that still runs is the newest. "times" leaves goals as they are, and gives the episode's
    plan other times; what was reached later is looked for as by "future"."""
    ratio: float = 0.8
    """Share of the samples, each drawn by itself."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise unknown_name("hindsight strategy", self.strategy, STRATEGIES)
        if not 0.0 <= self.ratio <= 1.0:
            raise ValueError(f"Expected a hindsight ratio in [0, 1], got {self.ratio}.")

    @property
    def active(self) -> bool:
        """Whether any sample is relabelled."""
        return self.strategy != "none" and self.ratio > 0.0

    def draw(
        self, step: torch.Tensor, first: torch.Tensor, last: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw which samples are relabelled, and the steps whose achieved goals they get.

        Args:
            step: int64 `(B,)`, the sampled steps.
            first: int64 `(B,)`, the first steps held of their episodes.
            last: int64 `(B,)`, the last ones.
            generator: of the draws.

        Returns:
            Bool `(B,)` and int64 `(B,)`.
        """
        return self.choose(step, generator), self.source(step, first, last, generator)

    def choose(self, step: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw which samples are relabelled, bool `(B,)`."""
        return torch.rand(len(step), generator=generator, device=step.device) < self.ratio

    def source(
        self, step: torch.Tensor, first: torch.Tensor, last: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Draw the steps that are looked at, int64 of the common shape of the arguments, which are as of `draw`."""
        if self.strategy == "final":
            return last
        begin = first if self.strategy == "episode" else step
        # In double precision, so that long episodes are drawn from evenly too.
        share = torch.rand(step.shape, generator=generator, device=step.device, dtype=torch.float64)
        return torch.minimum(begin + (share * (last - begin + 1)).long(), last)


NO_HINDSIGHT = Hindsight(strategy="none")


class Goals:
    """What another goal changes about transitions of a goal task.

    A goal counts as reached where `compute_reward` gives the greatest reward of the task's `reward_range`. Failures are
    taken to be the same under every goal.

    Args:
        env: whose task has goals.

    Raises:
        TypeError: the task has none, a wrapper hides them from the observation, or a base policy follows them.
    """

    def __init__(self, env: TensorEnv) -> None:
        task = goal_task(env.unwrapped.task)
        space = env.single_observation_space
        if not isinstance(space, spaces.Dict) or not set(GOAL_KEYS[1:]) <= space.spaces.keys():
            raise TypeError(
                f"Expected observations with the entries {', '.join(GOAL_KEYS[1:])}, got {space}. "
                "Leave out the wrapper that flattens them."
            )
        if BASE_ACTION in space.spaces:
            raise TypeError(
                "Expected observations that another goal can be put into, got the actions of a base policy, which were "
                'made for the goal asked. Set hindsight="none", or leave out the wrapper "residual".'
            )
        self.field, self.reached = task.goal_field, task.reward_range[1]
        self.ends_at_success, self.compute_reward = task.terminate_on_success, env.compute_reward

    def judge(
        self, achieved: torch.Tensor, goal: torch.Tensor, terminated: torch.Tensor, success: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reward, termination and success of steps under another goal.

        Args:
            achieved: `(K, goal_size)`, after the steps.
            goal: `(K, goal_size)`.
            terminated: bool `(K,)`, under the goals the steps were made for.
            success: bool `(K,)`, likewise.

        Returns:
            float32, bool and bool `(K,)`. A step that ended its episode by success only does not terminate
            where the new goal is missed.
        """
        reward = self.compute_reward(achieved, goal)
        reaches = reward == self.reached
        if not self.ends_at_success:
            return reward, terminated, reaches
        return reward, terminated & ~success | reaches, reaches

    def into_obs(self, obs: Any, goal: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """`(K, ...)` observations that ask for `goal` where `mask` `(K,)` holds."""
        return {**obs, "desired_goal": where(mask, goal, obs["desired_goal"])}

    def into_state(
        self, state: Mapping[str, torch.Tensor], goal: torch.Tensor, mask: torch.Tensor
    ) -> Mapping[str, torch.Tensor]:
        """`(K, ...)` states whose goal is `goal` where `mask` `(K,)` holds; those without a goal stay as they are."""
        if self.field not in state:
            return state
        held = state[self.field]
        return {**state, self.field: where(mask, goal.to(held.dtype).view_as(held), held)}
