"""Velocities and rotations from MuJoCo's derived fields, batched in torch."""

from __future__ import annotations

import torch

EPSILON = 4.0 * torch.finfo(torch.float64).eps


def point_velocity(cvel: torch.Tensor, center: torch.Tensor, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear and angular velocity of points fixed to bodies, in the world frame.

    Args:
        cvel: `(..., 6)`, MuJoCo's `cvel` of the body: rotation, then translation of the tree's centre of mass.
        center: `(..., 3)`, `subtree_com` of the body's root.
        point: `(..., 3)` in the world frame.

    Returns:
        `(..., 3)` in m/s and `(..., 3)` in rad/s.
    """
    angular, linear = cvel[..., :3], cvel[..., 3:]
    return linear + torch.linalg.cross(angular, point - center), angular


def matrix_to_euler(matrix: torch.Tensor) -> torch.Tensor:
    """Angles about x, y and z of rotation matrices, as Gymnasium-Robotics defines them.

    The rotation is Rx(a) Ry(b) Rz(c); where cos(b) vanishes, a is zero.

    Args:
        matrix: `(..., 3, 3)`, or `(..., 9)` row by row.

    Returns:
        `(..., 3)` in rad.
    """
    m = matrix.reshape(*matrix.shape[: -2 if matrix.shape[-1] == 3 else -1], 3, 3)
    cosine = torch.sqrt(m[..., 2, 2] ** 2 + m[..., 1, 2] ** 2)
    regular = cosine > EPSILON
    x = torch.where(regular, -torch.atan2(m[..., 1, 2], m[..., 2, 2]), 0.0)
    y = torch.atan2(m[..., 0, 2], cosine)
    z = torch.where(regular, -torch.atan2(m[..., 0, 1], m[..., 0, 0]), torch.atan2(m[..., 1, 0], m[..., 1, 1]))
    return torch.stack((x, y, z), dim=-1)
