"""Drive to a goal: the two-wheeled robot's observations and its sparse reward."""

from __future__ import annotations

from typing import Any

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.goals import GoalTask
from cairngym.envs.layout import Layout, Quantity
from cairngym.envs.navigation.differential_drive import GOAL_RANGE, DifferentialDriveWorld
from cairngym.envs.physics.options import PhysicsOptions

HORIZON = 80
"""Steps of an episode: 8 s."""
THRESHOLD = 0.1
"""Distance at which a goal counts as reached, m."""
DESCRIPTOR_CELLS = 28
"""Parts of the goals' square, along either side, that the behavior descriptor tells apart."""

LAYOUT: Layout = {
    "observation": (
        Quantity(name="cos(heading)", unit="1"), Quantity(name="sin(heading)", unit="1"), "velocity", "yaw_rate",
        "wheel_speed",
    ),
    "achieved_goal": ("position",), "desired_goal": ("goal",),
}  # fmt: skip
"""What the numbers of the observation are."""


class DifferentialDriveTask(GoalTask):
    """Bring the middle of the robot's axle within 0.1 m of the goal and keep it there.

    The reward is -1 while it is farther and 0 where it is not; episodes go on after success until the horizon.

    The observation is 7 numbers: cosine and sine of the heading, velocity in the world's axes (2), yaw rate, and the
    speeds of both wheels (2). Where the robot is stands in `achieved_goal` alone.

    Args:
        dtype: of observations.
        terminate_on_success: whether reaching the goal ends the episode.
    """

    instruction = f"Drive the robot to within {THRESHOLD} m of the goal and stop there."
    progress_fields = ("position", "goal")
    count_fields = ("position",)
    progress_scale = 1.0

    def __init__(self, dtype: torch.dtype, *, terminate_on_success: bool) -> None:
        super().__init__(
            observation_size=7, goal_size=2, threshold=THRESHOLD, horizon=HORIZON, reward_range=(-1.0, 0.0),
            terminate_on_success=terminate_on_success, inclusive=True, dtype=dtype,
        )  # fmt: skip
        self.observation_layout = LAYOUT
        entries = tuple(("position", axis) for axis in range(2))
        self.descriptor = BehaviorDescriptor(
            entries=entries, low=(-GOAL_RANGE,) * 2, high=(GOAL_RANGE,) * 2, cells=(DESCRIPTOR_CELLS,) * 2
        )

    def features(self, state: State) -> torch.Tensor:
        """The observation, `(B, 7)`."""
        heading = torch.stack((torch.cos(state["heading"]), torch.sin(state["heading"]), state["yaw_rate"]), dim=-1)
        return torch.cat((heading[:, :2], state["velocity"], heading[:, 2:], state["wheel_speed"]), dim=-1)

    def achieved_goal(self, state: State) -> torch.Tensor:
        """Where the robot is, `(B, 2)`."""
        return state["position"]


def make_differential_drive(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    terminate_on_success: bool = False,
    **options: Any,
) -> TensorEnv:
    """Make an env with a two-wheeled robot.

    Args:
        env_id: named in errors.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        terminate_on_success: end an episode where the goal is reached.
        options: see `PhysicsOptions`, and `autoreset_mode`.

    Raises:
        TypeError: an option it does not have.

    Example:
        >>> env = make_differential_drive("DifferentialDrive-v0", num_envs=2)
        >>> obs, info = env.reset(seed=0)
        >>> {name: tuple(values.shape) for name, values in obs.items()}
        {'observation': (2, 7), 'achieved_goal': (2, 2), 'desired_goal': (2, 2)}
    """
    shared = PhysicsOptions.take(env_id, options, ("terminate_on_success",))
    world = DifferentialDriveWorld(num_envs, device, dtype=shared.number, driver=shared.drive)
    task = DifferentialDriveTask(shared.number, terminate_on_success=terminate_on_success)
    return shared.assemble(world, task, seed)
