"""MiniGrid's own rules as Warp functions: the agent's view with occlusion, and the step every task shares.

Parity with `minigrid.minigrid_env.MiniGridEnv` (`gen_obs`, `Grid.process_vis`, `step`) is exact and tested.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.minigrid import cells as c

VIEW = 7
EMPTY_CELL, WALL_CELL, OPAQUE, KIND = c.EMPTY_CELL, c.WALL_CELL, c.OPAQUE, c.KIND
CONTINUE, SUCCESS, FAILURE, COLLISION = range(4)
"""Verdicts of a task's rule: go on; reward 1 - 0.9 t/T; end for nothing; end with reward -1."""


@wp.struct
class Grids:
    """The mutable state of N worlds."""

    cells: wp.array2d(dtype=wp.uint16)
    """(N, width * height), index x + width * y."""
    agent: wp.array2d(dtype=wp.int32)
    """(N, 4): x, y, direction, carried cell (EMPTY when nothing)."""
    variables: wp.array2d(dtype=wp.int32)
    """(N, 8): what the task needs to know beside the grid."""
    width: int
    height: int


@wp.func
def kind_of(cell: int) -> int:
    """Object type of a packed cell."""
    return cell & 15


@wp.func
def step_x(direction: int) -> int:
    """Forward vector, x: right, down, left, up."""
    return wp.where(direction == 0, 1, wp.where(direction == 2, -1, 0))


@wp.func
def step_y(direction: int) -> int:
    """Forward vector, y."""
    return wp.where(direction == 1, 1, wp.where(direction == 3, -1, 0))


@wp.func
def front_index(grids: Grids, e: int) -> int:
    """Index of the cell before the agent."""
    direction = grids.agent[e, 2]
    x = grids.agent[e, 0] + step_x(direction)
    y = grids.agent[e, 1] + step_y(direction)
    return x + grids.width * y


@wp.func
def base_step(grids: Grids, e: int, action: int) -> int:
    """Act as every MiniGrid task does; SUCCESS on a goal, FAILURE on lava."""
    verdict = int(CONTINUE)
    direction = grids.agent[e, 2]
    if action == c.LEFT:
        grids.agent[e, 2] = (direction + 3) & 3
    elif action == c.RIGHT:
        grids.agent[e, 2] = (direction + 1) & 3
    else:
        front = front_index(grids, e)
        cell = int(grids.cells[e, front])
        kind = kind_of(cell)
        if action == c.FORWARD:
            is_open_door = kind == c.DOOR and (cell >> 7) & 3 == c.OPEN
            if kind == c.EMPTY or kind == c.FLOOR or kind == c.GOAL or kind == c.LAVA or is_open_door:
                grids.agent[e, 0] = grids.agent[e, 0] + step_x(direction)
                grids.agent[e, 1] = grids.agent[e, 1] + step_y(direction)
            if kind == c.GOAL:
                verdict = int(SUCCESS)
            if kind == c.LAVA:
                verdict = int(FAILURE)
        elif action == c.PICKUP:
            pickable = kind == c.KEY or kind == c.BALL or kind == c.BOX
            if pickable and grids.agent[e, 3] == EMPTY_CELL:
                grids.agent[e, 3] = cell
                grids.cells[e, front] = wp.uint16(EMPTY_CELL)
        elif action == c.DROP:
            if kind == c.EMPTY and grids.agent[e, 3] != EMPTY_CELL:
                grids.cells[e, front] = wp.uint16(grids.agent[e, 3])
                grids.agent[e, 3] = EMPTY_CELL
        elif action == c.TOGGLE:
            grids.cells[e, front] = wp.uint16(toggled(cell, grids.agent[e, 3]))
    return verdict


@wp.func
def toggled(cell: int, carried: int) -> int:
    """What a cell becomes when it is toggled by an agent that carries `carried`."""
    kind = kind_of(cell)
    result = cell
    if kind == c.DOOR:
        state = (cell >> 7) & 3
        bare = cell & KIND
        if state == c.LOCKED:
            if kind_of(carried) == c.KEY and (carried >> 4) & 7 == (cell >> 4) & 7:
                result = bare
        elif state == c.OPEN:
            result = bare | (c.CLOSED << 7) | OPAQUE
        else:
            result = bare
    elif kind == c.BOX:
        content = (cell >> 9) & 3
        result = wp.where(content == 0, EMPTY_CELL, (content + c.KEY - 1) | ((cell >> 11) & 7) << 4)
    return result


@wp.func
def put_cell(image: wp.array2d(dtype=wp.uint8), e: int, offset: int, cell: int) -> None:
    """Write type, colour and state of one cell."""
    image[e, offset] = wp.uint8(cell & 15)
    image[e, offset + 1] = wp.uint8((cell >> 4) & 7)
    image[e, offset + 2] = wp.uint8((cell >> 7) & 3)


@wp.func
def room(grids: Grids, x: int, y: int, dx: int, dy: int) -> int:
    """How many cells the grid goes on from (x, y) in the direction (dx, dy)."""
    if dx > 0:
        return grids.width - 1 - x
    if dx < 0:
        return x
    if dy > 0:
        return grids.height - 1 - y
    return y


@wp.func
def view(
    grids: Grids,
    e: int,
    sight: wp.array2d(dtype=wp.uint16),
    see_through: int,
    image: wp.array2d(dtype=wp.uint8),
    twin: wp.array2d(dtype=wp.uint8),
) -> None:
    """Write the 7 x 7 x 3 view of world e into row e of `image` and of `twin`.

    Rows are lit from the agent's own upwards: `sight[lit, transparent]` holds the row's final mask and, shifted by
    seven bits, the mask it hands to the row above (`Grid.process_vis` row by row).
    """
    ax = grids.agent[e, 0]
    ay = grids.agent[e, 1]
    direction = grids.agent[e, 2]
    fx = step_x(direction)
    fy = step_y(direction)
    forward = fx + grids.width * fy
    right = -fy + grids.width * fx
    ahead = room(grids, ax, ay, fx, fy)
    to_right = room(grids, ax, ay, -fy, fx)
    to_left = room(grids, ax, ay, fy, -fx)
    origin = ax + grids.width * ay
    lit = int(1 << 3)
    if see_through != 0:
        lit = int(127)
    for up in range(VIEW):
        row = 6 - up
        clear = int(0)
        if lit != 0 and see_through == 0:
            for column in range(VIEW):
                side = column - 3
                if up <= ahead and side <= to_right and -side <= to_left:
                    cell = int(grids.cells[e, origin + up * forward + side * right])
                    clear = clear | (((cell >> 15) ^ 1) << column)
            both = int(sight[lit, clear])
            shown = both & 127
            lit = both >> 7
        else:
            shown = lit
        for column in range(VIEW):
            side = column - 3
            cell = int(0)
            if (shown >> column) & 1 == 1:
                cell = int(WALL_CELL)
                if up <= ahead and side <= to_right and -side <= to_left:
                    cell = int(grids.cells[e, origin + up * forward + side * right])
            if up == 0 and side == 0:
                cell = grids.agent[e, 3]
            put_cell(image, e, (column * VIEW + row) * 3, cell)
            put_cell(twin, e, (column * VIEW + row) * 3, cell)
