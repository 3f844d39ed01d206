"""Ways through a floor plan: metres to the goal from the middle of every cell, and from anywhere.

They are not the shortest there are: a robot that cuts their corners saves up to a fifth in rooms, 30 % in a maze.

Ways lead from middle to middle of cells without clutter, to the four neighbours where no wall stands between, and to
the four diagonal ones where the block of two by two cells is empty. They keep half a metre from all walls and clutter.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.navigation.lidar import cells as c
from cairngym.envs.navigation.lidar.plan_kernels import Plans

FAR = 1.0e9
"""Metres to the goal where no way is known."""
NEIGHBOURS = 8
"""Right, up, left, down, then the diagonals right-up, left-up, left-down, right-down."""
BEYOND = 0.1
"""Metres by which a waypoint lies beyond the side of the cell that is to be left."""


@wp.func
def across(k: int) -> int:
    """Step along x to neighbour k."""
    if k < 4:
        return wp.where(k == 0, 1, 0) - wp.where(k == 2, 1, 0)
    return wp.where(k == 4 or k == 7, 1, -1)


@wp.func
def upward(k: int) -> int:
    """Step along y to neighbour k."""
    if k < 4:
        return wp.where(k == 1, 1, 0) - wp.where(k == 3, 1, 0)
    return wp.where(k == 4 or k == 5, 1, -1)


@wp.func
def length_of(k: int) -> wp.float32:
    """Metres from middle to middle."""
    return wp.where(k < 4, wp.float32(1.0), wp.float32(1.41421356))


@wp.func
def ways_from(plans: Plans, size: int, e: int, cell: int) -> int:
    """Which of the eight neighbours can be reached straight from the cell, as bits."""
    code = int(plans.cells[e, cell])
    ways = int(0)
    for k in range(4):
        # Nested, for Warp evaluates both sides of an `and`, and beyond an outer wall there is no cell.
        if (code & (1 << k)) == 0:  # noqa: SIM102
            if (int(plans.cells[e, cell + across(k) + size * upward(k)]) & c.CLUTTER) == 0:
                ways = ways | (1 << k)
    if (code & c.CLUTTER) != 0:
        return ways
    for k in range(4, NEIGHBOURS):
        sideways = wp.where(across(k) > 0, 0, 2)
        onward = wp.where(upward(k) > 0, 1, 3)
        if (ways & (1 << sideways)) != 0 and (ways & (1 << onward)) != 0:
            beside = int(plans.cells[e, cell + across(k)])
            above = int(plans.cells[e, cell + size * upward(k)])
            corner = int(plans.cells[e, cell + across(k) + size * upward(k)])
            shut = (beside & (1 << onward)) | (above & (1 << sideways)) | (corner & c.CLUTTER)
            if shut == 0:
                ways = ways | (1 << k)
    return ways


@wp.func
def middle(cell: int, size: int) -> wp.vec2:
    """The middle of a cell, m."""
    return wp.vec2(wp.float32(cell % size) + 0.5, wp.float32(cell // size) + 0.5)


@wp.func
def cell_at(place: wp.vec2, size: int) -> int:
    """The cell a point inside the building lies in."""
    x = wp.clamp(int(place[0]), 0, size - 1)
    y = wp.clamp(int(place[1]), 0, size - 1)
    return x + size * y


@wp.func
def flood(plans: Plans, size: int, e: int, goal: wp.vec2) -> None:
    """Fill the field of distances to `goal`, by label correction from its cell outwards."""
    count = size * size
    for cell in range(count):
        plans.ways[e, cell] = wp.uint8(ways_from(plans, size, e, cell))
        plans.field[e, cell] = FAR
        plans.queue[e, count + cell] = wp.int16(0)
    target = cell_at(goal, size)
    plans.field[e, target] = wp.length(goal - middle(target, size))
    plans.queue[e, 0] = wp.int16(target)
    head = int(0)
    waiting = int(1)
    while waiting > 0:
        cell = int(plans.queue[e, head])
        head = wp.where(head + 1 == count, 0, head + 1)
        waiting = waiting - 1
        plans.queue[e, count + cell] = wp.int16(0)
        ways = int(plans.ways[e, cell])
        for k in range(NEIGHBOURS):
            if (ways & (1 << k)) != 0:
                near = cell + across(k) + size * upward(k)
                reached = plans.field[e, cell] + length_of(k)
                if cell == target:
                    reached = wp.length(goal - middle(near, size))
                if reached < plans.field[e, near]:
                    plans.field[e, near] = reached
                    if int(plans.queue[e, count + near]) == 0:
                        plans.queue[e, count + near] = wp.int16(1)
                        tail = head + waiting
                        plans.queue[e, wp.where(tail >= count, tail - count, tail)] = wp.int16(near)
                        waiting = waiting + 1


@wp.func
def way_to_goal(plans: Plans, size: int, e: int, place: wp.vec2, goal: wp.vec2) -> wp.vec3:
    """The rest of the shortest way from anywhere: its length, m, and the point x, y it makes for first."""
    cell = cell_at(place, size)
    target = cell_at(goal, size)
    if cell == target:
        return wp.vec3(wp.length(goal - place), goal[0], goal[1])
    here = middle(cell, size)
    best = wp.float32(FAR)
    aim = goal
    ways = int(plans.ways[e, cell])
    for k in range(NEIGHBOURS):
        if (ways & (1 << k)) != 0:
            near = cell + across(k) + size * upward(k)
            length = plans.field[e, near] + wp.length(middle(near, size) - place)
            ahead = here + (wp.float32(0.5) + BEYOND) * wp.vec2(wp.float32(across(k)), wp.float32(upward(k)))
            if near == target:
                length = wp.length(goal - place)
            if length < best:
                best = length
                aim = ahead
    return wp.vec3(best, aim[0], aim[1])
