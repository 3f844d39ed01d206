"""The robot: exact arcs of two wheels, walls that stop it, bumpers, and lasers.

What libfastsim does on the pixels of a bitmap is done here on lines: a step that ends with the disc on a wall is taken
back but for the turn, and the bumpers say where the disc would have touched.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.navigation.hard_maze.maze_map import RADIUS, REACH
from cairngym.envs.policy_kernels import vector

FULL_TURN = 6.2831853
HALF_TURN = 3.1415927
DIAGONAL = 0.70710678
"""Cosine and sine of 45 degrees."""
SLACK = 1.0e-5
"""By how much of its length a wall is longer for lasers, so that none slips through where two walls meet."""
OBSERVATION_SIZE = 5
Observation = vector(OBSERVATION_SIZE)
"""Three lasers, at +45, 0 and -45 degrees, then the bumpers, at negative and at positive angles."""


@wp.struct
class Body:
    """One robot; bumpers and `stopped` are one where the last step touched a wall, and zero elsewhere."""

    x: wp.float32
    y: wp.float32
    heading: wp.float32
    negative_bumper: wp.float32
    positive_bumper: wp.float32
    stopped: wp.float32


@wp.func
def wrapped(angle: wp.float32) -> wp.float32:
    """The angle in [-pi, pi]."""
    return angle - wp.float32(FULL_TURN) * wp.floor((angle + wp.float32(HALF_TURN)) / wp.float32(FULL_TURN))


@wp.func
def rolled(body: Body, left: wp.float32, right: wp.float32) -> Body:
    """The robot after its wheels have rolled so far, were there no walls.

    Both wheels run on arcs about one point: the middle moves along a chord of length m sin(h) / h under the angle
    heading + h, where m is the mean of both ways and h half the turn, (right - left) / (4 radius).
    """
    half = (right - left) / wp.float32(4.0 * RADIUS)
    ratio = wp.float32(1.0) - half * half / wp.float32(6.0)
    if wp.abs(half) > wp.float32(1.0e-2):
        ratio = wp.sin(half) / half
    chord = wp.float32(0.5) * (left + right) * ratio
    after = Body()
    after.x = body.x + chord * wp.cos(body.heading + half)
    after.y = body.y + chord * wp.sin(body.heading + half)
    after.heading = wrapped(body.heading + wp.float32(2.0) * half)
    return after


@wp.func
def meets(start: wp.float32, along: wp.float32, low: wp.float32, high: wp.float32) -> wp.vec2:
    """The part of [low, high] where start + share * along is above zero."""
    zero = wp.float32(0.0)
    span = wp.vec2(low, high)
    if along > zero:
        span = wp.vec2(wp.max(low, -start / along), high)
    elif along < zero:
        span = wp.vec2(low, wp.min(high, -start / along))
    elif start <= zero:
        span = wp.vec2(wp.float32(1.0), zero)
    return span


@wp.func
def touches(walls: wp.array2d(dtype=wp.float32), after: Body) -> Body:
    """The robot with its bumpers set where its disc covers a part of a wall in front, and stopped where any part."""
    zero = wp.float32(0.0)
    one = wp.float32(1.0)
    cosine = wp.cos(after.heading)
    sine = wp.sin(after.heading)
    for i in range(walls.shape[0]):
        start_x = walls[i, 0] - after.x
        start_y = walls[i, 1] - after.y
        along_x = walls[i, 2] - walls[i, 0]
        along_y = walls[i, 3] - walls[i, 1]
        square = along_x * along_x + along_y * along_y
        cross = start_x * along_y - start_y * along_x
        rest = wp.float32(RADIUS * RADIUS) * square - cross * cross
        if rest >= zero:
            # The part of the wall's line under the disc, in shares of the wall.
            middle = -(start_x * along_x + start_y * along_y) / square
            reach = wp.sqrt(rest) / square
            low = wp.max(middle - reach, zero)
            high = wp.min(middle + reach, one)
            if low <= high:
                after.stopped = one
                ahead = start_x * cosine + start_y * sine
                ahead_along = along_x * cosine + along_y * sine
                aside = start_y * cosine - start_x * sine
                aside_along = along_y * cosine - along_x * sine
                front = meets(ahead, ahead_along, low, high)
                positive = meets(aside, aside_along, front[0], front[1])
                negative = meets(-aside, -aside_along, front[0], front[1])
                if positive[0] < positive[1]:
                    after.positive_bumper = one
                if negative[0] < negative[1]:
                    after.negative_bumper = one
    return after


@wp.func
def drive(walls: wp.array2d(dtype=wp.float32), body: Body, left: wp.float32, right: wp.float32) -> Body:
    """The robot after one step; where it would touch a wall it only turns."""
    after = touches(walls, rolled(body, left, right))
    if after.stopped > wp.float32(0.0):
        after.x = body.x
        after.y = body.y
    return after


@wp.func
def look(walls: wp.array2d(dtype=wp.float32), body: Body) -> Observation:
    """What the robot observes: how far each laser goes, REACH at most, and both bumpers."""
    zero = wp.float32(0.0)
    cosine = wp.cos(body.heading)
    sine = wp.sin(body.heading)
    seen = Observation()
    beam_x = wp.vec3(wp.float32(DIAGONAL) * (cosine - sine), cosine, wp.float32(DIAGONAL) * (cosine + sine))
    beam_y = wp.vec3(wp.float32(DIAGONAL) * (sine + cosine), sine, wp.float32(DIAGONAL) * (sine - cosine))
    for b in range(3):
        seen[b] = wp.float32(REACH)
    for i in range(walls.shape[0]):
        start_x = walls[i, 0] - body.x
        start_y = walls[i, 1] - body.y
        along_x = walls[i, 2] - walls[i, 0]
        along_y = walls[i, 3] - walls[i, 1]
        area = start_x * along_y - start_y * along_x
        if area * area < wp.float32(REACH * REACH) * (along_x * along_x + along_y * along_y):
            for b in range(3):
                # The beam meets the wall's line at length area / cross and at the share part / cross of the wall.
                cross = beam_x[b] * along_y - beam_y[b] * along_x
                part = start_x * beam_y[b] - start_y * beam_x[b]
                length = area
                if cross < zero:
                    cross = -cross
                    part = -part
                    length = -length
                on_wall = part >= wp.float32(-SLACK) * cross and part <= wp.float32(1.0 + SLACK) * cross
                if on_wall and length >= zero and length < seen[b] * cross:
                    seen[b] = length / cross
    seen[3] = body.negative_bumper
    seen[4] = body.positive_bumper
    return seen
