"""What lies on the table: the numbers of the curling scene, in metres, kilograms and seconds.

They are those of the Box2D scene in Paolo et al. (SERENE, GECCO 2021): sizes, densities, frictions, damping, limits of
the joints, motors so strong that the joints keep the speed that is asked for, and the place of the arm, which is held
at the middle of the lower wall. Walls have Box2D's default friction and restitution. Two switches of that scene are
off, for they are Box2D's and not the table's: bodies do not fall asleep, and collisions are found once a step, without
a search for the time of impact within it.
"""

from __future__ import annotations

import math

TIME_STEP = 1.0 / 60.0
HORIZON = 500
ITERATIONS = 100
"""Sweeps of the velocity solver and of the position solver over all constraints, at most."""

TABLE_SIZE = 3.0
"""Between the middles of opposite walls; the table's middle is the origin."""
WALL_THICKNESS = 0.1
INSIDE = 0.5 * (TABLE_SIZE - WALL_THICKNESS)
"""From the table's middle to the faces of its walls."""
WALL_FRICTION = 0.2

LINK_LENGTH, LINK_HALF_WIDTH = 1.0, 0.05
LINK_DENSITY = (5.0, 1.0)
"""Of the inner and the outer link, per square metre."""
LINK_FRICTION = 0.9
JOINTS = ((0.0, -0.5 * TABLE_SIZE), (0.0, -0.5 * TABLE_SIZE + LINK_LENGTH))
"""Where the joints are at the start, both angles zero: the arm points along y."""
OVERLAP = 0.1
"""How far the outer link reaches back over its joint."""
ANGLE_LIMITS = (0.4 * math.pi, 0.9 * math.pi)
"""The joints turn this far to either side, rad."""
MAX_SPEED = 1.0
"""Of a joint, at action 1, rad/s."""
MOTOR_TORQUE = (1.0e5, 1.0e4)
"""Of the joints' motors at most, N m."""

BALL_RADIUS = 0.15
BALL_START = (-0.5, 0.2)
BALL_DENSITY, BALL_FRICTION, BALL_RESTITUTION = 0.5, 0.9, 0.7
BALL_DAMPING = 1.0
"""Of speed and spin, 1/s."""

GOALS = ((0.8, 0.8), (0.8, -0.8))
GOAL_RADII = (0.4, 0.2)
DESCRIPTOR_LIMIT, DESCRIPTOR_CELLS = 1.35, 50
"""The grid that behaviors are told apart by spans [-1.35, 1.35] in x and y."""


def box_mass(density: float, half_width: float, half_height: float) -> tuple[float, float]:
    """Mass, and moment of inertia about the middle, of a box."""
    mass = 4.0 * density * half_width * half_height
    return mass, mass * (half_width**2 + half_height**2) / 3.0


def disc_mass(density: float, radius: float) -> tuple[float, float]:
    """Mass, and moment of inertia about the middle, of a disc."""
    mass = math.pi * density * radius**2
    return mass, 0.5 * mass * radius**2
