"""A robot on two driven wheels that has to drive to a goal on the floor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mujoco
import torch

from cairngym.envs.data import StateField
from cairngym.envs.layout import Quantity
from cairngym.envs.navigation.differential_drive_model import MAX_WHEEL_SPEED, WHEELS, differential_drive_model
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.models import find_id
from cairngym.envs.physics.world import PhysicsWorld, between, put

SUBSTEPS = 20
"""Physics steps of a step of 0.1 s."""
START_RANGE = 0.1
"""Episodes begin within this of the middle in x and in y, m."""
GOAL_RANGE = 0.7
"""Goals lie within this of the middle in x and in y, m."""


class DifferentialDriveWorld(PhysicsWorld):
    """N robots, each on a floor of its own.

    An action is the speeds wanted of the left and of the right wheel as shares of 6.67 rad/s, at which the robot drives
    0.22 m/s; servos follow them at every physics step. Episodes begin at rest near the middle, with any heading.

    Args:
        num_envs: N.
        device: "cpu" or "cuda".
        dtype: of the measurements.
        driver: options of `make_driver`.
    """

    kinematics = False
    num_draws = 5
    camera = Camera(lookat=(0.0, 0.0, 0.0), distance=2.2, azimuth=90.0, elevation=-60.0)
    goal_radius, goal_height = 0.05, 0.03
    action_layout = tuple(Quantity(name=name, unit="1") for name in WHEELS)

    def __init__(self, num_envs: int, device: str, *, dtype: torch.dtype, driver: Mapping[str, Any]) -> None:
        super().__init__(
            differential_drive_model(), num_envs, device, substeps=SUBSTEPS, action_size=2,
            state_spec=state_spec(dtype), dtype=dtype, driver=driver,
        )  # fmt: skip
        self.driver.set_initial(settled(self.model))
        self._qpos, self._qvel, self._ctrl = (self.driver.view(name) for name in ("qpos", "qvel", "ctrl"))
        joints = [find_id(self.model, "joint", name) for name in WHEELS]
        self._angles = [int(self.model.jnt_qposadr[joint]) for joint in joints]
        self._speeds = [int(self.model.jnt_dofadr[joint]) for joint in joints]
        self.variables["goal"] = torch.zeros(num_envs, 2, dtype=self.driver.dtype, device=self.device)

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Draw position and heading, and the goal."""
        put(mask, self._qpos[:, :2], between(draw[:, :2], -START_RANGE, START_RANGE))
        half = between(draw[:, 2], -math.pi / 2, math.pi / 2)
        flat = torch.zeros_like(half)
        put(mask, self._qpos[:, 3:7], torch.stack((torch.cos(half), flat, flat, torch.sin(half)), dim=-1))
        put(mask, self.variables["goal"], between(draw[:, 3:], -GOAL_RANGE, GOAL_RANGE))

    def control(self, action: torch.Tensor) -> None:
        """Wheel speeds in rad/s."""
        self._ctrl.copy_(MAX_WHEEL_SPEED * action)

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec`."""
        w, x, y, z = self._qpos[:, 3:7].unbind(-1)
        return {
            "position": self._qpos[:, :2], "velocity": self._qvel[:, :2],
            "heading": torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)), "yaw_rate": self._qvel[:, 5],
            "wheel_angle": self._qpos[:, self._angles], "wheel_speed": self._qvel[:, self._speeds],
            "goal": self.variables["goal"],
        }  # fmt: skip

    def adopt(self, world: int, reference: Any) -> None:
        """Take over the goal of a reference env's `goal`."""
        self.variables["goal"][world] = torch.as_tensor(reference.goal, device=self.device)


def settled(model: mujoco.MjModel) -> mujoco.MjData:
    """The data of a robot that has come to rest on the floor, at the origin and facing along x."""
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, nstep=400)
    start = mujoco.MjData(model)
    start.qpos[2:7] = data.qpos[2:7]
    return start


def state_spec(dtype: torch.dtype) -> dict[str, StateField]:
    """What a differential drive world measures."""

    def field(unit: str, description: str, *size: int) -> StateField:
        return StateField(shape=size, unit=unit, description=description, dtype=dtype)

    return {
        "position": field("m", "Where the middle of the axle is; goals lie in [-0.7, 0.7]^2.", 2),
        "velocity": field("m/s", "How fast it moves along the world's axes.", 2),
        "heading": field("rad", "Which way the robot faces, counterclockwise from the x axis."),
        "yaw_rate": field("rad/s", "How fast the robot turns."),
        "wheel_angle": field("rad", "How far the left and the right wheel have turned since the episode began.", 2),
        "wheel_speed": field("rad/s", "How fast the left and the right wheel turn.", 2),
        "goal": field("m", "Where the robot is wanted.", 2),
    }
