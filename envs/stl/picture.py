"""Pictures of an arena from above: regions by their letters, obstacles, the agent and the way it came."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

if TYPE_CHECKING:
    from cairngym.envs.stl.arena import ArenaWorld

PIXELS = 256
"""Sides of a picture."""
FLOOR, WALL, GREY, INK = (250, 250, 247), (60, 60, 70), (150, 150, 155), (40, 40, 50)
AGENT, OLD, NEW = (30, 80, 200), (190, 210, 245), (30, 80, 200)
COLORS = ((214, 96, 77), (67, 147, 195), (90, 174, 97), (241, 163, 64), (153, 112, 171))
"""Of regions, in their order."""


class Trail:
    """Where N agents have been since their episodes began.

    Args:
        position: `(N, D)`, where they are.
        horizon: steps that are kept.
    """

    def __init__(self, position: torch.Tensor, horizon: int) -> None:
        self._places = [position]
        self._since = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        self._first, self._limit = 0, horizon + 1

    def add(self, position: torch.Tensor) -> None:
        """Keep where they went."""
        self._places.append(position)
        if len(self._places) > self._limit:
            self._places.pop(0)
            self._first += 1

    def begin(self, mask: torch.Tensor, position: torch.Tensor) -> None:
        """Forget the ways of the masked `(N,)`, who begin at `position`."""
        self._places[-1] = position
        self._since = torch.where(mask, self._first + len(self._places) - 1, self._since)

    def of(self, env_id: int) -> np.ndarray:
        """One agent's way, `(T, D)`."""
        first = max(int(self._since[env_id]) - self._first, 0)
        return np.array([place[env_id].tolist() for place in self._places[first:]])


def draw(world: ArenaWorld, trail: Trail, env_id: int) -> np.ndarray:
    """One world as an RGB image, uint8 `(256, 256, 3)`; height is not shown."""
    canvas = Canvas(world.arena.low, world.arena.high)
    for x, y, *_, radius in world.layouts.obstacles[env_id].tolist():
        canvas.disc(x, y, radius, GREY)
    for i, (x, y, *_, radius) in enumerate(world.layouts.regions[env_id].tolist()):
        canvas.disc(x, y, radius, COLORS[i % len(COLORS)])
        canvas.text(x, y, _label(world.template.names[i]))
    way = trail.of(env_id)
    for i in range(1, len(way)):
        share = i / len(way)
        color = [round(a + share * (b - a)) for a, b in zip(OLD, NEW, strict=True)]
        canvas.line(way[i - 1], way[i], (color[0], color[1], color[2]))
    heading = world.heading(world.state)
    canvas.agent(way[-1], None if heading is None else float(heading[env_id]))
    return canvas.image


def _label(name: str) -> str:
    return name.upper() if len(name) == 1 else name


class Canvas:
    """An RGB image in metres, y upwards."""

    def __init__(self, low: tuple[float, ...], high: tuple[float, ...]) -> None:
        self.image = np.full((PIXELS, PIXELS, 3), FLOOR, dtype=np.uint8)
        self.scale = (PIXELS - 8) / max(high[0] - low[0], high[1] - low[1])
        self.middle = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
        cv2.rectangle(self.image, self.at(low[0], low[1]), self.at(high[0], high[1]), WALL, 1)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of a point."""
        return (
            round(PIXELS / 2 + (float(x) - self.middle[0]) * self.scale),
            round(PIXELS / 2 - (float(y) - self.middle[1]) * self.scale),
        )

    def disc(self, x: float, y: float, radius: float, color: tuple[int, int, int]) -> None:
        """Fill a disc, lighter inside than its rim."""
        light = (color[0] // 2 + 127, color[1] // 2 + 127, color[2] // 2 + 127)
        pixels = max(2, round(radius * self.scale))
        cv2.circle(self.image, self.at(x, y), pixels, light, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(self.image, self.at(x, y), pixels, color, 1, cv2.LINE_AA)

    def text(self, x: float, y: float, words: str) -> None:
        """Write words around a point."""
        (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        column, row = self.at(x, y)
        place = (column - width // 2, row + height // 2)
        cv2.putText(self.image, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)

    def line(self, a: np.ndarray, b: np.ndarray, color: tuple[int, int, int]) -> None:
        """Draw a line."""
        cv2.line(self.image, self.at(a[0], a[1]), self.at(b[0], b[1]), color, 2, cv2.LINE_AA)

    def agent(self, place: np.ndarray, heading: float | None) -> None:
        """Draw the agent, with a nose where it looks."""
        x, y = float(place[0]), float(place[1])
        cv2.circle(self.image, self.at(x, y), 5, AGENT, cv2.FILLED, cv2.LINE_AA)
        if heading is not None:
            nose = 9 / self.scale
            tip = self.at(x + nose * math.cos(heading), y + nose * math.sin(heading))
            cv2.line(self.image, self.at(x, y), tip, AGENT, 2, cv2.LINE_AA)
