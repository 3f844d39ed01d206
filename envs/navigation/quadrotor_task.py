"""Hover at a goal: the quadrotor's observations and its sparse reward."""

from __future__ import annotations

from typing import Any

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.goals import GoalTask
from cairngym.envs.layout import Layout, Quantity
from cairngym.envs.navigation.quadrotor import GOAL_HIGH, GOAL_LOW, QuadrotorWorld
from cairngym.envs.physics.options import PhysicsOptions

HORIZON = 100
"""Steps of an episode: 2 s."""
THRESHOLD = 0.1
"""Distance at which a goal counts as reached, m."""
DESCRIPTOR_CELLS = (12, 12, 8)
"""Parts of the goals' box that the behavior descriptor tells apart: cubes of 10 cm."""

LAYOUT: Layout = {
    "observation": (
        "velocity", Quantity(name="nose", unit="1", size=3), Quantity(name="up", unit="1", size=3), "rates"
    ),
    "achieved_goal": ("position",), "desired_goal": ("goal",),
}  # fmt: skip
"""What the numbers of the observation are."""


class QuadrotorTask(GoalTask):
    """Bring the quadrotor within 0.1 m of the goal and keep it there.

    The reward is -1 while it is farther and 0 where it is not; episodes go on until the horizon, so that returns grow
    with the time spent hovering, and success at the last step means that it hovers. A crash ends nothing: an end would
    spare the -1 of all steps to come, and the floor holds what has fallen.

    The observation is 12 numbers: velocity in the world's axes (3), the first and the third column of the rotation
    matrix, that is where the nose and where the thrust points (6), and body rates (3). Where the quadrotor is stands in
    `achieved_goal` alone.

    Args:
        dtype: of observations.
        terminate_on_success: whether reaching the goal ends the episode.
    """

    instruction = f"Fly the quadrotor to within {THRESHOLD} m of the goal and hover there."
    progress_fields = ("position", "goal")
    count_fields = ("position",)
    progress_scale = 1.0

    def __init__(self, dtype: torch.dtype, *, terminate_on_success: bool) -> None:
        super().__init__(
            observation_size=12, goal_size=3, threshold=THRESHOLD, horizon=HORIZON, reward_range=(-1.0, 0.0),
            terminate_on_success=terminate_on_success, inclusive=True, dtype=dtype,
        )  # fmt: skip
        self.observation_layout = LAYOUT
        entries = tuple(("position", axis) for axis in range(3))
        self.descriptor = BehaviorDescriptor(entries=entries, low=GOAL_LOW, high=GOAL_HIGH, cells=DESCRIPTOR_CELLS)

    def features(self, state: State) -> torch.Tensor:
        """The observation, `(B, 12)`."""
        w, x, y, z = state["attitude"].unbind(-1)
        nose = (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y))
        up = (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y))
        return torch.cat((state["velocity"], torch.stack((*nose, *up), dim=-1), state["rates"]), dim=-1)

    def achieved_goal(self, state: State) -> torch.Tensor:
        """Where the quadrotor is, `(B, 3)`."""
        return state["position"]


def make_quadrotor(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    terminate_on_success: bool = False,
    **options: Any,
) -> TensorEnv:
    """Make a quadrotor env.

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
        >>> env = make_quadrotor("Quadrotor-v0", num_envs=2)
        >>> obs, info = env.reset(seed=0)
        >>> {name: tuple(values.shape) for name, values in obs.items()}
        {'observation': (2, 12), 'achieved_goal': (2, 3), 'desired_goal': (2, 3)}
    """
    shared = PhysicsOptions.take(env_id, options, ("terminate_on_success",))
    world = QuadrotorWorld(num_envs, device, dtype=shared.number, driver=shared.drive)
    task = QuadrotorTask(shared.number, terminate_on_success=terminate_on_success)
    return shared.assemble(world, task, seed)
