"""A scripted driver: turn towards the goal, or away from it where that is nearer, and drive."""

from __future__ import annotations

import torch

from cairngym.envs.data import State
from cairngym.envs.navigation.differential_drive_model import MAX_WHEEL_SPEED, TRACK, WHEEL_RADIUS

SPEED_GAIN = 1.5
"""Speed for each m to the goal, 1/s."""
TURN_GAIN = 3.0
"""Yaw rate for each rad between heading and the line to the goal, 1/s."""


def drive(state: State) -> torch.Tensor:
    """Actions float32 `(B, 2)`: speed along the heading and yaw rate, turned into shares of the wheels' speeds."""
    x, y = (state["goal"] - state["position"]).unbind(-1)
    cosine, sine = torch.cos(state["heading"]), torch.sin(state["heading"])
    ahead, left = cosine * x + sine * y, cosine * y - sine * x
    backwards = torch.where(ahead < 0.0, -1.0, 1.0)
    distance = (x * x + y * y).sqrt()
    # Where the goal is reached, which way it lies says nothing.
    turn = TURN_GAIN * torch.atan2(left * backwards, ahead.abs()) * (distance / 0.05).clamp(max=1.0)
    speed = SPEED_GAIN * ahead
    wheels = torch.stack((speed - turn * TRACK / 2, speed + turn * TRACK / 2), dim=-1) / WHEEL_RADIUS
    shares = wheels / MAX_WHEEL_SPEED
    return (shares / shares.abs().amax(-1, keepdim=True).clamp(min=1.0)).to(torch.float32)
