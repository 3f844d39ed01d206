"""A unicycle with the shape of a disc: exact arcs, room around it, and the step that ends where it would touch."""

from __future__ import annotations

import warp as wp

from cairngym.envs.navigation.lidar import cells as c
from cairngym.envs.navigation.lidar.lidar_kernels import clutter_at
from cairngym.envs.navigation.lidar.plan_kernels import Plans

OPEN = 0.5
"""Metres of room beyond which nothing is looked for."""
SPACING = 0.02
"""Metres between the points of a step that are held against walls; a disc of 0.1 m so grazes a corner by 0.5 mm."""
FULL_TURN = 6.2831853
HALF_TURN = 3.1415927


@wp.func
def wrapped(angle: wp.float32) -> wp.float32:
    """The angle in [-pi, pi]."""
    return angle - wp.float32(FULL_TURN) * wp.floor((angle + wp.float32(HALF_TURN)) / wp.float32(FULL_TURN))


@wp.func
def arc(pose: wp.vec3, speed: wp.float32, turn: wp.float32, time: wp.float32) -> wp.vec3:
    """The pose x, y, heading after `time` at constant speed, m/s, and turn rate, rad/s.

    The exact solution of x' = v cos h, y' = v sin h, h' = w: a chord of length v t sin(a)/a under the angle h + a,
    where a = w t / 2.
    """
    half = wp.float32(0.5) * turn * time
    ratio = wp.float32(1.0) - half * half / wp.float32(6.0)
    if wp.abs(half) > wp.float32(1.0e-2):
        ratio = wp.sin(half) / half
    chord = speed * time * ratio
    middle = pose[2] + half
    return wp.vec3(
        pose[0] + chord * wp.cos(middle), pose[1] + chord * wp.sin(middle), wrapped(pose[2] + wp.float32(2.0) * half)
    )


@wp.func
def room_to_clutter(code: int, x: int, y: int, place: wp.vec2) -> wp.float32:
    """Metres from a point to the clutter in cell (x, y); OPEN where there is none."""
    if (code & c.CLUTTER) == 0:
        return wp.float32(OPEN)
    thing = clutter_at(code, x, y)
    off_x = wp.abs(place[0] - thing[0])
    off_y = wp.abs(place[1] - thing[1])
    if ((code >> c.KIND) & 3) == c.DISC:
        return wp.float32(wp.length(wp.vec2(off_x, off_y))) - thing[2]
    zero = wp.float32(0.0)
    return wp.float32(wp.length(wp.vec2(wp.max(off_x - thing[2], zero), wp.max(off_y - thing[3], zero))))


@wp.func
def room_around(plans: Plans, size: int, e: int, place: wp.vec2) -> wp.float32:
    """Metres from a point in the building to the nearest wall or clutter, OPEN at most.

    Within that distance there are only the four sides that meet in the cell's nearest corner, and the four cells there.
    """
    x = wp.clamp(int(place[0]), 0, size - 1)
    y = wp.clamp(int(place[1]), 0, size - 1)
    inside_x = place[0] - wp.float32(x)
    inside_y = place[1] - wp.float32(y)
    to_x = wp.where(inside_x < wp.float32(0.5), -1, 1)
    to_y = wp.where(inside_y < wp.float32(0.5), -1, 1)
    side_x = wp.where(to_x > 0, c.RIGHT, c.LEFT)
    side_y = wp.where(to_y > 0, c.UP, c.DOWN)
    gap_x = wp.where(to_x > 0, wp.float32(1.0) - inside_x, inside_x)
    gap_y = wp.where(to_y > 0, wp.float32(1.0) - inside_y, inside_y)
    corner = wp.float32(wp.length(wp.vec2(gap_x, gap_y)))
    code = int(plans.cells[e, x + size * y])
    room = room_to_clutter(code, x, y, place)
    if (code & side_x) != 0:
        room = wp.min(room, gap_x)
    if (code & side_y) != 0:
        room = wp.min(room, gap_y)
    beside_x = x + to_x >= 0 and x + to_x < size
    beside_y = y + to_y >= 0 and y + to_y < size
    if beside_x:
        other = int(plans.cells[e, x + to_x + size * y])
        room = wp.min(room, room_to_clutter(other, x + to_x, y, place))
        if (other & side_y) != 0:
            room = wp.min(room, corner)
    if beside_y:
        other = int(plans.cells[e, x + size * (y + to_y)])
        room = wp.min(room, room_to_clutter(other, x, y + to_y, place))
        if (other & side_x) != 0:
            room = wp.min(room, corner)
    if beside_x and beside_y:
        other = int(plans.cells[e, x + to_x + size * (y + to_y)])
        room = wp.min(room, room_to_clutter(other, x + to_x, y + to_y, place))
    return room


@wp.func
def drive(
    plans: Plans, size: int, e: int, pose: wp.vec3, speed: wp.float32, turn: wp.float32, time: wp.float32,
    radius: wp.float32,
) -> wp.vec4:  # fmt: skip
    """Drive for `time`; returns x, y, heading, and one if the disc touched something and stopped before it.

    A step whose middle has room for all of it is free. Any other is walked in points `SPACING` apart.
    """
    length = wp.abs(speed) * time
    half_way = arc(pose, speed, turn, wp.float32(0.5) * time)
    last = arc(pose, speed, turn, time)
    room = room_around(plans, size, e, wp.vec2(half_way[0], half_way[1]))
    if room > radius + wp.float32(0.5) * length:
        return wp.vec4(last[0], last[1], last[2], wp.float32(0.0))
    points = int(length / wp.float32(SPACING)) + 1
    free = pose
    for point in range(1, points + 1):
        ahead = arc(pose, speed, turn, time * wp.float32(point) / wp.float32(points))
        if room_around(plans, size, e, wp.vec2(ahead[0], ahead[1])) < radius:
            return wp.vec4(free[0], free[1], free[2], wp.float32(1.0))
        free = ahead
    return wp.vec4(last[0], last[1], last[2], wp.float32(0.0))
