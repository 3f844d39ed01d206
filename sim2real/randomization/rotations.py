"""Small rotations of unit quaternions (w, x, y, z)."""

from __future__ import annotations

import torch

QUATERNION = "quaternion"
"""The unit of state fields that hold unit quaternions."""


def from_vector(vector: torch.Tensor) -> torch.Tensor:
    """The quaternion `(..., 4)` of rotation vectors `(..., 3)`, rad: the exponential map."""
    half = 0.5 * _norm(vector)
    # sin(h) / (2 h) at zero is 1/2; its series is exact to double precision below 1e-4.
    factor = torch.where(half < 1e-4, 0.5 - half * half / 12.0, 0.5 * torch.sin(half) / half.clamp(min=1e-4))
    return torch.cat((torch.cos(half), factor * vector), dim=-1)


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The Hamilton product of quaternions `(..., 4)`."""
    w, x, y, z = left.unbind(-1)
    a, b, c, d = right.unbind(-1)
    parts = (
        w * a - x * b - y * c - z * d,
        w * b + x * a + y * d - z * c,
        w * c - x * d + y * a + z * b,
        w * d + x * c - y * b + z * a,
    )
    return torch.stack(parts, dim=-1)


def turned(quaternion: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Unit quaternions `(..., 4)`, turned about axes of their own by rotation vectors `(..., 3)`, rad."""
    result = product(quaternion, from_vector(vector))
    return result / _norm(result)


def rotated(quaternion: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Vectors `(..., 3)`, rotated by unit quaternions `(..., 4)`."""
    pure = torch.cat((torch.zeros_like(vector[..., :1]), vector), dim=-1)
    back = quaternion * quaternion.new_tensor((1.0, -1.0, -1.0, -1.0))
    return product(product(quaternion, pure), back)[..., 1:]


def _norm(vector: torch.Tensor) -> torch.Tensor:
    """Length over the last axis, `(..., 1)`, summed in one fixed order."""
    squared = vector[..., 0] * vector[..., 0]
    for k in range(1, vector.shape[-1]):
        squared = squared + vector[..., k] * vector[..., k]
    return squared.sqrt().unsqueeze(-1)
