"""Empty rooms, as `minigrid.envs.EmptyEnv` makes them."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.family import NEAR, Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import Plans
from cairngym.envs.minigrid.procedural.common import (
    GOAL_CELL,
    NOWHERE,
    draw,
    finish,
    put,
    put_agent,
    random_free,
    walled,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below

START, DIRECTION = range(2)
"""Parameters: cell the agent starts from, or NOWHERE for a random one, and where it then looks."""


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """A goal in the last corner; the agent in the first one or anywhere."""
    walled(grids, e)
    put(grids, e, grids.width - 2, grids.height - 2, GOAL_CELL)
    start = int(levels.parameters[START])
    direction = int(levels.parameters[DIRECTION])
    if start == NOWHERE:
        words = draw(key, 0, 0)
        start = random_free(grids, e, 0, 0, grids.width, grids.height, NOWHERE, words[0])
        direction = below(words[1], 4)
    put_agent(grids, e, start, direction)
    finish(grids, levels, plans, e, key, NEAR, grids.width - 2 + grids.width * (grids.height - 2), 0, 0)


def make(upstream: Any) -> Generator:
    """The generator of an `EmptyEnv`."""
    place = upstream.agent_start_pos
    start = NOWHERE if place is None else place[0] + upstream.width * place[1]
    return Generator(begin=begin, missions=(upstream.mission,), parameters=(start, upstream.agent_start_dir))
