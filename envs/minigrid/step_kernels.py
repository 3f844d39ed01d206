"""One kernel for a whole environment step: act, judge, count, reset, observe.

Every output goes to memory allocated by the caller for this step, so that what was returned is never overwritten.
"""

from __future__ import annotations

import functools
from typing import Any

import warp as wp

from cairngym.envs.life_kernels import DISABLED, LEVEL_STREAM, NEXT_STEP, SAME_STEP, Life, key_of, next_life, record
from cairngym.envs.minigrid.cells import DONE, EMPTY_CELL
from cairngym.envs.minigrid.family import NUM_VARIABLES, Rule
from cairngym.envs.minigrid.grid_kernels import (
    COLLISION,
    CONTINUE,
    IMAGE_BYTES,
    SUCCESS,
    Grids,
    base_step,
    color_of,
    copy_image,
    kind_of,
    view,
)
from cairngym.envs.minigrid.plan import Plans, measure_plan
from cairngym.envs.random_kernels import Key, below, words


@wp.struct
class Levels:
    """A bank of L levels, and which one each world lives in."""

    cells: wp.array2d(dtype=wp.int32)
    agent: wp.array2d(dtype=wp.int32)
    variables: wp.array2d(dtype=wp.int32)
    mission: wp.array(dtype=wp.int32)
    tokens: wp.array2d(dtype=wp.int64)
    """(M, T): the words of every mission; T is 0 where all missions are one."""
    count: int
    """Levels that episodes are drawn from; further rows are injected ones."""
    current: wp.array(dtype=wp.int32)
    """(N,): row of the level (and of its plan) each world lives in."""
    current_mission: wp.array(dtype=wp.int32)
    parameters: wp.array(dtype=wp.int32)
    """`Generator.parameters` of the id; empty where levels come from a bank."""


@wp.struct
class Ended:
    """Worlds as they were at the end of the last step, before any was reset; all but `agent` of those reset only."""

    grids: Grids
    level: wp.array(dtype=wp.int32)


@wp.struct
class Settings:
    """What stays the same from step to step."""

    num_envs: int
    horizon: int
    mode: int
    see_through: int
    num_actions: int
    wide: int
    """One where words may be stored at odd addresses, as x86 and 64-bit ARM allow."""


@wp.func
def draw_level(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """Start world e in a level drawn from the bank."""
    load_level(grids, levels, e, below(words(key, LEVEL_STREAM, 0, 0)[0], levels.count))


@wp.func
def load_level(grids: Grids, levels: Levels, e: int, row: int) -> None:
    """Copy a row of the bank into world e."""
    for i in range(grids.cells.shape[1]):
        grids.cells[e, i] = levels.cells[row, i]
    for i in range(3):
        grids.agent[e, i] = levels.agent[row, i]
    grids.agent[e, 3] = EMPTY_CELL
    for i in range(NUM_VARIABLES):
        grids.variables[e, i] = levels.variables[row, i]
    levels.current[e] = row
    levels.current_mission[e] = levels.mission[row]


@wp.func
def keep_ended(grids: Grids, levels: Levels, ended: Ended, e: int) -> None:
    """Copy world e aside before it is reset, but for its agent."""
    for i in range(grids.cells.shape[1]):
        ended.grids.cells[e, i] = grids.cells[e, i]
    ended.level[e] = levels.current[e]


@wp.func
def observe(
    grids: Grids, levels: Levels, settings: Settings, sight: wp.array2d(dtype=wp.uint16), e: int,
    images: wp.uint64, integers: wp.uint64, first: int, second: int,
) -> None:  # fmt: skip
    """Write world e's observation into copies `first` and `second` (0: current, 1: final) of the output."""
    n = settings.num_envs
    plane = wp.uint64(n * IMAGE_BYTES)
    image = images + plane * wp.uint64(first) + wp.uint64(e * IMAGE_BYTES)
    view(grids, e, sight, settings.see_through, settings.wide, image)
    if first != second:
        copy_image(image, image + plane, settings.wide)
    words_per_mission = levels.tokens.shape[1]
    flat = wp.array(ptr=integers, shape=(n * (6 + 2 * words_per_mission),), dtype=wp.int64)
    carried = grids.agent[e, 3]
    for copy in range(2):
        which = wp.where(copy == 0, first, second)
        flat[which * n + e] = wp.int64(grids.agent[e, 2])
        flat[2 * n + (which * n + e) * 2] = wp.int64(kind_of(carried))
        flat[2 * n + (which * n + e) * 2 + 1] = wp.int64(color_of(carried))
        for t in range(words_per_mission):
            place = 6 * n + (which * n + e) * words_per_mission + t
            flat[place] = levels.tokens[levels.current_mission[e], t]


@wp.func
def reward_of(verdict: int, length: int, horizon: int) -> wp.float32:
    """1 - 0.9 t/T for success, rounded from double precision as the reference's is when cast; -1 for a collision."""
    if verdict == SUCCESS:
        return wp.float32(wp.float64(1.0) - wp.float64(0.9) * (wp.float64(length) / wp.float64(horizon)))
    if verdict == COLLISION:
        return wp.float32(-1.0)
    return wp.float32(0.0)


@wp.func
def report(
    n: int, e: int, words_per_mission: int, life: Life, reward: wp.float32, success: int, terminated: int,
    truncated: int, integers: wp.uint64, floats: wp.uint64, flags: wp.uint64,
) -> None:  # fmt: skip
    """Write what the step came to, and the episode's statistics so far, into the outputs."""
    scalars = wp.array(ptr=floats, shape=(2 * n,), dtype=wp.float32)
    scalars[e] = reward
    scalars[n + e] = life.returns[e]
    marks = wp.array(ptr=flags, shape=(5 * n,), dtype=wp.uint8)
    marks[e] = wp.uint8(terminated)
    marks[n + e] = wp.uint8(truncated)
    marks[2 * n + e] = wp.uint8(success)
    marks[3 * n + e] = life.succeeded[e]
    marks[4 * n + e] = wp.uint8(wp.max(terminated, truncated))
    before = n * (6 + 2 * words_per_mission)
    lengths = wp.array(ptr=integers, shape=(before + n,), dtype=wp.int64)
    lengths[before + e] = life.length[e]


@functools.cache
def step_kernel(rule: Rule, begin: Any) -> Any:
    """Compile the step of a family: its rule, and how its episodes begin (`draw_level` or a generator)."""
    translate, before, after = rule.translate, rule.before, rule.after

    @wp.kernel(enable_backward=False, module="unique")
    def step(
        offset: int, images: wp.uint64, integers: wp.uint64, floats: wp.uint64, flags: wp.uint64,
        actions: wp.array(dtype=wp.int64), settings: Settings, grids: Grids, levels: Levels, plans: Plans,
        life: Life, ended: Ended, sight: wp.array2d(dtype=wp.uint16), script: wp.array2d(dtype=wp.int32),
    ) -> None:  # fmt: skip
        e = offset + wp.tid()
        over = int(life.terminated[e]) | int(life.truncated[e])
        reward = wp.float32(0.0)
        success = int(0)
        terminated = int(0)
        truncated = int(0)
        if over != 0 and settings.mode == NEXT_STEP:
            next_life(life, e)
            begin(grids, levels, plans, e, key_of(life, e))
        elif over != 0 and settings.mode == DISABLED:
            terminated = int(life.terminated[e])
            truncated = int(life.truncated[e])
        else:
            length = int(life.length[e]) + 1
            life.length[e] = wp.int64(length)
            action = int(actions[e])
            if action < 0 or action >= settings.num_actions:
                action = int(DONE)
            action = translate(action)
            carried = int(grids.agent[e, 3])
            flag = before(grids, e, action, key_of(life, e), length, script)
            verdict = after(grids, e, action, carried, flag, base_step(grids, e, action))
            success = wp.where(verdict == SUCCESS, 1, 0)
            reward = reward_of(verdict, length, settings.horizon)
            terminated = wp.where(verdict != CONTINUE, 1, 0)
            truncated = wp.where(length >= settings.horizon, 1, 0)
            record(life, e, reward, success, terminated, truncated)
        report(
            settings.num_envs, e, levels.tokens.shape[1], life, reward, success, terminated, truncated,
            integers, floats, flags,
        )  # fmt: skip
        for i in range(4):
            ended.grids.agent[e, i] = grids.agent[e, i]
        if terminated + truncated > 0 and settings.mode == SAME_STEP:
            observe(grids, levels, settings, sight, e, images, integers, 1, 1)
            keep_ended(grids, levels, ended, e)
            next_life(life, e)
            begin(grids, levels, plans, e, key_of(life, e))
            observe(grids, levels, settings, sight, e, images, integers, 0, 0)
        else:
            observe(grids, levels, settings, sight, e, images, integers, 0, 1)

    return step


@functools.cache
def begin_kernel(begin: Any) -> Any:
    """Compile the start of episodes: begins the masked worlds and observes all."""

    @wp.kernel(enable_backward=False, module="unique")
    def start(
        offset: int, images: wp.uint64, integers: wp.uint64, mask: wp.array(dtype=wp.uint8), settings: Settings,
        grids: Grids, levels: Levels, plans: Plans, life: Life, sight: wp.array2d(dtype=wp.uint16),
    ) -> None:  # fmt: skip
        e = offset + wp.tid()
        if int(mask[e]) != 0:
            begin(grids, levels, plans, e, key_of(life, e))
        observe(grids, levels, settings, sight, e, images, integers, 0, 1)

    return start


@wp.kernel(enable_backward=False)
def measure(
    grids: Grids, levels: Levels, ended: Ended, plans: Plans, over: wp.array(dtype=wp.uint8),
    skipped: wp.array(dtype=wp.uint8), out: wp.array2d(dtype=wp.int64),
) -> None:  # fmt: skip
    """Measure stage, distance, remaining and planned steps; where `over`, of the world as its last episode ended."""
    e = wp.tid()
    if int(skipped[e]) == 1:
        return
    if int(over[e]) == 1:
        store(measure_plan(ended.grids, e, plans, ended.level[e]), e, out)
    else:
        store(measure_plan(grids, e, plans, levels.current[e]), e, out)


@wp.func
def store(values: wp.vec4i, e: int, out: wp.array2d(dtype=wp.int64)) -> None:
    """Write four integers."""
    for i in range(4):
        out[i, e] = wp.int64(values[i])
