"""Pictures of the table from above: walls, goals, where the ball began, the arm and the ball."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import BALL, INNER, OUTER

SCALE = 160
"""Pixels a metre."""
EDGE = 0.5 * (scene.TABLE_SIZE + scene.WALL_THICKNESS)
WALL, FLOOR, AREA, RIM = (40, 40, 50), (245, 245, 240), (205, 235, 205), (50, 160, 70)
STARTED, ARM, OTHER_ARM, JOINT, BALL_COLOR = (
    (150, 150, 225),
    (110, 110, 120),
    (150, 150, 160),
    (40, 40, 50),
    (40, 90, 200),
)


def at(x: float, y: float) -> tuple[int, int]:
    """The pixel of a point; y points up."""
    return round((x + EDGE) * SCALE), round((EDGE - y) * SCALE)


def disc(
    image: np.ndarray, place: Sequence[float], radius: float, color: tuple[int, int, int], width: int = -1
) -> None:
    """Fill a disc, or draw its rim `width` pixels wide."""
    cv2.circle(image, at(place[0], place[1]), round(radius * SCALE), color, width, cv2.LINE_AA)


def draw_table() -> np.ndarray:
    """The empty table, uint8 `(height, width, 3)`."""
    sides = round(2 * EDGE * SCALE)
    image = np.full((sides, sides, 3), WALL, dtype=np.uint8)
    cv2.rectangle(image, at(-scene.INSIDE, scene.INSIDE), at(scene.INSIDE, -scene.INSIDE), FLOOR, cv2.FILLED)
    for goal, radius in zip(scene.GOALS, scene.GOAL_RADII, strict=True):
        disc(image, goal, radius, AREA)
        disc(image, goal, radius, RIM, 2)
        disc(image, goal, 0.02, RIM)
    disc(image, scene.BALL_START, scene.BALL_RADIUS, STARTED, 2)
    return image


def draw_link(image: np.ndarray, pose: Sequence[float], color: tuple[int, int, int]) -> None:
    """Fill the box of a link."""
    x, y, angle = pose
    cosine, sine = math.cos(angle), math.sin(angle)
    half, width = 0.5 * scene.LINK_LENGTH, scene.LINK_HALF_WIDTH
    corners = [(-width, -half), (width, -half), (width, half), (-width, half)]
    pixels = [at(x + cosine * a - sine * b, y + sine * a + cosine * b) for a, b in corners]
    cv2.fillPoly(image, [np.array(pixels)], color, cv2.LINE_AA)


def draw(poses: Sequence[float]) -> np.ndarray:
    """One world as an RGB image, uint8 `(height, width, 3)`.

    Args:
        poses: x, y and angle of the inner link, the outer one and the ball.
    """
    inner, outer, ball = (poses[3 * body : 3 * body + 3] for body in (INNER, OUTER, BALL))
    image = draw_table()
    draw_link(image, inner, ARM)
    draw_link(image, outer, OTHER_ARM)
    reach = 0.5 * scene.LINK_LENGTH
    disc(image, scene.JOINTS[0], 0.04, JOINT)
    disc(image, (inner[0] - reach * math.sin(inner[2]), inner[1] + reach * math.cos(inner[2])), 0.04, JOINT)
    disc(image, ball, scene.BALL_RADIUS, BALL_COLOR)
    rim = (ball[0] + scene.BALL_RADIUS * math.cos(ball[2]), ball[1] + scene.BALL_RADIUS * math.sin(ball[2]))
    cv2.line(image, at(ball[0], ball[1]), at(*rim), FLOOR, 2, cv2.LINE_AA)
    return image
