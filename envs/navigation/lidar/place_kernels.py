"""Where an episode leads from and to: start and goal in different rooms, far enough apart."""

from __future__ import annotations

import warp as wp

from cairngym.envs.navigation.lidar import cells as c
from cairngym.envs.navigation.lidar.field_kernels import FAR, flood, middle
from cairngym.envs.navigation.lidar.plan_kernels import PLACE, X0, X1, Y0, Y1, Layout, Plans, draw, unit
from cairngym.envs.random_kernels import Key, below

JITTER = 0.3
"""Start and goal lie within half of this of the middle of their cells along either axis, m."""
TURN = 6.2831853


@wp.func
def is_clear(plans: Plans, e: int, cell: int) -> int:
    """One for a cell without clutter."""
    return wp.where((int(plans.cells[e, cell]) & c.CLUTTER) == 0, 1, 0)


@wp.func
def random_clear(plans: Plans, e: int, count: int, word: wp.uint32) -> int:
    """One of the cells without clutter, all equally likely."""
    clear = int(0)
    for cell in range(count):
        clear = clear + is_clear(plans, e, cell)
    left = below(word, clear)
    for cell in range(count):
        if is_clear(plans, e, cell) == 1:
            if left == 0:
                return cell
            left = left - 1
    return 0


@wp.func
def room_of(plans: Plans, e: int, size: int, rooms: int, cell: int) -> int:
    """The room a cell belongs to."""
    x = cell % size
    y = cell // size
    for room in range(rooms):
        wide = x >= int(plans.rooms[e, room, X0]) and x < int(plans.rooms[e, room, X1])
        if wide and y >= int(plans.rooms[e, room, Y0]) and y < int(plans.rooms[e, room, Y1]):
            return room
    return 0


@wp.func
def length_outside(plans: Plans, e: int, size: int, room: int, x: int, y: int) -> wp.float32:
    """Metres from a cell to the goal, or -1 for cells of the goal's room and those with clutter."""
    length = plans.field[e, x + size * y]
    wide = x >= int(plans.rooms[e, room, X0]) and x < int(plans.rooms[e, room, X1])
    inside = wide and y >= int(plans.rooms[e, room, Y0]) and y < int(plans.rooms[e, room, Y1])
    return wp.where(inside or length >= FAR, wp.float32(-1.0), length)


@wp.func
def random_start(plans: Plans, layout: Layout, e: int, room: int, word: wp.uint32) -> int:
    """A cell of another room than the goal's, at least `min_path` from it where there is one so far."""
    size = layout.size
    farthest = wp.float32(0.0)
    for y in range(size):
        for x in range(size):
            farthest = wp.max(farthest, length_outside(plans, e, size, room, x, y))
    least = wp.min(farthest, layout.min_path)
    eligible = int(0)
    for y in range(size):
        for x in range(size):
            if length_outside(plans, e, size, room, x, y) >= least:
                eligible = eligible + 1
    left = below(word, eligible)
    for y in range(size):
        for x in range(size):
            if length_outside(plans, e, size, room, x, y) >= least:
                if left == 0:
                    return x + size * y
                left = left - 1
    return 0


@wp.func
def jittered(cell: int, size: int, first: wp.uint32, second: wp.uint32) -> wp.vec2:
    """A point near the middle of a cell."""
    shift = wp.vec2(unit(first) - wp.float32(0.5), unit(second) - wp.float32(0.5))
    return middle(cell, size) + wp.float32(JITTER) * shift


@wp.func
def place_goal(plans: Plans, layout: Layout, e: int, key: Key) -> wp.vec2:
    """Draw the goal and fill the field of distances to it."""
    w = draw(key, PLACE, 0)
    cell = random_clear(plans, e, layout.size * layout.size, w[0])
    goal = jittered(cell, layout.size, w[1], w[2])
    flood(plans, layout.size, e, goal)
    return goal


@wp.func
def place_start(plans: Plans, layout: Layout, e: int, rooms: int, goal_cell: int, key: Key) -> wp.vec3:
    """Draw the start: x, y and heading."""
    w = draw(key, PLACE, 1)
    room = room_of(plans, e, layout.size, rooms, goal_cell)
    cell = random_start(plans, layout, e, room, w[0])
    place = jittered(cell, layout.size, w[1], w[2])
    return wp.vec3(place[0], place[1], wp.float32(TURN) * (unit(w[3]) - wp.float32(0.5)))
