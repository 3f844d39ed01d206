"""Carry one object to another and put it down there."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import DROP, EMPTY_CELL, KIND, PICKUP, pack
from cairngym.envs.minigrid.family import BESIDE, CARRY, Family, Rule, Target, cell_index
from cairngym.envs.minigrid.grid_kernels import FAILURE, SUCCESS, Grids, step_x, step_y


@wp.func
def put_near(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Failure on picking up anything but the object; a drop ends the episode, with success near the target."""
    in_hand = grids.agent[e, 3]
    if action == PICKUP and in_hand != EMPTY_CELL and in_hand & KIND != grids.variables[e, 0]:
        return FAILURE
    if action == DROP and carried != EMPTY_CELL:
        direction = grids.agent[e, 2]
        dx = wp.abs(grids.agent[e, 0] + step_x(direction) - grids.variables[e, 1])
        dy = wp.abs(grids.agent[e, 1] + step_y(direction) - grids.variables[e, 2])
        if in_hand == EMPTY_CELL and dx <= 1 and dy <= 1:
            return SUCCESS
        return FAILURE
    return verdict


def objects(env: Any) -> tuple[int, ...]:
    """What to carry, and where the target stands."""
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

    kind = pack(OBJECT_TO_IDX[env.move_type], COLOR_TO_IDX[env.moveColor])
    return kind, int(env.target_pos[0]), int(env.target_pos[1])


def carry_then_put(env: Any) -> list[Target]:
    """Carry the object, then have it lie beside the target."""
    kind = objects(env)[0]
    return [
        Target(kind=CARRY, cell=cell_index(env, env.move_pos), detail=kind),
        Target(kind=BESIDE, cell=cell_index(env, env.target_pos), detail=kind),
    ]


FAMILIES = (
    Family(references=("PutNearEnv",), rule=Rule(after=put_near), variables=objects, targets=carry_then_put,
           colors=True),
)  # fmt: skip
