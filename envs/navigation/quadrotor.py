"""A quadrotor that has to hover at a goal, flown by collective thrust and body rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mujoco
import torch

from cairngym.envs.data import StateField
from cairngym.envs.layout import Quantity
from cairngym.envs.navigation.quadrotor_model import ACTUATORS, HOVER, MAX_RATES, START_HEIGHT, quadrotor_model
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.world import PhysicsWorld, between, put

SUBSTEPS = 4
"""Physics steps of a step of 0.02 s."""
START_RANGE = 0.2
"""Episodes begin within this of the middle along each axis, m."""
START_TILT = 0.3
"""Greatest tilt at the start, rad."""
START_YAW = 0.5
"""Greatest yaw at the start, rad."""
GOAL_LOW, GOAL_HIGH = (-0.6, -0.6, 0.6), (0.6, 0.6, 1.4)
"""The box of goals, m."""
THRUST_RANGE = 0.5
"""What the thrust of an action differs from the weight at most, as a share of it."""


class QuadrotorWorld(PhysicsWorld):
    """N quadrotors, each over a floor of its own.

    An action is (collective thrust, roll, pitch and yaw rate): thrust is the nominal weight times one plus half of the
    first number, so that zero hovers; rates are shares of 3, 3 and 1 rad/s. The onboard loop follows them at every
    physics step. Episodes begin at rest near the middle of the box, tilted by up to 0.3 rad about any axis and turned
    by up to 0.5 rad. Nothing but the floor bounds the flight.

    Args:
        num_envs: N.
        device: "cpu" or "cuda".
        dtype: of the measurements.
        driver: options of `make_driver`.
    """

    kinematics = False
    num_draws = 9
    camera = Camera(lookat=(0.0, 0.0, 0.8), distance=2.6, azimuth=120.0, elevation=-25.0)
    goal_radius = 0.05
    action_layout = tuple(Quantity(name=name, unit="1") for name in ACTUATORS)

    def __init__(self, num_envs: int, device: str, *, dtype: torch.dtype, driver: Mapping[str, Any]) -> None:
        super().__init__(
            quadrotor_model(), num_envs, device, substeps=SUBSTEPS, action_size=4, state_spec=state_spec(dtype),
            dtype=dtype, driver=driver,
        )  # fmt: skip
        self.driver.set_initial(hovering(self.model))
        self._qpos, self._qvel, self._ctrl = (self.driver.view(name) for name in ("qpos", "qvel", "ctrl"))
        self._height = self._qpos.new_tensor((0.0, 0.0, START_HEIGHT))
        self._scale = self._qpos.new_tensor((THRUST_RANGE * HOVER, *MAX_RATES))
        self._offset = self._qpos.new_tensor((HOVER, 0.0, 0.0, 0.0))
        self.variables["goal"] = torch.zeros(num_envs, 3, dtype=self.driver.dtype, device=self.device)

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Draw position, tilt and yaw, and the goal."""
        put(mask, self._qpos[:, :3], between(draw[:, :3], -START_RANGE, START_RANGE))
        direction, tilt, yaw = (draw[:, 3] * 2.0 * math.pi, draw[:, 4] * START_TILT, between(draw[:, 5], -1.0, 1.0))
        put(mask, self._qpos[:, 3:], tilted(direction, tilt, yaw * START_YAW))
        low, high = draw.new_tensor(GOAL_LOW), draw.new_tensor(GOAL_HIGH)
        put(mask, self.variables["goal"], low + draw[:, 6:] * (high - low))

    def control(self, action: torch.Tensor) -> None:
        """Thrust in N and rates in rad/s."""
        self._ctrl.copy_(self._offset + self._scale * action)

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec`."""
        return {
            "position": self._qpos[:, :3] + self._height, "velocity": self._qvel[:, :3], "attitude": self._qpos[:, 3:],
            "rates": self._qvel[:, 3:], "goal": self.variables["goal"],
        }  # fmt: skip

    def adopt(self, world: int, reference: Any) -> None:
        """Take over the goal of a reference env's `goal`."""
        self.variables["goal"][world] = torch.as_tensor(reference.goal, device=self.device)


def hovering(model: mujoco.MjModel) -> mujoco.MjData:
    """The data of a level quadrotor whose rotors carry its weight."""
    data = mujoco.MjData(model)
    data.ctrl[0] = data.act[0] = HOVER
    return data


def tilted(direction: torch.Tensor, tilt: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Quaternions `(B, 4)`, (w, x, y, z), of a yaw followed by a tilt about a horizontal axis of the body.

    Args:
        direction: of the axis in the body's plane, rad, `(B,)`.
        tilt: rad, `(B,)`.
        yaw: rad, `(B,)`.
    """
    cosine, sine = torch.cos(tilt / 2), torch.sin(tilt / 2)
    x, y = sine * torch.cos(direction), sine * torch.sin(direction)
    c, s = torch.cos(yaw / 2), torch.sin(yaw / 2)
    return torch.stack((c * cosine, c * x - s * y, c * y + s * x, s * cosine), dim=-1)


def state_spec(dtype: torch.dtype) -> dict[str, StateField]:
    """What a quadrotor world measures."""

    def field(unit: str, description: str, size: int = 3) -> StateField:
        return StateField(shape=(size,), unit=unit, description=description, dtype=dtype)

    return {
        "position": field("m", "Where the quadrotor is; goals lie in [-0.6, 0.6]^2 x [0.6, 1.4]."),
        "velocity": field("m/s", "Its velocity along the world's axes."),
        "attitude": field("quaternion", "Its rotation, (w, x, y, z); the body's axes point ahead, left and up.", 4),
        "rates": field("rad/s", "Body rates about its axes ahead, left and up."),
        "goal": field("m", "Where the quadrotor is wanted."),
    }
