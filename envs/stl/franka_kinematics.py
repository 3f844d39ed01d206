"""Where the points of a Franka arm are, and how they move with the joints, from joint angles alone."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from cairngym.envs.physics.models import find_id
from cairngym.envs.stl.franka_model import CHECKS, END_EFFECTOR, JOINTS

POINTS = (*CHECKS, END_EFFECTOR)
"""Sites of the model, from the elbow to the end effector."""


class FrankaKinematics:
    """Positions and Jacobians of the arm's points.

    Every joint is a hinge about the z axis of its body, at the body's origin; so a point's velocity is the sum over
    the joints before it of rate times axis times lever arm.

    Args:
        model: from `franka_model`.
        device: where angles come from.
    """

    def __init__(self, model: mujoco.MjModel, device: torch.device | str = "cpu") -> None:
        joints = [find_id(model, "joint", name) for name in JOINTS]
        bodies = [int(model.jnt_bodyid[joint]) for joint in joints]
        sites = [find_id(model, "site", name) for name in POINTS]
        self._turns = torch.as_tensor(_rotations(model.body_quat[bodies]), device=device)
        self._shifts = torch.as_tensor(model.body_pos[bodies], device=device)
        self._link = [bodies.index(int(model.site_bodyid[site])) for site in sites]
        self._place = torch.as_tensor(model.site_pos[sites], device=device)
        self.low, self.high = torch.as_tensor(model.jnt_range[joints].T, device=device)
        self._moved = torch.tensor([[j <= link for j in range(7)] for link in self._link], device=device)

    def frames(self, angles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations `(B, 7, 3, 3)` and origins `(B, 7, 3)` of the links, float64.

        Args:
            angles: `(B, 7)` in rad.
        """
        angles = angles.double()
        zero, one = torch.zeros_like(angles), torch.ones_like(angles)
        c, s = angles.cos(), angles.sin()
        spins = torch.stack((c, -s, zero, s, c, zero, zero, zero, one), dim=-1).view(-1, 7, 3, 3)
        rotation, origin = torch.eye(3, dtype=angles.dtype, device=angles.device), torch.zeros_like(angles[:, :3])
        rotations, origins = [], []
        for j in range(7):
            origin = origin + rotation @ self._shifts[j]
            rotation = rotation @ self._turns[j] @ spins[:, j]
            rotations.append(rotation)
            origins.append(origin)
        return torch.stack(rotations, dim=1), torch.stack(origins, dim=1)

    def points(self, angles: torch.Tensor) -> torch.Tensor:
        """Where `POINTS` are in the world, float64 `(B, 8, 3)` in m."""
        return self._fixed_to(*self.frames(angles))

    def _fixed_to(self, rotation: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
        """The points of links that lie so."""
        return origin[:, self._link] + (rotation[:, self._link] @ self._place.unsqueeze(-1)).squeeze(-1)

    def jacobians(self, angles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The points `(B, 8, 3)` in m and how they move `(B, 8, 3, 7)` in m/rad, float64."""
        rotation, origin = self.frames(angles)
        points = self._fixed_to(rotation, origin)
        levers = points.unsqueeze(2) - origin.unsqueeze(1)
        axes = rotation[..., 2].unsqueeze(1).expand_as(levers)
        motion = torch.linalg.cross(axes, levers) * self._moved.unsqueeze(-1)
        return points, motion.transpose(2, 3)


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """Matrices `(J, 3, 3)` of quaternions `(J, 4)`."""
    matrices = np.empty((len(quaternions), 9))
    for matrix, quaternion in zip(matrices, quaternions, strict=True):
        mujoco.mju_quat2Mat(matrix, quaternion)
    return matrices.reshape(-1, 3, 3)
