"""Stand beside a door or an object and say `done`."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import DONE, TOGGLE
from cairngym.envs.minigrid.family import NEAR, Family, Rule, Target, cell_index
from cairngym.envs.minigrid.grid_kernels import FAILURE, SUCCESS, Grids


@wp.func
def done_beside(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """`done` ends the episode, with success beside the target; `toggle` ends it for nothing."""
    if action == DONE:
        dx = wp.abs(grids.agent[e, 0] - grids.variables[e, 0])
        dy = wp.abs(grids.agent[e, 1] - grids.variables[e, 1])
        return wp.where(dx + dy == 1, SUCCESS, FAILURE)
    if action == TOGGLE:
        return FAILURE
    return verdict


def target_position(env: Any) -> tuple[int, ...]:
    """Where the target stands."""
    return int(env.target_pos[0]), int(env.target_pos[1])


def beside_target(env: Any) -> list[Target]:
    """Be one step from the target."""
    return [Target(kind=NEAR, cell=cell_index(env, env.target_pos), detail=1)]


FAMILIES = (
    Family(references=("GoToDoorEnv", "GoToObjectEnv"), rule=Rule(after=done_beside), variables=target_position,
           targets=beside_target, colors=True),
)  # fmt: skip
