"""Shortest plans through a level: the subgoals on the way to success, and how far each of them is from every cell.

A task names its targets; the planner walks from the agent's start to each along a shortest path (doors count as
passable, walls and lava do not) and, for every locked door on the way, puts before it what opens it: the box that
hides the key, the key, the door. What is left of this plan is the progress every task offers.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import BESIDE, CARRY, CLEARED, NEAR, OPENED, UNLOCKED
from cairngym.envs.minigrid.grid_kernels import Grids, color_of, content_of, kind_of, state_of

MAX_SUBGOALS = 8
MAX_TARGETS = 2
FAR = 30_000


@wp.struct
class Plans:
    """Plans of R levels."""

    targets: wp.array3d(dtype=wp.int32)
    """(R, MAX_TARGETS, 3): kind, cell, detail; kind 0 where there is none."""
    subgoals: wp.array3d(dtype=wp.int32)
    """(R, S, 3): kind, cell, detail."""
    steps: wp.array2d(dtype=wp.int32)
    """(R, S + 1): steps from the start, or from the subgoal before, to each subgoal; the last entry counts them."""
    distance: wp.array3d(dtype=wp.int16)
    """(R, S, C): steps from every cell to the subgoal's cell, FAR where there is no way."""
    queue: wp.array2d(dtype=wp.int32)
    """(R, C): scratch."""


@wp.func
def passable(cell: int) -> int:
    """One for a cell that a path may cross."""
    kind = kind_of(cell)
    return wp.where(kind == c.WALL or kind == c.LAVA, 0, 1)


@wp.func
def visit(
    cells: wp.array2d(dtype=wp.int32), plans: Plans, source: int, row: int, s: int, index: int, steps: int, tail: int
) -> int:
    """Give a cell its distance if it is passable and has none; returns the queue's new end."""
    if plans.distance[row, s, index] != wp.int16(FAR) or passable(cells[source, index]) == 0:
        return tail
    plans.distance[row, s, index] = wp.int16(steps)
    plans.queue[row, tail] = index
    return tail + 1


@wp.func
def flood(
    cells: wp.array2d(dtype=wp.int32), width: int, height: int, plans: Plans, source: int, row: int, s: int
) -> None:
    """Breadth-first distances to the cell of subgoal s."""
    size = width * height
    for i in range(size):
        plans.distance[row, s, i] = wp.int16(FAR)
    cell = plans.subgoals[row, s, 1]
    plans.distance[row, s, cell] = wp.int16(0)
    plans.queue[row, 0] = cell
    head = int(0)
    tail = int(1)
    while head < tail:
        here = plans.queue[row, head]
        head = head + 1
        x = here % width
        y = here // width
        steps = int(plans.distance[row, s, here]) + 1
        if x > 0:
            tail = visit(cells, plans, source, row, s, here - 1, steps, tail)
        if x < width - 1:
            tail = visit(cells, plans, source, row, s, here + 1, steps, tail)
        if y > 0:
            tail = visit(cells, plans, source, row, s, here - width, steps, tail)
        if y < height - 1:
            tail = visit(cells, plans, source, row, s, here + width, steps, tail)


@wp.func
def downhill(width: int, height: int, plans: Plans, row: int, s: int, here: int) -> int:
    """The neighbour of `here` one step nearer to subgoal s; `here` itself where there is none."""
    wanted = int(plans.distance[row, s, here]) - 1
    x = here % width
    y = here // width
    result = int(here)
    if x > 0 and int(plans.distance[row, s, here - 1]) == wanted:
        result = here - 1
    if x < width - 1 and int(plans.distance[row, s, here + 1]) == wanted:
        result = here + 1
    if y > 0 and int(plans.distance[row, s, here - width]) == wanted:
        result = here - width
    if y < height - 1 and int(plans.distance[row, s, here + width]) == wanted:
        result = here + width
    return result


@wp.func
def find_key(cells: wp.array2d(dtype=wp.int32), size: int, source: int, color: int) -> int:
    """Index of the key of that colour, or of the box it lies in; -1 where there is none."""
    for i in range(size):
        cell = cells[source, i]
        plain = kind_of(cell) == c.KEY and color_of(cell) == color
        boxed = kind_of(cell) == c.BOX and content_of(cell) == (c.KEY | color << c.COLOR)
        if plain or boxed:
            return i
    return -1


@wp.func
def add(plans: Plans, row: int, count: int, kind: int, cell: int, detail: int) -> int:
    """Append a subgoal while there is room; returns the new count."""
    if count >= plans.subgoals.shape[1]:
        return count
    plans.subgoals[row, count, 0] = kind
    plans.subgoals[row, count, 1] = cell
    plans.subgoals[row, count, 2] = detail
    return count + 1


@wp.func
def unlock_on_the_way(
    cells: wp.array2d(dtype=wp.int32),
    width: int,
    height: int,
    plans: Plans,
    source: int,
    row: int,
    first: int,
    start: int,
) -> int:
    """Put what opens every locked door between `start` and the target in slot `first` before it; returns the count."""
    kind = plans.subgoals[row, first, 0]
    target = plans.subgoals[row, first, 1]
    detail = plans.subgoals[row, first, 2]
    flood(cells, width, height, plans, source, row, first)
    # The walk reads the distances in slot `first`, so doors are gathered before anything overwrites it.
    doors = int(0)
    here = int(start)
    for _hop in range(width * height):
        ahead = downhill(width, height, plans, row, first, here)
        cell = cells[source, ahead]
        locked = kind_of(cell) == c.DOOR and state_of(cell) == c.LOCKED
        if ahead != here and locked and doors < plans.queue.shape[1]:
            plans.queue[row, doors] = ahead
            doors = doors + 1
        here = ahead
    count = int(first)
    for d in range(doors):
        door = plans.queue[row, d]
        color = color_of(cells[source, door])
        key = find_key(cells, width * height, source, color)
        if key >= 0:
            if kind_of(cells[source, key]) == c.BOX:
                count = add(plans, row, count, CLEARED, key, 0)
            count = add(plans, row, count, CARRY, key, c.KEY | color << c.COLOR)
        if door != target:
            count = add(plans, row, count, UNLOCKED, door, 0)
    return add(plans, row, count, kind, target, detail)


@wp.func
def make_plan(
    cells: wp.array2d(dtype=wp.int32), width: int, height: int, source: int, start: int, plans: Plans, row: int
) -> None:
    """Plan row `row` for the level in row `source` of `cells` from cell `start`."""
    count = int(0)
    place = int(start)
    for t in range(MAX_TARGETS):
        if plans.targets[row, t, 0] > 0 and count < plans.subgoals.shape[1]:
            first = count
            filled = add(
                plans, row, first, plans.targets[row, t, 0], plans.targets[row, t, 1], plans.targets[row, t, 2]
            )
            count = unlock_on_the_way(cells, width, height, plans, source, row, first, place)
            place = plans.targets[row, t, 1]
            count = wp.max(count, filled)
    place = int(start)
    for s in range(count):
        flood(cells, width, height, plans, source, row, s)
        plans.steps[row, s] = wp.max(int(plans.distance[row, s, place]), 1)
        place = plans.subgoals[row, s, 1]
    plans.steps[row, plans.subgoals.shape[1]] = count


@wp.kernel(enable_backward=False)
def plan_levels(
    cells: wp.array2d(dtype=wp.int32),
    agent: wp.array2d(dtype=wp.int32),
    width: int,
    height: int,
    plans: Plans,
    offset: int,
) -> None:
    """Plan every level of a bank, its first one in row `offset`."""
    row = wp.tid()
    make_plan(cells, width, height, row, agent[row, 0] + width * agent[row, 1], plans, offset + row)


@wp.func
def lies_beside(grids: Grids, e: int, cell: int, thing: int) -> int:
    """Whether an object of that packed type and colour lies on `cell` or one of the eight squares around it."""
    found = int(0)
    for k in range(9):
        x = cell % grids.width - 1 + k % 3
        y = cell // grids.width - 1 + k // 3
        inside = x >= 0 and y >= 0 and x < grids.width and y < grids.height
        place = wp.where(inside, x + grids.width * y, cell)
        if grids.cells[e, place] & c.KIND == thing:
            found = 1
    return found


@wp.func
def is_done(grids: Grids, e: int, plans: Plans, row: int, s: int, place: int) -> int:
    """Whether subgoal s holds in the world as it is, the agent being at `place`."""
    kind = plans.subgoals[row, s, 0]
    cell = plans.subgoals[row, s, 1]
    detail = plans.subgoals[row, s, 2]
    if kind == NEAR:
        return wp.where(int(plans.distance[row, s, place]) <= detail, 1, 0)
    if kind == CARRY:
        return wp.where(grids.agent[e, 3] & c.KIND == detail, 1, 0)
    if kind == BESIDE:
        return lies_beside(grids, e, cell, detail)
    value = grids.cells[e, cell]
    is_door = kind_of(value) == c.DOOR
    if kind == OPENED:
        return wp.where(is_door and state_of(value) == c.OPEN, 1, 0)
    if kind == UNLOCKED:
        return wp.where(is_door and state_of(value) != c.LOCKED, 1, 0)
    return wp.where(kind_of(value) == c.BOX, 0, 1)


@wp.func
def measure_plan(grids: Grids, e: int, plans: Plans, row: int) -> wp.vec4i:
    """Stage (subgoals behind the agent), distance to the next one, steps left in all, and steps of the whole plan."""
    count = plans.steps[row, plans.subgoals.shape[1]]
    place = grids.agent[e, 0] + grids.width * grids.agent[e, 1]
    stage = int(count)
    while stage > 0 and is_done(grids, e, plans, row, wp.max(stage - 1, 0), place) == 0:
        stage = stage - 1
    total = int(0)
    left = int(0)
    for s in range(count):
        total = total + plans.steps[row, s]
        if s > stage:
            left = left + plans.steps[row, s]
    distance = int(0)
    if stage < count:
        distance = wp.max(int(plans.distance[row, stage, place]), 1)
    return wp.vec4i(stage, distance, wp.min(left + distance, total), total)
