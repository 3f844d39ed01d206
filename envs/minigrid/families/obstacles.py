"""Reach the goal between balls that move by themselves."""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import BALL, BLUE, EMPTY, EMPTY_CELL, FORWARD, GOAL, pack
from cairngym.envs.minigrid.family import NUM_VARIABLES, Family, Rule, cell_index
from cairngym.envs.minigrid.grid_kernels import COLLISION, Grids, front_index, kind_of
from cairngym.envs.random_kernels import Key, below, words

BALL_CELL = pack(BALL, BLUE)
DYNAMICS = 1
"""`cairngym.envs.random.Stream.DYNAMICS`."""


@wp.func
def is_free(grids: Grids, e: int, x: int, y: int) -> int:
    """One where a ball may roll to: an empty square without the agent."""
    if x < 0 or y < 0 or x >= grids.width or y >= grids.height:
        return 0
    if x == grids.agent[e, 0] and y == grids.agent[e, 1]:
        return 0
    return wp.where(grids.cells[e, x + grids.width * y] == EMPTY_CELL, 1, 0)


@wp.func
def roll(grids: Grids, e: int, place: int, word: wp.uint32) -> int:
    """Choose evenly among the free squares around `place`; stay where there is none."""
    x = place % grids.width
    y = place // grids.width
    free = int(0)
    for k in range(9):
        free = free + is_free(grids, e, x - 1 + k % 3, y - 1 + k // 3)
    target = int(place)
    if free > 0:
        chosen = below(word, free)
        for k in range(9):
            if is_free(grids, e, x - 1 + k % 3, y - 1 + k // 3) == 1:
                if chosen == 0:
                    target = x - 1 + k % 3 + grids.width * (y - 1 + k // 3)
                chosen = chosen - 1
    return target


@wp.func
def move_obstacles(grids: Grids, e: int, action: int, key: Key, step: int, script: wp.array2d(dtype=wp.int32)) -> int:
    """Move every ball, as `script` says where it does; one if the square ahead was blocked before."""
    ahead = kind_of(grids.cells[e, front_index(grids, e)])
    for k in range(NUM_VARIABLES):
        place = grids.variables[e, k]
        if place >= 0:
            target = int(place)
            if script.shape[0] > 0:
                target = script[e, k]
            else:
                draw = words(key, DYNAMICS, k // 4, step)
                target = roll(grids, e, place, draw[k % 4])
            if target != place:
                grids.cells[e, target] = BALL_CELL
                grids.cells[e, place] = EMPTY_CELL
                grids.variables[e, k] = target
    return wp.where(ahead == EMPTY or ahead == GOAL, 0, 1)


@wp.func
def collided(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Walking into a square that was blocked ends the episode with reward -1."""
    if action == FORWARD and flag == 1:
        return COLLISION
    return verdict


def obstacle_cells(env: Any) -> tuple[int, ...]:
    """Where the balls are; unused variables are -1."""
    cells = [cell_index(env, ball.cur_pos) for ball in env.obstacles]
    return tuple(cells + [-1] * (NUM_VARIABLES - len(cells)))


FAMILIES = (
    Family(references=("DynamicObstaclesEnv",), rule=Rule(before=move_obstacles, after=collided),
           variables=obstacle_cells),
)  # fmt: skip
