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

    cells: wp.array2d(dtype=wp.int32)
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
    return cell & c.BYTE


@wp.func
def color_of(cell: int) -> int:
    """Colour of a packed cell."""
    return (cell >> c.COLOR) & c.BYTE


@wp.func
def state_of(cell: int) -> int:
    """Door state of a packed cell."""
    return (cell >> c.STATE) & c.BYTE


@wp.func
def content_of(cell: int) -> int:
    """What a box contains, as a packed cell; EMPTY where nothing."""
    kind = (cell >> c.CONTENT) & 3
    return wp.where(kind == 0, EMPTY_CELL, (kind + c.KEY - 1) | ((cell >> c.CONTENT_COLOR) & 7) << c.COLOR)


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
        cell = grids.cells[e, front]
        kind = kind_of(cell)
        if action == c.FORWARD:
            is_open_door = kind == c.DOOR and state_of(cell) == c.OPEN
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
                grids.cells[e, front] = EMPTY_CELL
        elif action == c.DROP:
            if kind == c.EMPTY and grids.agent[e, 3] != EMPTY_CELL:
                grids.cells[e, front] = grids.agent[e, 3]
                grids.agent[e, 3] = EMPTY_CELL
        elif action == c.TOGGLE:
            grids.cells[e, front] = toggled(cell, grids.agent[e, 3])
    return verdict


@wp.func
def toggled(cell: int, carried: int) -> int:
    """What a cell becomes when it is toggled by an agent that carries `carried`."""
    kind = kind_of(cell)
    result = cell
    if kind == c.DOOR:
        state = state_of(cell)
        bare = cell & KIND
        if state == c.LOCKED:
            if kind_of(carried) == c.KEY and color_of(carried) == color_of(cell):
                result = bare
        elif state == c.OPEN:
            result = bare | c.CLOSED << c.STATE | OPAQUE
        else:
            result = bare
    elif kind == c.BOX:
        result = content_of(cell)
    return result


Row = wp.types.vector(length=7, dtype=wp.uint32)
"""Seven packed cells; the image takes their lower three bytes."""
IMAGE_BYTES = VIEW * VIEW * 3


@wp.func
def put_byte(address: wp.uint64, place: int, value: wp.uint32) -> None:
    """Store the lowest byte of `value`."""
    target = wp.array(ptr=address, shape=(IMAGE_BYTES,), dtype=wp.uint8)
    target[place] = wp.uint8(value & wp.uint32(255))


@wp.func
def put_word(address: wp.uint64, place: int, value: wp.uint32) -> None:
    """Store four bytes at once; the processor must allow words at odd addresses."""
    target = wp.array(ptr=address + wp.uint64(place), shape=(1,), dtype=wp.uint32)
    target[0] = value


@wp.func
def put_row(address: wp.uint64, row: int, cells: Row, below: Row, wide: int) -> None:
    """Write one row of the image, which is indexed [column, row]; rows come from the lowest to the uppermost.

    A wide store covers one byte too many: the last of the row above, which is yet to come, or in the uppermost row the
    first of the row `below`, which it repeats.
    """
    for column in range(VIEW):
        place = (column * VIEW + row) * 3
        word = cells[column]
        if wide == 0:
            put_byte(address, place, word)
            put_byte(address, place + 1, word >> wp.uint32(8))
            put_byte(address, place + 2, word >> wp.uint32(16))
        elif row > 0:
            put_word(address, place - 1, word << wp.uint32(8))
        else:
            put_word(address, place, word & wp.uint32(0xFFFFFF) | below[column] << wp.uint32(24))


@wp.func
def copy_image(source: wp.uint64, target: wp.uint64, wide: int) -> None:
    """Copy the 147 bytes of an image."""
    if wide == 0:
        read = wp.array(ptr=source, shape=(IMAGE_BYTES,), dtype=wp.uint8)
        write = wp.array(ptr=target, shape=(IMAGE_BYTES,), dtype=wp.uint8)
        for i in range(IMAGE_BYTES):
            write[i] = read[i]
    else:
        for k in range(19):
            # The last word ends with the image and so overlaps the one before it.
            place = wp.uint64(wp.min(8 * k, IMAGE_BYTES - 8))
            words_read = wp.array(ptr=source + place, shape=(1,), dtype=wp.uint64)
            words_write = wp.array(ptr=target + place, shape=(1,), dtype=wp.uint64)
            words_write[0] = words_read[0]


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
    grids: Grids, e: int, sight: wp.array2d(dtype=wp.uint16), see_through: int, wide: int, image: wp.uint64
) -> None:
    """Write the 7 x 7 x 3 view of world e to the address `image`.

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
    first = wp.max(0, 3 - room(grids, ax, ay, fy, -fx))
    last = wp.min(6, 3 + room(grids, ax, ay, -fy, fx))
    inside = (1 << (last + 1)) - (1 << first)
    origin = ax + grids.width * ay
    lit = wp.where(see_through != 0, 127, 8)
    below = Row()
    for up in range(VIEW):
        cells = Row()
        if lit != 0:
            clear = int(0)
            present = wp.where(up <= ahead, inside, 0)
            for column in range(VIEW):
                # Cells beyond the grid read the agent's own instead: a choice costs less than a branch.
                bit = (present >> column) & 1
                found = grids.cells[e, origin + bit * (up * forward + (column - 3) * right)]
                cell = wp.where(bit == 1, found, WALL_CELL)
                clear = clear | ((cell >> 30) ^ 1) << column
                cells[column] = wp.uint32(cell)
            if see_through == 0:
                both = int(sight[lit, clear])
                lit = both >> 7
                for column in range(VIEW):
                    cells[column] = cells[column] * wp.uint32((both >> column) & 1)
            if up == 0:
                cells[3] = wp.uint32(grids.agent[e, 3])
        put_row(image, 6 - up, cells, below, wide)
        below = cells
