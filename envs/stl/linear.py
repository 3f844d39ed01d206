"""A point in the plane that is moved by its velocity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from cairngym.envs.data import State, StateField
from cairngym.envs.stl.arena import ArenaWorld, split, stacked
from cairngym.envs.stl.layouts import Arena

HALF = 2.0
"""Half of the arena's side, m."""


class LinearWorld(ArenaWorld):
    """x' = u, integrated exactly: a step adds u dt, with |u_i| <= 1 m/s and dt = 0.1 s.

    The arena is [-2, 2]^2 m, which 100 steps at full speed along an axis cross two and a half times. At its sides the
    point stops; the other coordinate goes on.
    """

    arena = Arena(
        low=(-HALF, -HALF), high=(HALF, HALF), start_low=(-0.4, -0.4), start_high=(0.4, 0.4),
        region_radius=(0.25, 0.35), obstacle_radius=(0.2, 0.4), gap=0.1, passage=0.2, speed=0.09, lag=1.0, scale=HALF,
    )  # fmt: skip
    action_size = 2
    time_step = 0.1
    max_speed = 1.0
    """Of either coordinate, m/s."""
    moving: ClassVar[Mapping[str, StateField]] = {
        "position": StateField(shape=(2,), unit="m", description="Where the point is; the arena is [-2, 2]^2.")
    }

    def dynamics(self, state: State, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """The position one step later."""
        x, y = split(state["position"])
        u, v = (part.clamp(-1.0, 1.0) * self.max_speed for part in action.unbind(-1))
        moved = (x + self.time_step * u, y + self.time_step * v)
        return {"position": stacked(*(part.clamp(-HALF, HALF) for part in moved))}

    def place(self, start: torch.Tensor, draw: torch.Tensor) -> dict[str, torch.Tensor]:
        """The point at rest at its start."""
        del draw
        return {"position": stacked(*start.unbind(-1))}

    def ego(self, state: State) -> list[torch.Tensor]:
        """The position."""
        return [part / HALF for part in split(state["position"])]
