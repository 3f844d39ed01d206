"""Pick up one thing: the only ball or box of its kind, or the one the mission names."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import EMPTY_CELL, KIND, PICKUP, pack
from cairngym.envs.minigrid.family import CARRY, Family, Rule, Target, cell_index, kind_of_object
from cairngym.envs.minigrid.grid_kernels import FAILURE, SUCCESS, Grids


@wp.func
def carries_target(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Success when a pickup leaves the target in hand."""
    if action == PICKUP and grids.agent[e, 3] & KIND == grids.variables[e, 0]:
        return SUCCESS
    return verdict


@wp.func
def carries_anything(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Success with the target in hand, failure with anything else."""
    if grids.agent[e, 3] == EMPTY_CELL:
        return verdict
    if grids.agent[e, 3] & KIND == grids.variables[e, 0]:
        return SUCCESS
    return FAILURE


def target_object(env: Any) -> tuple[int, ...]:
    """Type and colour of `env.obj`."""
    return (kind_of_object(env.obj),)


def target_carried(env: Any) -> list[Target]:
    """Carry `env.obj`."""
    return [Target(kind=CARRY, cell=cell_index(env, env.obj.cur_pos), detail=kind_of_object(env.obj))]


def fetch_object(env: Any) -> tuple[int, ...]:
    """Type and colour the mission names."""
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

    return (pack(OBJECT_TO_IDX[env.targetType], COLOR_TO_IDX[env.targetColor]),)


def fetch_carried(env: Any) -> list[Target]:
    """Carry the first object that fits the mission."""
    kind = fetch_object(env)[0]
    for index, thing in enumerate(env.grid.grid):
        if thing is not None and kind_of_object(thing) == kind:
            return [Target(kind=CARRY, cell=index, detail=kind)]
    return []


FAMILIES = (
    Family(references=("KeyCorridorEnv",), rule=Rule(after=carries_target), variables=target_object,
           targets=target_carried, generator="cairngym.envs.minigrid.procedural.key_corridor:make"),
    Family(references=("UnlockPickupEnv", "BlockedUnlockPickupEnv"), rule=Rule(after=carries_target),
           variables=target_object, targets=target_carried),
    Family(references=("ObstructedMaze_1Dlhb", "ObstructedMaze_Full", "ObstructedMaze_Full_V1", "ObstructedMaze_2Dl",
                       "ObstructedMaze_2Dlh", "ObstructedMaze_2Dlhb"),
           rule=Rule(after=carries_target), variables=target_object, targets=target_carried, colors=True),
    Family(references=("FetchEnv",), rule=Rule(after=carries_anything), variables=fetch_object,
           targets=fetch_carried, colors=True),
)  # fmt: skip
