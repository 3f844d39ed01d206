"""The four bodies of the scene, and the row of memory that holds all that decides a world's future."""

from __future__ import annotations

import warp as wp

from cairngym.envs.manipulation.curling import scene

INNER, OUTER, BALL, TABLE = range(4)
"""Bodies; the table, which is at rest, includes the four walls."""
MOVING, BODIES = 3, 4
"""Bodies that move: x, y and angle each, in the table's frame."""
CORNERS = 4
WALLS = 4
OUTER_BALL = WALLS * CORNERS
INNER_BALL, BALL_WALL = OUTER_BALL + 1, OUTER_BALL + 2
SLOTS = BALL_WALL + WALLS
"""Places for contacts: the outer link's corners on each wall, each link and the ball, the ball on each wall."""
JOINT_IMPULSES = 4
"""Of a joint: along x and y, of its limit, of its motor."""
POSE, VELOCITY = 0, 3 * MOVING
JOINT = 6 * MOVING
CONTACT = JOINT + 2 * JOINT_IMPULSES
ROW = CONTACT + 2 * SLOTS
"""Numbers of a world: poses, velocities, and what every constraint pushed last, which the next step begins from."""

_INNER_MASS, _INNER_INERTIA = scene.box_mass(scene.LINK_DENSITY[0], scene.LINK_HALF_WIDTH, 0.5 * scene.LINK_LENGTH)
_OUTER_MASS, _OUTER_INERTIA = scene.box_mass(scene.LINK_DENSITY[1], scene.LINK_HALF_WIDTH, 0.5 * scene.LINK_LENGTH)
_BALL_MASS, _BALL_INERTIA = scene.disc_mass(scene.BALL_DENSITY, scene.BALL_RADIUS)
INVERSE_MASS = wp.constant(wp.vec4(1.0 / _INNER_MASS, 1.0 / _OUTER_MASS, 1.0 / _BALL_MASS, 0.0))
INVERSE_INERTIA = wp.constant(wp.vec4(1.0 / _INNER_INERTIA, 1.0 / _OUTER_INERTIA, 1.0 / _BALL_INERTIA, 0.0))


def first_row() -> list[float]:
    """A world at the start of an episode: everything at rest, the arm stretched out."""
    row = [0.0] * ROW
    half = 0.5 * scene.LINK_LENGTH
    (x, y), (outer_x, outer_y) = scene.JOINTS
    row[POSE : POSE + 9] = [x, y + half, 0.0, outer_x, outer_y - scene.OVERLAP + half, 0.0, *scene.BALL_START, 0.0]
    return row


@wp.func
def place_of(pose: wp.array2d(dtype=wp.float32), body: int) -> wp.vec2:
    """The middle of a body."""
    return wp.vec2(pose[body, 0], pose[body, 1])


@wp.func
def direction_of(pose: wp.array2d(dtype=wp.float32), body: int) -> wp.vec2:
    """Cosine and sine of a body's angle."""
    if body == TABLE:
        return wp.vec2(1.0, 0.0)
    return wp.vec2(wp.cos(pose[body, 2]), wp.sin(pose[body, 2]))


@wp.func
def turned(direction: wp.vec2, v: wp.vec2) -> wp.vec2:
    """A vector out of the frame that has been turned by an angle with this cosine and sine."""
    return wp.vec2(direction[0] * v[0] - direction[1] * v[1], direction[1] * v[0] + direction[0] * v[1])


@wp.func
def turned_back(direction: wp.vec2, v: wp.vec2) -> wp.vec2:
    """A vector into that frame."""
    return wp.vec2(direction[0] * v[0] + direction[1] * v[1], direction[0] * v[1] - direction[1] * v[0])


@wp.func
def cross(a: wp.vec2, b: wp.vec2) -> wp.float32:
    """What the cross product has out of the plane."""
    return a[0] * b[1] - a[1] * b[0]


@wp.func
def speed_at(velocity: wp.array2d(dtype=wp.float32), body: int, arm: wp.vec2) -> wp.vec2:
    """How fast the point of a body moves that is `arm` away from its middle."""
    turn = velocity[body, 2]
    return wp.vec2(velocity[body, 0] - turn * arm[1], velocity[body, 1] + turn * arm[0])


@wp.func
def shift(bodies: wp.array2d(dtype=wp.float32), body: int, arm: wp.vec2, push: wp.vec2, twist: wp.float32) -> None:
    """Apply an impulse `push` at `arm` and an angular one to a body's velocity, or the same to its pose."""
    mass = INVERSE_MASS[body]
    bodies[body, 0] = bodies[body, 0] + mass * push[0]
    bodies[body, 1] = bodies[body, 1] + mass * push[1]
    bodies[body, 2] = bodies[body, 2] + INVERSE_INERTIA[body] * (cross(arm, push) + twist)
