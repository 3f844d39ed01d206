"""A strip of lava with one gap, as `minigrid.envs.LavaGapEnv` makes it."""

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
    walled,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below

OBSTACLE = 0
"""Parameter: the packed cell of an obstacle."""


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """A column of obstacles with one gap between the agent and the goal in opposite corners."""
    width = grids.width
    height = grids.height
    words = draw(key, 0, 0)
    walled(grids, e)
    put(grids, e, width - 2, height - 2, GOAL_CELL)
    column = 2 + below(words[0], width - 4)
    put_column(grids, e, column, 1, height - 2, levels.parameters[OBSTACLE])
    put(grids, e, column, 1 + below(words[1], height - 2), EMPTY_CELL)
    put_agent(grids, e, 1 + width, 0)
    finish(grids, levels, plans, e, key, NEAR, width - 2 + width * (height - 2), 0, 0)


def make(upstream: Any) -> Generator:
    """The generator of a `LavaGapEnv`."""
    obstacle = pack_object(upstream.obstacle_type())
    return Generator(begin=begin, missions=(upstream.mission,), parameters=(obstacle,))
