"""Reach a goal with a Franka arm: observations and sparse reward."""

from __future__ import annotations

from typing import Any

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.goals import GoalTask
from cairngym.envs.layout import Layout
from cairngym.envs.manipulation.franka_reach import GOAL_HIGH, GOAL_LOW, FrankaReachWorld
from cairngym.envs.physics.options import PhysicsOptions

HORIZON = 50
"""Steps of an episode: 2.5 s."""
THRESHOLD = 0.05
"""Distance at which a goal counts as reached, m."""
DESCRIPTOR_CELLS = (6, 12, 8)
"""Parts of the goals' box that the behavior descriptor tells apart: cubes of 5 cm."""

LAYOUT: Layout = {
    "observation": ("joint_position", "joint_velocity"), "achieved_goal": ("end_effector",),
    "desired_goal": ("goal",),
}  # fmt: skip
"""What the numbers of the observation are."""


class FrankaReachTask(GoalTask):
    """Bring the end effector within 5 cm of the goal.

    The reward is -1 while it is farther and 0 where it is not; episodes go on after success until the horizon.
    The observation is joint angles (7) and their velocities (7). Where the end effector is stands in `achieved_goal`.

    Args:
        dtype: of observations.
        terminate_on_success: whether reaching the goal ends the episode.
    """

    instruction = f"Move the arm's end effector to within {THRESHOLD} m of the goal."
    progress_fields = ("end_effector", "goal")
    count_fields = ("end_effector",)
    progress_scale = 0.6

    def __init__(self, dtype: torch.dtype, *, terminate_on_success: bool) -> None:
        super().__init__(
            observation_size=14, goal_size=3, threshold=THRESHOLD, horizon=HORIZON, reward_range=(-1.0, 0.0),
            terminate_on_success=terminate_on_success, inclusive=True, dtype=dtype,
        )  # fmt: skip
        self.observation_layout = LAYOUT
        entries = tuple(("end_effector", axis) for axis in range(3))
        self.descriptor = BehaviorDescriptor(entries=entries, low=GOAL_LOW, high=GOAL_HIGH, cells=DESCRIPTOR_CELLS)

    def features(self, state: State) -> torch.Tensor:
        """The observation, `(B, 14)`."""
        return torch.cat((state["joint_position"], state["joint_velocity"]), dim=-1)

    def achieved_goal(self, state: State) -> torch.Tensor:
        """Where the end effector is, `(B, 3)`."""
        return state["end_effector"]


def make_franka_reach(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    terminate_on_success: bool = False,
    **options: Any,
) -> TensorEnv:
    """Make an env in which a Franka arm reaches for goals.

    Args:
        env_id: named in errors.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        terminate_on_success: end an episode where the goal is reached.
        options: see `PhysicsOptions`, and `autoreset_mode`.

    Raises:
        ImportError: the package with the robot's model is not installed.
        TypeError: an option it does not have.

    Example:
        >>> env = make_franka_reach("FrankaReach-v0", num_envs=2)
        >>> obs, info = env.reset(seed=0)
        >>> {name: tuple(values.shape) for name, values in obs.items()}
        {'observation': (2, 14), 'achieved_goal': (2, 3), 'desired_goal': (2, 3)}
    """
    shared = PhysicsOptions.take(env_id, options, ("terminate_on_success",))
    world = FrankaReachWorld(num_envs, device, dtype=shared.number, driver=shared.drive)
    task = FrankaReachTask(shared.number, terminate_on_success=terminate_on_success)
    return shared.assemble(world, task, seed)
