"""A locked door and its key, as `minigrid.envs.DoorKeyEnv` places them."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import NEAR, Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import Plans
from cairngym.envs.minigrid.procedural.common import (
    GOAL_CELL,
    NOWHERE,
    WALL_CELL,
    draw,
    finish,
    put,
    put_agent,
    put_column,
    random_free,
    walled,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below

DOOR_CELL, KEY_CELL = c.pack(c.DOOR, c.YELLOW, c.LOCKED), c.pack(c.KEY, c.YELLOW)


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """A wall with a locked door; agent and key to its left, the goal in the last corner."""
    width = grids.width
    height = grids.height
    first = draw(key, 0, 0)
    second = draw(key, 1, 0)
    walled(grids, e)
    put(grids, e, width - 2, height - 2, GOAL_CELL)
    wall = 2 + below(first[0], width - 4)
    put_column(grids, e, wall, 0, height, WALL_CELL)
    agent = random_free(grids, e, 0, 0, wall, height, NOWHERE, first[1])
    put_agent(grids, e, agent, below(first[2], 4))
    put(grids, e, wall, 1 + below(first[3], height - 3), DOOR_CELL)
    grids.cells[e, random_free(grids, e, 0, 0, wall, height, agent, second[0])] = KEY_CELL
    finish(grids, levels, plans, e, key, NEAR, width - 2 + width * (height - 2), 0, 0)


def make(upstream: Any) -> Generator:
    """The generator of a `DoorKeyEnv`; a plan fetches the key, unlocks the door, walks to the goal."""
    return Generator(begin=begin, missions=(upstream.mission,), subgoals=3)
