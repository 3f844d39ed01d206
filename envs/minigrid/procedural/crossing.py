"""Rivers of lava or walls, each with one crossing, as `minigrid.envs.CrossingEnv` makes them."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import pack_object
from cairngym.envs.minigrid.family import NEAR, Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import Plans
from cairngym.envs.minigrid.procedural.common import (
    EMPTY_CELL,
    GOAL_CELL,
    draw,
    finish,
    put,
    put_agent,
    put_column,
    put_row,
    walled,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below

CROSSINGS, OBSTACLE = range(2)
"""Parameters: how many rivers, and the packed cell they are made of."""


@wp.func
def choose_rivers(key: Key, rivers: int, count: int) -> int:
    """`count` of `rivers` different ones, as a mask; every choice equally likely."""
    mask = int(0)
    for t in range(count):
        left = below(draw(key, t, 0)[0], rivers - t)
        for river in range(rivers):
            if (mask >> river) & 1 == 0:
                # Once the river is taken the count falls below zero, so that no other one matches.
                if left == 0:
                    mask = mask | (1 << river)
                left = left - 1
    return mask


@wp.func
def next_river(mask: int, after: int, rivers: int, edge: int) -> int:
    """The first river of the mask behind coordinate `after`; `edge` where there is none. River i lies at 2 + 2 i."""
    for river in range(rivers):
        if 2 + 2 * river > after and (mask >> river) & 1 == 1:
            return 2 + 2 * river
    return edge


@wp.func
def count_rivers(mask: int, rivers: int) -> int:
    """How many rivers the mask holds."""
    count = int(0)
    for river in range(rivers):
        count = count + ((mask >> river) & 1)
    return count


@wp.func
def draw_rivers(grids: Grids, e: int, columns: int, rows: int, obstacle: int) -> None:
    """Fill the columns and rows of two masks with obstacles, from wall to wall."""
    for river in range((grids.width - 3) // 2):
        if (columns >> river) & 1 == 1:
            put_column(grids, e, 2 + 2 * river, 1, grids.height - 2, obstacle)
    for river in range((grids.height - 3) // 2):
        if (rows >> river) & 1 == 1:
            put_row(grids, e, 1, 2 + 2 * river, grids.width - 2, obstacle)


@wp.func
def open_path(grids: Grids, e: int, key: Key, columns: int, rows: int) -> None:
    """Open one cell of every river along a path from the first room to the last, its turns in random order."""
    num_columns = (grids.width - 3) // 2
    num_rows = (grids.height - 3) // 2
    to_right = count_rivers(columns, num_columns)
    down = count_rivers(rows, num_rows)
    left = int(0)
    top = int(0)
    for t in range(to_right + down):
        words = draw(key, t, 0)
        right = next_river(columns, left, num_columns, grids.width - 1)
        bottom = next_river(rows, top, num_rows, grids.height - 1)
        if below(words[1], to_right + down) < to_right:
            put(grids, e, right, top + 1 + below(words[2], bottom - top - 1), EMPTY_CELL)
            left = right
            to_right = to_right - 1
        else:
            put(grids, e, left + 1 + below(words[2], right - left - 1), bottom, EMPTY_CELL)
            top = bottom
            down = down - 1


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """Rivers between the agent and the goal in opposite corners, with one way through."""
    width = grids.width
    height = grids.height
    walled(grids, e)
    put(grids, e, width - 2, height - 2, GOAL_CELL)
    num_columns = (width - 3) // 2
    num_rivers = num_columns + (height - 3) // 2
    rivers = choose_rivers(key, num_rivers, wp.min(levels.parameters[CROSSINGS], num_rivers))
    columns = rivers & ((1 << num_columns) - 1)
    rows = rivers >> num_columns
    draw_rivers(grids, e, columns, rows, levels.parameters[OBSTACLE])
    open_path(grids, e, key, columns, rows)
    put_agent(grids, e, 1 + width, 0)
    finish(grids, levels, plans, e, key, NEAR, width - 2 + width * (height - 2), 0, 0)


def make(upstream: Any) -> Generator:
    """The generator of a `CrossingEnv`."""
    parameters = upstream.num_crossings, pack_object(upstream.obstacle_type())
    return Generator(begin=begin, missions=(upstream.mission,), parameters=parameters)
