"""Pictures of the hard maze from above: walls, reward areas, the start, the robot and its lasers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from cairngym.envs.navigation.hard_maze.maze_map import AREAS, BEAMS, RADIUS, SIZE, START, WALLS

PIXELS, MARGIN = 480, 6
SCALE = PIXELS / SIZE
FLOOR, WALL, AREA, RIM = (245, 245, 240), (40, 40, 50), (205, 235, 205), (50, 160, 70)
STARTED, ROBOT, BEAM = (150, 150, 225), (40, 90, 200), (250, 180, 90)


def at(x: float, y: float) -> tuple[int, int]:
    """The pixel of a point of the map; y points down."""
    return MARGIN + round(x * SCALE), MARGIN + round(y * SCALE)


def draw_map() -> np.ndarray:
    """The empty maze, uint8 `(height, width, 3)`."""
    sides = PIXELS + 2 * MARGIN
    image = np.full((sides, sides, 3), FLOOR, dtype=np.uint8)
    for x, y, radius in AREAS:
        cv2.circle(image, at(x, y), round(radius * SCALE), AREA, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(image, at(x, y), round(radius * SCALE), RIM, 2, cv2.LINE_AA)
        cv2.circle(image, at(x, y), 3, RIM, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(image, at(*START[:2]), round(RADIUS * SCALE), STARTED, 2, cv2.LINE_AA)
    for x0, y0, x1, y1 in WALLS:
        cv2.line(image, at(x0, y0), at(x1, y1), WALL, 3, cv2.LINE_AA)
    return image


def draw(body: Sequence[float], lasers: Sequence[float]) -> np.ndarray:
    """One world as an RGB image, uint8 `(height, width, 3)`.

    Args:
        body: x, y and heading first.
        lasers: how far each goes.
    """
    image, (x, y, heading) = draw_map(), body[:3]
    for angle, length in zip(BEAMS, lasers, strict=True):
        end = at(x + length * math.cos(heading + angle), y + length * math.sin(heading + angle))
        cv2.line(image, at(x, y), end, BEAM, 1, cv2.LINE_AA)
    cv2.circle(image, at(x, y), round(RADIUS * SCALE), ROBOT, cv2.FILLED, cv2.LINE_AA)
    nose = at(x + RADIUS * math.cos(heading), y + RADIUS * math.sin(heading))
    cv2.line(image, at(x, y), nose, FLOOR, 2, cv2.LINE_AA)
    return image
