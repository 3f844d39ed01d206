"""Open a door, or two in the right order."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import DOOR, OPEN, TOGGLE
from cairngym.envs.minigrid.family import OPENED, Family, Rule, Target, cell_index
from cairngym.envs.minigrid.grid_kernels import FAILURE, SUCCESS, Grids, kind_of, state_of
from cairngym.envs.random_kernels import Key


@wp.func
def is_open(grids: Grids, e: int, cell: int) -> int:
    """One where the door at `cell` stands open."""
    value = grids.cells[e, cell]
    return wp.where(kind_of(value) == DOOR and state_of(value) == OPEN, 1, 0)


@wp.func
def opens_door(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Success when a toggle leaves the door open."""
    if action == TOGGLE and is_open(grids, e, grids.variables[e, 0]) == 1:
        return SUCCESS
    return verdict


@wp.func
def doors_before(grids: Grids, e: int, action: int, key: Key, step: int, script: wp.array2d(dtype=wp.int32)) -> int:
    """Bit 0: the red door stands open; bit 1: the blue one does."""
    return is_open(grids, e, grids.variables[e, 0]) | is_open(grids, e, grids.variables[e, 1]) << 1


@wp.func
def red_then_blue(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Success when the blue door opens after the red one, failure in the other order."""
    if is_open(grids, e, grids.variables[e, 1]) == 1:
        return wp.where(flag & 1 == 1, SUCCESS, FAILURE)
    if is_open(grids, e, grids.variables[e, 0]) == 1 and flag & 2 == 2:
        return FAILURE
    return verdict


def unlock_door(env: Any) -> tuple[int, ...]:
    """Where `env.door` is."""
    return (cell_index(env, env.door.cur_pos),)


def red_and_blue(env: Any) -> tuple[int, ...]:
    """Where the red and the blue door are."""
    things = env.grid.grid
    return things.index(env.red_door), things.index(env.blue_door)


def doors_open(doors: Any) -> Any:
    """Targets that open the doors found by `doors`, in order."""

    def targets(env: Any) -> list[Target]:
        return [Target(kind=OPENED, cell=cell) for cell in doors(env)]

    return targets


FAMILIES = (
    Family(references=("UnlockEnv",), rule=Rule(after=opens_door), variables=unlock_door,
           targets=doors_open(unlock_door)),
    Family(references=("RedBlueDoorEnv",), rule=Rule(before=doors_before, after=red_then_blue),
           variables=red_and_blue, targets=doors_open(red_and_blue), colors=True),
)  # fmt: skip
