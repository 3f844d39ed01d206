"""The kernel that tells what happened in a step of a grid world.

Codes are 1 + event x THINGS + thing, and a thing is (type x COLORS + colour) x STATES + state.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.minigrid.cells import (
    BALL,
    BOX,
    CLOSED,
    DOOR,
    EMPTY,
    FORWARD,
    GOAL,
    KEY,
    LAVA,
    LOCKED,
    OPEN,
    WALL,
)

KINDS, COLORS, STATES = 11, 6, 3
THINGS = KINDS * COLORS * STATES
PICK_UP, DROP, UNLOCK, OPEN_DOOR, CLOSE_DOOR, OPEN_BOX, ENTER, SEE, BUMP = range(9)
EVENTS = 9


@wp.struct
class Side:
    """One side of a transition, as addresses of the state's tensors."""

    position: wp.uint64
    direction: wp.uint64
    carrying: wp.uint64
    grid: wp.uint64


@wp.func
def event_code(event: int, kind: int, color: int, state: int, colored: int) -> wp.int64:
    """Pack an event and its thing; what has one colour only is packed without it."""
    plain = kind == WALL or kind == GOAL or kind == LAVA or colored == 0  # Warp knows no `in`
    shade = wp.where(plain, 0, color)
    return wp.int64(1 + event * THINGS + (kind * COLORS + shade) * STATES + state)


@wp.func
def place_of(side: Side, e: int, n: int, axis: int) -> int:
    """Column (axis 0) or row (axis 1) of the agent."""
    return int(wp.array(ptr=side.position, shape=(2 * n,), dtype=wp.int64)[2 * e + axis])


@wp.func
def direction_of(side: Side, e: int, n: int) -> int:
    """Where the agent looks."""
    return int(wp.array(ptr=side.direction, shape=(n,), dtype=wp.int64)[e])


@wp.func
def carried_by(side: Side, e: int, n: int, part: int) -> int:
    """Type (part 0) or colour (part 1) of what the agent carries."""
    return int(wp.array(ptr=side.carrying, shape=(2 * n,), dtype=wp.int64)[2 * e + part])


@wp.func
def step_of(direction: int, axis: int) -> int:
    """How one step forward moves the agent along an axis."""
    turned = direction - axis
    return wp.where(turned == 0, 1, wp.where(turned == 2, -1, 0))


@wp.func
def front_of(side: Side, e: int, n: int, width: int, height: int) -> int:
    """Index, in its grid, of the cell before the agent; -1 outside."""
    direction = direction_of(side, e, n)
    x = place_of(side, e, n, 0) + step_of(direction, 0)
    y = place_of(side, e, n, 1) + step_of(direction, 1)
    inside = x >= 0 and y >= 0 and x < width and y < height
    return wp.where(inside, x * height + y, -1)


@wp.func
def cell_of(side: Side, e: int, n: int, area: int, index: int, part: int) -> int:
    """Type, colour or state (part 0, 1, 2) of a cell; outside everything is wall."""
    if index < 0:
        return wp.where(part == 0, WALL, 0)
    return int(wp.array(ptr=side.grid, shape=(n * area * 3,), dtype=wp.uint8)[(e * area + index) * 3 + part])


@wp.func
def is_thing(kind: int) -> bool:
    """Whether it is worth a look."""
    return kind == DOOR or kind == KEY or kind == BALL or kind == BOX or kind == GOAL or kind == LAVA  # as above


@wp.func
def handled(before: Side, after: Side, e: int, n: int, area: int, front: int, colored: int) -> wp.int64:
    """Something picked up, dropped, opened or closed; zero if nothing was."""
    held = carried_by(before, e, n, 0)
    holds = carried_by(after, e, n, 0)
    if held == EMPTY and holds != EMPTY:
        return event_code(PICK_UP, holds, carried_by(after, e, n, 1), 0, colored)
    if held != EMPTY and holds == EMPTY:
        return event_code(DROP, held, carried_by(before, e, n, 1), 0, colored)
    kind = cell_of(before, e, n, area, front, 0)
    color = cell_of(before, e, n, area, front, 1)
    if kind == DOOR and cell_of(after, e, n, area, front, 0) == DOOR:
        was = cell_of(before, e, n, area, front, 2)
        now = cell_of(after, e, n, area, front, 2)
        if was == LOCKED and now == OPEN:
            return event_code(UNLOCK, kind, color, 0, colored)
        if was == CLOSED and now == OPEN:
            return event_code(OPEN_DOOR, kind, color, 0, colored)
        if was == OPEN and now == CLOSED:
            return event_code(CLOSE_DOOR, kind, color, 0, colored)
    if kind == BOX and cell_of(after, e, n, area, front, 0) != BOX:
        return event_code(OPEN_BOX, kind, color, 0, colored)
    return wp.int64(0)


@wp.func
def met(before: Side, after: Side, e: int, n: int, width: int, height: int, action: int, colored: int) -> wp.int64:
    """Something entered, seen or bumped into; zero if nothing was."""
    area = width * height
    x = place_of(after, e, n, 0)
    y = place_of(after, e, n, 1)
    moved = x != place_of(before, e, n, 0) or y != place_of(before, e, n, 1)
    here = x * height + y
    under = cell_of(after, e, n, area, here, 0)
    if moved and (under == DOOR or under == GOAL or under == LAVA):  # noqa: SIM109
        return event_code(ENTER, under, cell_of(after, e, n, area, here, 1), 0, colored)
    front = front_of(after, e, n, width, height)
    kind = cell_of(after, e, n, area, front, 0)
    color = cell_of(after, e, n, area, front, 1)
    state = cell_of(after, e, n, area, front, 2)
    turned = direction_of(after, e, n) != direction_of(before, e, n)
    if not moved and not turned and action == FORWARD:
        if kind == WALL or is_thing(kind):
            return event_code(BUMP, kind, color, wp.where(kind == DOOR, state, 0), colored)
        return wp.int64(0)
    if (moved or turned) and is_thing(kind):
        return event_code(SEE, kind, color, wp.where(kind == DOOR, state, 0), colored)
    return wp.int64(0)


@wp.func
def side_of(position: wp.uint64, direction: wp.uint64, carrying: wp.uint64, grid: wp.uint64) -> Side:
    """Name the addresses; passed one by one, they cost the host less than a struct."""
    side = Side()
    side.position = position
    side.direction = direction
    side.carrying = carrying
    side.grid = grid
    return side


@wp.kernel(enable_backward=False)
def caption(
    position: wp.uint64, direction: wp.uint64, carrying: wp.uint64, grid: wp.uint64,
    next_position: wp.uint64, next_direction: wp.uint64, next_carrying: wp.uint64, next_grid: wp.uint64,
    actions: wp.uint64, out: wp.uint64, n: int, width: int, height: int, colored: int,
) -> None:  # fmt: skip
    """Write the code of every env's transition."""
    e = wp.tid()
    before = side_of(position, direction, carrying, grid)
    after = side_of(next_position, next_direction, next_carrying, next_grid)
    front = front_of(before, e, n, width, height)
    code = handled(before, after, e, n, width * height, front, colored)
    if code == wp.int64(0):
        action = int(wp.array(ptr=actions, shape=(n,), dtype=wp.int64)[e])
        code = met(before, after, e, n, width, height, action, colored)
    wp.array(ptr=out, shape=(n,), dtype=wp.int64)[e] = code
