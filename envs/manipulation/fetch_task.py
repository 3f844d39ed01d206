"""Fetch tasks as goals for the gripper or the object, with Gymnasium-Robotics' observations and sparse reward."""

from __future__ import annotations

from typing import Any

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.goals import GoalTask
from cairngym.envs.layout import Layout, Quantity
from cairngym.envs.manipulation.fetch import FetchWorld
from cairngym.envs.manipulation.fetch_config import FETCH, FetchConfig
from cairngym.envs.physics.options import PhysicsOptions

HORIZON = 50
TABLE = ((1.05, 0.4), (1.55, 1.1))
"""Least and greatest x and y of the table's top, m."""
LONG_TABLE = ((0.7, 0.3), (1.95, 1.2))
"""The same where objects slide."""
DESCRIPTOR_CELLS = 25
"""Parts of the table's top, along either side, that the behavior descriptor tells apart."""


class FetchTask(GoalTask):
    """Bring the gripper (reach) or the object (push, slide, pick and place) within 5 cm of the goal.

    The reward is -1 while it is farther and 0 where it is not; episodes go on after success until the horizon.
    The observation is the gripper's position (3), the object's position (3), the object's position relative to the
    gripper (3), finger positions (2), the object's angles (3), its velocity relative to the gripper (3) and its angular
    velocity (3), the gripper's velocity (3) and finger velocities (2); tasks without an object leave its entries out.
    """

    progress_scale = 0.3

    def __init__(self, config: FetchConfig, dtype: torch.dtype, *, terminate_on_success: bool) -> None:
        super().__init__(
            observation_size=25 if config.has_object else 10, goal_size=3, threshold=config.threshold, horizon=HORIZON,
            reward_range=(-1.0, 0.0), terminate_on_success=terminate_on_success, inclusive=False, dtype=dtype,
        )  # fmt: skip
        self.instruction, self.has_object = config.instruction, config.has_object
        self.progress_fields = ("object_position" if config.has_object else "gripper_position", "goal")
        self.observation_layout = observation_layout(has_object=config.has_object)
        self.count_fields = self.progress_fields[:1]
        low, high = LONG_TABLE if any(config.target_offset) else TABLE
        entries = tuple((self.count_fields[0], axis) for axis in range(2))
        self.descriptor = BehaviorDescriptor(entries=entries, low=low, high=high, cells=(DESCRIPTOR_CELLS,) * 2)

    def features(self, state: State) -> torch.Tensor:
        """The observation, `(B, 25)` or `(B, 10)`."""
        gripper, fingers = state["gripper_position"], state["finger_position"]
        motion = (state["gripper_velocity"], state["finger_velocity"])
        if not self.has_object:
            return torch.cat((gripper, fingers, *motion), dim=-1)
        thing = state["object_position"]
        relative_velocity = state["object_velocity"] - state["gripper_velocity"]
        return torch.cat(
            (
                gripper, thing, thing - gripper, fingers, state["object_rotation"], relative_velocity,
                state["object_rotation_velocity"], *motion,
            ),
            dim=-1,
        )  # fmt: skip

    def achieved_goal(self, state: State) -> torch.Tensor:
        """Where the object, or without one the gripper, is, `(B, 3)`."""
        return state["object_position" if self.has_object else "gripper_position"]


def observation_layout(*, has_object: bool) -> Layout:
    """What the numbers of the observation are, with or without an object."""
    thing: tuple[str | Quantity, ...] = ()
    turning: tuple[str | Quantity, ...] = ()
    if has_object:
        thing = ("object_position", Quantity(name="object_position - gripper_position", unit="m", size=3))
        relative = Quantity(name="object_velocity - gripper_velocity", unit="m/step", size=3)
        turning = ("object_rotation", relative, "object_rotation_velocity")
    return {
        "observation": ("gripper_position", *thing, "finger_position", *turning, "gripper_velocity", "finger_velocity"),
        "achieved_goal": ("object_position" if has_object else "gripper_position",),
        "desired_goal": ("goal",),
    }


def make_fetch(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    terminate_on_success: bool = False,
    **options: Any,
) -> TensorEnv:
    """Make a Fetch env.

    Args:
        env_id: one of `FETCH`.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        terminate_on_success: end an episode at success; upstream goes on.
        options: see `PhysicsOptions`, and `autoreset_mode`.

    Raises:
        TypeError: an option it does not have.
    """
    config, shared = FETCH[env_id], PhysicsOptions.take(env_id, options, ("terminate_on_success",))
    world = FetchWorld(config, num_envs, device, dtype=shared.number, driver=shared.drive)
    task = FetchTask(config, shared.number, terminate_on_success=terminate_on_success)
    return shared.assemble(world, task, seed)
