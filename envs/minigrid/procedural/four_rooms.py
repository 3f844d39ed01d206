"""Four rooms joined by four gaps, as `minigrid.envs.FourRoomsEnv` makes them."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.family import NEAR, Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import Plans
from cairngym.envs.minigrid.procedural.common import (
    EMPTY_CELL,
    GOAL_CELL,
    NOWHERE,
    WALL_CELL,
    draw,
    finish,
    put,
    put_agent,
    put_column,
    put_row,
    random_free,
    walled,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """A cross of walls with a gap in each arm; agent and goal anywhere."""
    width = grids.width
    height = grids.height
    column = width // 2
    row = height // 2
    gaps = draw(key, 0, 0)
    places = draw(key, 1, 0)
    walled(grids, e)
    put_column(grids, e, column, 0, height, WALL_CELL)
    put_row(grids, e, 0, row, width, WALL_CELL)
    # Both arms of a line are as long as the first, whatever the other half of the grid would hold.
    put(grids, e, column, 1 + below(gaps[0], row - 1), EMPTY_CELL)
    put(grids, e, column, row + 1 + below(gaps[1], row - 1), EMPTY_CELL)
    put(grids, e, 1 + below(gaps[2], column - 1), row, EMPTY_CELL)
    put(grids, e, column + 1 + below(gaps[3], column - 1), row, EMPTY_CELL)
    agent = random_free(grids, e, 0, 0, width, height, NOWHERE, places[0])
    put_agent(grids, e, agent, below(places[1], 4))
    goal = random_free(grids, e, 0, 0, width, height, agent, places[2])
    grids.cells[e, goal] = GOAL_CELL
    finish(grids, levels, plans, e, key, NEAR, goal, 0, 0)


def make(upstream: Any) -> Generator:
    """The generator of a `FourRoomsEnv`."""
    return Generator(begin=begin, missions=(upstream.mission,))
