"""A scripted pilot: position and velocity errors to a thrust vector, its tilt to body rates."""

from __future__ import annotations

import torch

from cairngym.envs.data import State
from cairngym.envs.navigation.quadrotor import THRUST_RANGE
from cairngym.envs.navigation.quadrotor_model import GRAVITY, MAX_RATES

POSITION_GAIN, VELOCITY_GAIN = 4.0, 3.5
"""Acceleration wanted for each m to the goal, 1/s^2, and against each m/s, 1/s."""
TILT_GAIN = 8.0
"""Body rate for the sine of the angle to the thrust wanted, 1/s."""
MAX_ACCELERATION = 5.0
"""Along each axis, m/s^2."""


def fly(state: State) -> torch.Tensor:
    """Actions float32 `(B, 4)`: a cascade as of Mellinger and Kumar (ICRA 2011), without control of the yaw."""
    error, velocity = state["goal"] - state["position"], state["velocity"]
    wanted = (POSITION_GAIN * error - VELOCITY_GAIN * velocity).clamp(-MAX_ACCELERATION, MAX_ACCELERATION)
    x, y, z = wanted.unbind(-1)
    force = (x, y, z + GRAVITY)
    length = (force[0] * force[0] + force[1] * force[1] + force[2] * force[2]).sqrt()
    ahead, left, up = in_body(state["attitude"], force)
    thrust = (up / GRAVITY - 1.0) / THRUST_RANGE
    # The thrust turns to where it is wanted about the cross product of the two.
    roll, pitch = -TILT_GAIN * left / length, TILT_GAIN * ahead / length
    action = torch.stack((thrust, roll / MAX_RATES[0], pitch / MAX_RATES[1], torch.zeros_like(roll)), dim=-1)
    return action.clamp(-1.0, 1.0).to(torch.float32)


def in_body(quaternion: torch.Tensor, vector: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The parts of vectors along the body's axes ahead, left and up, `(B,)` each.

    Args:
        quaternion: `(B, 4)`, (w, x, y, z).
        vector: three tensors `(B,)` along the world's axes.
    """
    w, x, y, z = quaternion.unbind(-1)
    a, b, c = vector
    return (
        (1 - 2 * (y * y + z * z)) * a + 2 * (x * y + w * z) * b + 2 * (x * z - w * y) * c,
        2 * (x * y - w * z) * a + (1 - 2 * (x * x + z * z)) * b + 2 * (y * z + w * x) * c,
        2 * (x * z + w * y) * a + 2 * (y * z - w * x) * b + (1 - 2 * (x * x + y * y)) * c,
    )
