"""What the in-kernel generators share: walls, random free cells, and the end of a level."""

from __future__ import annotations

import warp as wp

from cairngym.envs.life_kernels import LEVEL_STREAM
from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import NUM_VARIABLES
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import MAX_TARGETS, Plans, make_plan
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below, words

EMPTY_CELL, WALL_CELL = c.EMPTY_CELL, c.WALL_CELL
GOAL_CELL = c.pack(c.GOAL, c.GREEN)
NOWHERE = -1
"""A cell index that is none."""
NUM_COLORS = 6


@wp.func
def shut_door(color: int, state: int) -> int:
    """A door, CLOSED or LOCKED."""
    return c.DOOR | color << c.COLOR | state << c.STATE | c.OPAQUE


@wp.func
def draw(key: Key, block: int, attempt: int) -> wp.vec4ui:
    """Four words of the episode's level stream; every call site of a level uses a block (or an attempt) of its own."""
    return words(key, LEVEL_STREAM, block, attempt)


@wp.func
def put(grids: Grids, e: int, x: int, y: int, cell: int) -> None:
    """Write one cell."""
    grids.cells[e, x + grids.width * y] = cell


@wp.func
def put_row(grids: Grids, e: int, x: int, y: int, length: int, cell: int) -> None:
    """Write `length` cells from (x, y) to the right."""
    for i in range(length):
        put(grids, e, x + i, y, cell)


@wp.func
def put_column(grids: Grids, e: int, x: int, y: int, length: int, cell: int) -> None:
    """Write `length` cells from (x, y) downwards."""
    for i in range(length):
        put(grids, e, x, y + i, cell)


@wp.func
def put_room(grids: Grids, e: int, x: int, y: int, width: int, height: int) -> None:
    """Draw the walls of a rectangle; its inside stays as it is."""
    put_row(grids, e, x, y, width, WALL_CELL)
    put_row(grids, e, x, y + height - 1, width, WALL_CELL)
    put_column(grids, e, x, y, height, WALL_CELL)
    put_column(grids, e, x + width - 1, y, height, WALL_CELL)


@wp.func
def clear(grids: Grids, e: int) -> None:
    """Empty every cell."""
    for i in range(grids.width * grids.height):
        grids.cells[e, i] = EMPTY_CELL


@wp.func
def walled(grids: Grids, e: int) -> None:
    """Empty every cell and draw the wall around the grid."""
    clear(grids, e)
    put_room(grids, e, 0, 0, grids.width, grids.height)


@wp.func
def is_free(grids: Grids, e: int, index: int, taken: int) -> int:
    """One for an empty cell other than `taken`."""
    return wp.where(grids.cells[e, index] == EMPTY_CELL and index != taken, 1, 0)


@wp.func
def count_free(grids: Grids, e: int, x: int, y: int, width: int, height: int, taken: int) -> int:
    """How many cells of a rectangle are empty and not `taken`."""
    count = int(0)
    for row in range(height):
        for column in range(width):
            count = count + is_free(grids, e, x + column + grids.width * (y + row), taken)
    return count


@wp.func
def free_cell(grids: Grids, e: int, x: int, y: int, width: int, height: int, taken: int, rank: int) -> int:
    """Index of the free cell number `rank` of a rectangle, row by row; NOWHERE where there are fewer."""
    left = int(rank)
    for row in range(height):
        for column in range(width):
            index = x + column + grids.width * (y + row)
            if is_free(grids, e, index, taken) == 1:
                if left == 0:
                    return index
                left = left - 1
    return NOWHERE


@wp.func
def random_free(grids: Grids, e: int, x: int, y: int, width: int, height: int, taken: int, word: wp.uint32) -> int:
    """One of the free cells of a rectangle, all equally likely: where upstream's `place_obj` ends up."""
    count = count_free(grids, e, x, y, width, height, taken)
    return free_cell(grids, e, x, y, width, height, taken, below(word, count))


@wp.func
def put_agent(grids: Grids, e: int, index: int, direction: int) -> None:
    """Stand the agent on a cell, its hands empty."""
    grids.agent[e, 0] = index % grids.width
    grids.agent[e, 1] = index // grids.width
    grids.agent[e, 2] = direction
    grids.agent[e, 3] = EMPTY_CELL


@wp.func
def plan_row(e: int, key: Key) -> int:
    """The plan row of world e's episode; the last episode's, which may still be measured, is the other one."""
    return 2 * e + (int(key.episode) & 1)


@wp.func
def finish(
    grids: Grids, levels: Levels, plans: Plans, e: int, key: Key, kind: int, target: int, detail: int, mission: int
) -> None:
    """Say what the level's mission and its only target are, and plan it.

    The family's variables are zeroed; those a rule needs are to be written after this.
    """
    row = plan_row(e, key)
    levels.current[e] = row
    levels.current_mission[e] = mission
    for i in range(NUM_VARIABLES):
        grids.variables[e, i] = 0
    for t in range(MAX_TARGETS):
        plans.targets[row, t, 0] = 0
    plans.targets[row, 0, 0] = kind
    plans.targets[row, 0, 1] = target
    plans.targets[row, 0, 2] = detail
    start = grids.agent[e, 0] + grids.width * grids.agent[e, 1]
    make_plan(grids.cells, grids.width, grids.height, e, start, plans, row)
