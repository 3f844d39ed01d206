"""A unicycle: speed and turn rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch

from cairngym.envs.data import State, StateField
from cairngym.envs.stl.arena import ArenaWorld, split, stacked
from cairngym.envs.stl.layouts import Arena
from cairngym.envs.stl.regions import Coordinates

HALF = 2.0
"""Half of the arena's side, m."""


class UnicycleWorld(ArenaWorld):
    """x' = v cos h, y' = v sin h, h' = w with v in [-1, 1] m/s and w in [-3, 3] rad/s, held for dt = 0.1 s.

    A step is the exact arc: a chord of length v dt sin(c)/c under the angle h + c, where c = w dt / 2. The arena is
    [-2, 2]^2 m; at its sides the coordinate across stops, the other one and the heading go on. Episodes begin with any
    heading. The agent's frame: first axis ahead, second to its left.
    """

    arena = Arena(
        low=(-HALF, -HALF), high=(HALF, HALF), start_low=(-0.4, -0.4), start_high=(0.4, 0.4),
        region_radius=(0.25, 0.35), obstacle_radius=(0.2, 0.4), gap=0.1, passage=0.2, speed=0.085, lag=5.0, scale=HALF,
    )  # fmt: skip
    action_size = 2
    time_step = 0.1
    max_speed, max_turn = 1.0, 3.0
    """At action 1, m/s and rad/s; counter-clockwise."""
    moving: ClassVar[Mapping[str, StateField]] = {
        "position": StateField(shape=(2,), unit="m", description="Where the unicycle is; the arena is [-2, 2]^2."),
        "heading": StateField(
            shape=(), unit="rad", description="Where it looks, counter-clockwise from the first axis, in [-pi, pi]."
        ),
    }
    num_draws = 1

    def dynamics(self, state: State, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Position and heading one step later."""
        x, y = split(state["position"])
        heading = state["heading"].contiguous()
        speed, turn = (part.clamp(-1.0, 1.0) for part in action.unbind(-1))
        half = (0.5 * self.max_turn * self.time_step) * turn
        square = half * half
        ratio = 1.0 - square / 6.0 * (1.0 - square / 20.0)  # sin(c)/c to 1e-9 for |c| <= 0.15
        chord, middle = (self.max_speed * self.time_step) * speed * ratio, heading + half
        moved = (x + chord * torch.cos(middle), y + chord * torch.sin(middle))
        return {
            "position": stacked(*(part.clamp(-HALF, HALF) for part in moved)),
            "heading": wrapped(heading + 2.0 * half),
        }

    def place(self, start: torch.Tensor, draw: torch.Tensor) -> dict[str, torch.Tensor]:
        """The unicycle at its start, with any heading."""
        return {"position": stacked(*start.unbind(-1)), "heading": (2.0 * draw[:, 0] - 1.0) * math.pi}

    def in_frame(self, state: State, parts: Coordinates) -> Coordinates:
        """A displacement ahead and to the left."""
        heading = state["heading"].contiguous()
        return turned(parts, torch.cos(heading), torch.sin(heading))

    def ego(self, state: State) -> list[torch.Tensor]:
        """Position, and cosine and sine of the heading."""
        heading = state["heading"].contiguous()
        return [*(part / HALF for part in split(state["position"])), torch.cos(heading), torch.sin(heading)]

    def heading(self, state: State) -> torch.Tensor | None:
        """The heading."""
        return state["heading"]


def turned(parts: Coordinates, cosine: torch.Tensor, sine: torch.Tensor) -> Coordinates:
    """The first two coordinates seen from a frame turned counter-clockwise by an angle; a third one stays."""
    x, y, *rest = parts
    return (cosine * x + sine * y, cosine * y - sine * x, *rest)


def wrapped(angle: torch.Tensor) -> torch.Tensor:
    """An angle in [-pi, pi]; its gradient is one."""
    return angle - (2.0 * math.pi) * torch.floor((angle + math.pi) / (2.0 * math.pi))
