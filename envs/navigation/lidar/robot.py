"""The robot: its size, its speeds, its lidar, and how near is at the goal."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_RADIUS = 0.3
"""A robot no larger passes every door, of 1 m, and stands free at every start."""
START_ROOM = 0.35
"""Metres between a goal and the nearest wall, at least."""


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A differential-drive robot with a lidar."""

    num_beams: int = 36
    """Beams of the lidar, evenly around the robot; the first one straight ahead, the others counter-clockwise."""
    lidar_range: float = 8.0
    """Metres that a beam reaches."""
    robot_radius: float = 0.2
    """Radius of the disc that must not touch anything, m."""
    max_speed: float = 1.0
    """Speed at action 1, m/s; backwards at -1."""
    max_turn: float = 2.0
    """Turn rate at action 1, rad/s, counter-clockwise."""
    time_step: float = 0.2
    """Seconds a step takes."""
    goal_radius: float = 0.4
    """Metres from the goal at which it counts as reached."""

    def __post_init__(self) -> None:
        if isinstance(self.num_beams, bool) or not isinstance(self.num_beams, int) or not 1 <= self.num_beams <= 4096:
            raise ValueError(f"Expected num_beams to be an integer in [1, 4096], got {self.num_beams!r}.")
        for name in ("lidar_range", "robot_radius", "max_speed", "max_turn", "time_step", "goal_radius"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Expected a finite {name} above 0, got {value!r}.")
        if self.robot_radius > MAX_RADIUS:
            raise ValueError(
                f"Expected a robot_radius of at most {MAX_RADIUS} m, for doors are 1 m wide, got {self.robot_radius}."
            )
        if self.goal_radius >= START_ROOM + self.robot_radius:
            raise ValueError(
                f"Expected a goal_radius below {START_ROOM + self.robot_radius:g} m, that is {START_ROOM} + "
                f"robot_radius, or a goal could be reached through a wall, got {self.goal_radius}."
            )
        if self.max_speed * self.time_step > 1.0:
            raise ValueError(
                f"Expected steps of at most 1 m, got max_speed {self.max_speed} m/s for {self.time_step} s; make "
                "time_step smaller."
            )
