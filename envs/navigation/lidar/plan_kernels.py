"""Floor plans: a building divided into rooms and corridors, doors in every dividing wall, clutter in the rooms.

A part of the building with a side that is too long is divided by a wall across it, or by two with a corridor between,
and every wall gets a door as it is built. Either side of a wall is connected, so the whole is, whatever the draws.
Clutter is put only where its eight neighbours stay connected without it, so that it never blocks a way.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.life_kernels import LEVEL_STREAM
from cairngym.envs.navigation.lidar import cells as c
from cairngym.envs.random_kernels import Key, below, words

DIVIDE, DOORS, CLUTTER, PLACE = range(4)
"""What a draw of the level stream is for; each has blocks of its own."""
X0, Y0, X1, Y1, CORRIDOR = range(5)
"""What is known of a room: its least cell, the cell beyond its greatest, and whether it is a corridor."""
ROOM_FIELDS = 5
WIDEST_CORRIDOR = 2
CORRIDOR_DOORS = 4
"""A corridor has one door in every so many metres of either wall."""
MAX_DOORS = 16


@wp.struct
class Layout:
    """`FloorPlan`, as kernels read it."""

    size: int
    min_side: int
    max_side: int
    min_path: wp.float32
    corridors: wp.float32
    loops: wp.float32
    clutter: wp.float32


@wp.struct
class Plans:
    """The floor plans of N worlds, of C cells each."""

    cells: wp.array2d(dtype=wp.uint16)
    """(N, C): see `cells`."""
    address: wp.uint64
    """Where the cells are in memory; the next two are the same for `ways` and `field`."""
    ways_address: wp.uint64
    field_address: wp.uint64
    ways: wp.array2d(dtype=wp.uint8)
    """(N, C): bit k is set where the straight way to the middle of neighbour k is free; see `field_kernels`."""
    field: wp.array2d(dtype=wp.float32)
    """(N, C): metres from the middle of a cell to the goal."""
    rooms: wp.array3d(dtype=wp.int16)
    """(N, R, ROOM_FIELDS): scratch."""
    queue: wp.array2d(dtype=wp.int16)
    """(N, 2 C): scratch."""


@wp.func
def unit(word: wp.uint32) -> wp.float32:
    """A number in [0, 1) from one word."""
    return wp.float32(word >> wp.uint32(8)) * wp.float32(1.0 / 16777216.0)


@wp.func
def draw(key: Key, purpose: int, block: int) -> wp.vec4ui:
    """Four words of the episode's level stream."""
    return words(key, LEVEL_STREAM, block, purpose)


@wp.func
def add_bits(plans: Plans, e: int, cell: int, bits: int) -> None:
    """Set bits of a cell."""
    plans.cells[e, cell] = wp.uint16(int(plans.cells[e, cell]) | bits)


@wp.func
def put_wall(plans: Plans, e: int, size: int, axis: int, at: int, along: int) -> None:
    """Put a wall of one metre at coordinate `at` of `axis` (0: x, 1: y), from `along` of the other one."""
    if axis == 0:
        add_bits(plans, e, at - 1 + size * along, c.RIGHT)
        add_bits(plans, e, at + size * along, c.LEFT)
    else:
        add_bits(plans, e, along + size * (at - 1), c.UP)
        add_bits(plans, e, along + size * at, c.DOWN)


@wp.func
def build_wall(
    plans: Plans, e: int, size: int, axis: int, at: int, first: int, last: int, doors: int, key: Key, block: int
) -> None:
    """Build a wall over [first, last) with a door somewhere in each of `doors` equal parts of it."""
    length = last - first
    for part in range(doors):
        start = first + part * length // doors
        stop = first + (part + 1) * length // doors
        gap = start
        # Draws are what costs most, and one of a single place can be left out: every draw has a number of its own.
        if stop - start > 1:
            gap = start + below(draw(key, DOORS, block * MAX_DOORS + part)[0], stop - start)
        for along in range(start, stop):
            if along != gap:
                put_wall(plans, e, size, axis, at, along)


@wp.func
def copy_room(plans: Plans, e: int, source: int, target: int) -> None:
    """Make a room like another."""
    for i in range(ROOM_FIELDS):
        plans.rooms[e, target, i] = plans.rooms[e, source, i]


@wp.func
def side_of(plans: Plans, e: int, room: int, axis: int) -> int:
    """Cells of a room along an axis."""
    return int(plans.rooms[e, room, axis + 2]) - int(plans.rooms[e, room, axis])


@wp.func
def must_divide(plans: Plans, layout: Layout, e: int, room: int, count: int) -> int:
    """One for a part of the building that is too long to be a room."""
    longest = wp.max(side_of(plans, e, room, 0), side_of(plans, e, room, 1))
    fits = int(plans.rooms[e, room, CORRIDOR]) == 0 and count + 2 <= plans.rooms.shape[1]
    return wp.where(fits and longest > layout.max_side, 1, 0)


@wp.func
def divide(plans: Plans, layout: Layout, e: int, room: int, count: int, key: Key) -> int:
    """Divide a part across its longer side, the halves with doors between; returns how many parts there are."""
    w = draw(key, DIVIDE, count)
    axis = wp.where(side_of(plans, e, room, 0) > side_of(plans, e, room, 1), 0, 1)
    if side_of(plans, e, room, 0) == side_of(plans, e, room, 1):
        axis = below(w[0], 2)
    side = side_of(plans, e, room, axis)
    length = side_of(plans, e, room, 1 - axis)
    gap = int(0)
    if side >= 2 * layout.min_side + WIDEST_CORRIDOR and unit(w[1]) < layout.corridors:
        gap = 1 + below(w[2], WIDEST_CORRIDOR)
    low = int(plans.rooms[e, room, axis])
    at = low + layout.min_side + below(w[3], side - gap - 2 * layout.min_side + 1)
    first = int(plans.rooms[e, room, 1 - axis])
    doors = int(1)
    if gap > 0:
        doors = wp.min(1 + length // CORRIDOR_DOORS, MAX_DOORS)
    elif length >= 4:
        doors = wp.where(unit(draw(key, DIVIDE, count + (1 << 16))[0]) < layout.loops, 2, 1)
    build_wall(plans, e, layout.size, axis, at, first, first + length, doors, key, 2 * count)
    copy_room(plans, e, room, count)
    plans.rooms[e, count, axis] = wp.int16(at + gap)
    if gap > 0:
        build_wall(plans, e, layout.size, axis, at + gap, first, first + length, doors, key, 2 * count + 1)
        copy_room(plans, e, room, count + 1)
        plans.rooms[e, count + 1, axis] = wp.int16(at)
        plans.rooms[e, count + 1, axis + 2] = wp.int16(at + gap)
        plans.rooms[e, count + 1, CORRIDOR] = wp.int16(1)
    plans.rooms[e, room, axis + 2] = wp.int16(at)
    return count + wp.where(gap > 0, 2, 1)


@wp.func
def enclose(plans: Plans, layout: Layout, e: int) -> None:
    """Empty the building, of which nothing has been seen; only its outer walls stand, around one room."""
    size = layout.size
    for y in range(size):
        for x in range(size):
            sides = wp.where(x == 0, c.LEFT, 0) | wp.where(x == size - 1, c.RIGHT, 0)
            ends = wp.where(y == 0, c.DOWN, 0) | wp.where(y == size - 1, c.UP, 0)
            plans.cells[e, x + size * y] = wp.uint16(sides | ends | c.UNSEEN)
    for i in range(ROOM_FIELDS):
        plans.rooms[e, 0, i] = wp.int16(wp.where(i == X1 or i == Y1, size, 0))


@wp.func
def has_door(plans: Plans, layout: Layout, e: int, room: int, x: int, y: int) -> int:
    """One where a side of the cell is a door of the room."""
    code = int(plans.cells[e, x + layout.size * y])
    to_right = x + 1 == int(plans.rooms[e, room, X1]) and (code & c.RIGHT) == 0
    to_left = x == int(plans.rooms[e, room, X0]) and (code & c.LEFT) == 0
    above = y + 1 == int(plans.rooms[e, room, Y1]) and (code & c.UP) == 0
    under = y == int(plans.rooms[e, room, Y0]) and (code & c.DOWN) == 0
    return wp.where(to_right or to_left or above or under, 1, 0)


@wp.func
def may_hold(plans: Plans, layout: Layout, e: int, room: int, x: int, y: int) -> int:
    """One where clutter leaves every way: no door beside the cell, and no clutter in it or in its eight neighbours."""
    if has_door(plans, layout, e, room, x, y) == 1:
        return 0
    for k in range(9):
        near_x = wp.clamp(x - 1 + k % 3, 0, layout.size - 1)
        near_y = wp.clamp(y - 1 + k // 3, 0, layout.size - 1)
        if (int(plans.cells[e, near_x + layout.size * near_y]) & c.CLUTTER) != 0:
            return 0
    return 1


@wp.func
def furnish(plans: Plans, layout: Layout, e: int, room: int, key: Key) -> None:
    """Put boxes and discs into a room that is no corridor and at least two cells wide and long."""
    width = side_of(plans, e, room, 0)
    height = side_of(plans, e, room, 1)
    if int(plans.rooms[e, room, CORRIDOR]) == 1 or wp.min(width, height) < 2:
        return
    attempts = int(layout.clutter * wp.float32(width * height) + wp.float32(0.5))
    for attempt in range(attempts):
        w = draw(key, CLUTTER, (room << 8) + attempt)
        x = int(plans.rooms[e, room, X0]) + below(w[0], width)
        y = int(plans.rooms[e, room, Y0]) + below(w[1], height)
        if may_hold(plans, layout, e, room, x, y) == 1:
            kind = 1 + below(w[2], 2)
            # Eight bits: two offsets and two half sides.
            add_bits(plans, e, x + layout.size * y, kind << c.KIND | below(w[3], 256) << c.OFFSET_X)


@wp.func
def build(plans: Plans, layout: Layout, e: int, key: Key) -> int:
    """Draw world e's floor plan; returns how many rooms it has."""
    enclose(plans, layout, e)
    count = int(1)
    room = int(0)
    while room < count:
        if must_divide(plans, layout, e, room, count) == 1:
            count = divide(plans, layout, e, room, count, key)
        else:
            furnish(plans, layout, e, room, key)
            room = room + 1
    return count
