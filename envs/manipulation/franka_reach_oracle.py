"""A scripted arm: damped least squares from the way left to the goal to joint speeds."""

from __future__ import annotations

import torch

from cairngym.envs.data import State
from cairngym.envs.stl.franka_kinematics import FrankaKinematics
from cairngym.envs.stl.franka_model import SPEEDS, franka_model
from cairngym.envs.stl.franka_oracle import posture, resolved

GAIN = 4.0
"""Speed of the end effector for each m to the goal, 1/s."""
POSTURE = 0.5
"""How fast the joints go back to the posture at rest where that does not move the end effector, 1/s."""


class FrankaReachOracle:
    """Move the end effector straight to the goal, as fast as the slowest joint allows.

    Args:
        device: where states come from.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.arm = FrankaKinematics(franka_model(), device)

    def __call__(self, state: State) -> torch.Tensor:
        """Actions float32 `(B, 7)`."""
        angles = state["joint_position"].double()
        points, jacobians = self.arm.jacobians(angles)
        velocity = GAIN * (state["goal"].double() - points[:, -1])
        rates = resolved(jacobians[:, -1], velocity, POSTURE * (posture(angles) - angles))
        shares = rates / rates.new_tensor(SPEEDS)
        return (shares / shares.abs().amax(-1, keepdim=True).clamp_min(1.0)).float()
