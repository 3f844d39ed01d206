"""A Franka arm whose end effector has to come to a goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import torch

from cairngym.envs.data import StateField
from cairngym.envs.layout import Quantity
from cairngym.envs.manipulation.franka_reach_model import ACTUATORS, LEAD, franka_reach_model
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.models import find_id
from cairngym.envs.physics.world import PhysicsWorld, between, put
from cairngym.envs.stl.franka_model import END_EFFECTOR, HOME

SUBSTEPS = 10
"""Physics steps of a step of 0.05 s."""
START_RANGE = 0.1
"""Each joint begins within this of its angle at `HOME`, rad."""
GOAL_LOW, GOAL_HIGH = (0.3, -0.3, 0.2), (0.6, 0.3, 0.6)
"""The box of goals, m; the end effector begins in its middle, about (0.45, 0, 0.45)."""


class FrankaReachWorld(PhysicsWorld):
    """N Franka arms on a floor.

    An action puts the target of each joint's servo up to 0.05 rad ahead of the joint's angle, within its limits, for
    0.05 s. Episodes begin at rest, near one posture. The gripper stays closed.

    Args:
        num_envs: N.
        device: "cpu" or "cuda".
        dtype: of the measurements.
        driver: options of `make_driver`.
    """

    num_draws = 10
    camera = Camera(lookat=(0.35, 0.0, 0.35), distance=1.9, azimuth=140.0, elevation=-25.0)
    action_layout = tuple(Quantity(name=name, unit="1") for name in ACTUATORS)

    def __init__(self, num_envs: int, device: str, *, dtype: torch.dtype, driver: Mapping[str, Any]) -> None:
        super().__init__(
            franka_reach_model(), num_envs, device, substeps=SUBSTEPS, action_size=7, state_spec=state_spec(dtype),
            dtype=dtype, driver=driver,
        )  # fmt: skip
        rest = mujoco.MjData(self.model)
        rest.qpos[:] = rest.ctrl[:] = HOME
        self.driver.set_initial(rest)
        self._qpos, self._qvel, self._ctrl = (self.driver.view(name) for name in ("qpos", "qvel", "ctrl"))
        self._sites, self._tip = self.driver.view("site_xpos"), find_id(self.model, "site", END_EFFECTOR)
        self._home = self._qpos.new_tensor(HOME)
        self._low, self._high = (self._qpos.new_tensor(limit) for limit in self.model.jnt_range.T)
        self.variables["goal"] = torch.zeros(num_envs, 3, dtype=self.driver.dtype, device=self.device)

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Draw the posture and the goal."""
        put(mask, self._qpos, self._home + between(draw[:, :7], -START_RANGE, START_RANGE))
        low, high = draw.new_tensor(GOAL_LOW), draw.new_tensor(GOAL_HIGH)
        put(mask, self.variables["goal"], low + draw[:, 7:] * (high - low))

    def control(self, action: torch.Tensor) -> None:
        """The servos' targets, rad."""
        target = self._qpos + LEAD * action
        self._ctrl.copy_(torch.minimum(torch.maximum(target, self._low), self._high))

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec`."""
        return {
            "joint_position": self._qpos, "joint_velocity": self._qvel, "end_effector": self._sites[:, self._tip],
            "goal": self.variables["goal"],
        }  # fmt: skip

    def adopt(self, world: int, reference: Any) -> None:
        """Take over the goal of a reference env's `goal`."""
        self.variables["goal"][world] = torch.as_tensor(reference.goal, device=self.device)


def state_spec(dtype: torch.dtype) -> dict[str, StateField]:
    """What a Franka world measures."""

    def field(unit: str, description: str, size: int) -> StateField:
        return StateField(shape=(size,), unit=unit, description=description, dtype=dtype)

    return {
        "joint_position": field("rad", "Angles of the joints, from the base on.", 7),
        "joint_velocity": field("rad/s", "How fast the joints turn.", 7),
        "end_effector": field("m", "Where the point between the fingertips is; the base is the origin.", 3),
        "goal": field("m", "Where the end effector is wanted; goals lie in [0.3, 0.6] x [-0.3, 0.3] x [0.2, 0.6].", 3),
    }
