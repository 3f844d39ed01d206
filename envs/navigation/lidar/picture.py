"""Pictures of a floor plan from above: what is there, what has been seen, the robot and its beams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from cairngym.envs.navigation.lidar.cells import UNSEEN, unpack_clutter, wall_segments
from cairngym.envs.navigation.lidar.step_kernels import GOAL_X, GOAL_Y, HEADING, START_X, START_Y, X, Y

if TYPE_CHECKING:
    from cairngym.envs.navigation.lidar.world import LidarWorld

PIXELS = 480
"""Sides of a picture, about."""
DARK, FLOOR, WALL = (150, 150, 160), (245, 245, 240), (40, 40, 50)
CLUTTER, BEAM, ROBOT = (150, 110, 70), (250, 200, 120), (40, 90, 200)
GOAL, START = (50, 160, 70), (120, 120, 220)


class Canvas:
    """An RGB image in metres, y upwards.

    Args:
        size: metres along either side.
    """

    def __init__(self, size: int) -> None:
        self.scale = max(8, PIXELS // size)
        self.margin = max(2, self.scale // 8)
        pixels = size * self.scale + 2 * self.margin
        self.image = np.full((pixels, pixels, 3), WALL, dtype=np.uint8)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of a point."""
        column = self.margin + round(float(x) * self.scale)
        return column, len(self.image) - 1 - self.margin - round(float(y) * self.scale)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: tuple[int, int, int]) -> None:
        """Fill a rectangle."""
        cv2.rectangle(self.image, self.at(x0, y0), self.at(x1, y1), color, cv2.FILLED)

    def disc(self, x: float, y: float, radius: float, color: tuple[int, int, int], width: int = cv2.FILLED) -> None:
        """Fill a disc, or draw its rim `width` pixels wide."""
        cv2.circle(self.image, self.at(x, y), max(2, round(radius * self.scale)), color, width, cv2.LINE_AA)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: tuple[int, int, int], width: int = 1) -> None:
        """Draw a line."""
        cv2.line(self.image, self.at(x0, y0), self.at(x1, y1), color, width, cv2.LINE_AA)


def draw(world: LidarWorld, env_id: int) -> np.ndarray:
    """One world as an RGB image, uint8 `(height, width, 3)`."""
    plan, canvas = world.floor_plan(env_id), Canvas(world.plan.size)
    _draw_floor(canvas, plan)
    _draw_robot(canvas, world, env_id)
    for x0, y0, x1, y1 in wall_segments(plan.ravel(), world.plan.size):
        canvas.line(x0, y0, x1, y1, WALL, max(2, canvas.scale // 12))
    return canvas.image


def _draw_floor(canvas: Canvas, plan: np.ndarray) -> None:
    for y, x in np.ndindex(plan.shape):
        canvas.box(x, y, x + 1, y + 1, DARK if plan[y, x] & UNSEEN else FLOOR)
    boxes, discs = unpack_clutter(plan.ravel(), plan.shape[1])
    for x, y, half_x, half_y in boxes:
        canvas.box(x - half_x, y - half_y, x + half_x, y + half_y, CLUTTER)
    for x, y, radius in discs:
        canvas.disc(x, y, radius, CLUTTER)


def _draw_robot(canvas: Canvas, world: LidarWorld, env_id: int) -> None:
    body = world.body[env_id].tolist()
    x, y, heading, robot = body[X], body[Y], body[HEADING], world.robot
    goal_x, goal_y = body[GOAL_X], body[GOAL_Y]
    for i, length in enumerate(world.state["lidar"][env_id].tolist()):
        angle = heading + 2.0 * np.pi * i / robot.num_beams
        canvas.line(x, y, x + length * np.cos(angle), y + length * np.sin(angle), BEAM)
    canvas.disc(goal_x, goal_y, robot.goal_radius, GOAL, 2)
    canvas.disc(goal_x, goal_y, 0.1, GOAL)
    canvas.disc(body[START_X], body[START_Y], 0.1, START)
    canvas.disc(x, y, robot.robot_radius, ROBOT)
    nose = robot.robot_radius
    canvas.line(x, y, x + nose * np.cos(heading), y + nose * np.sin(heading), FLOOR, 2)
