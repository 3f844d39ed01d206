"""Remember the object at the start and walk to its like at the end of the hallway."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import PICKUP, TOGGLE
from cairngym.envs.minigrid.family import NEAR, Family, Rule, Target, cell_index
from cairngym.envs.minigrid.grid_kernels import FAILURE, SUCCESS, Grids


@wp.func
def pickup_toggles(action: int) -> int:
    """Nothing can be carried here: a pickup is taken for a toggle."""
    return wp.where(action == PICKUP, TOGGLE, action)


@wp.func
def right_or_wrong_end(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Success on the matching object's square, failure on the other's."""
    place = grids.agent[e, 0] + grids.width * grids.agent[e, 1]
    if place == grids.variables[e, 0]:
        return SUCCESS
    if place == grids.variables[e, 1]:
        return FAILURE
    return verdict


def ends(env: Any) -> tuple[int, ...]:
    """The squares of success and failure."""
    return cell_index(env, env.success_pos), cell_index(env, env.failure_pos)


def success_square(env: Any) -> list[Target]:
    """Stand on the square of success."""
    return [Target(kind=NEAR, cell=cell_index(env, env.success_pos))]


FAMILIES = (
    Family(references=("MemoryEnv",), rule=Rule(translate=pickup_toggles, after=right_or_wrong_end),
           variables=ends, targets=success_square),
)  # fmt: skip
