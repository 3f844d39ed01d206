"""The counters of `cairngym.envs.episodes.Episodes` as Warp kernels see them."""

from __future__ import annotations

import warp as wp

from cairngym.envs.random_kernels import Key

SAME_STEP, NEXT_STEP, DISABLED = range(3)
LEVEL_STREAM = 0
"""`cairngym.envs.random.Stream.LEVEL`."""


@wp.struct
class Life:
    """The counters, shared with torch, and the seed's two words."""

    number: wp.array(dtype=wp.int64)
    length: wp.array(dtype=wp.int64)
    returns: wp.array(dtype=wp.float32)
    succeeded: wp.array(dtype=wp.uint8)
    terminated: wp.array(dtype=wp.uint8)
    truncated: wp.array(dtype=wp.uint8)
    seed_low: wp.uint32
    seed_high: wp.uint32


@wp.func
def key_of(life: Life, e: int) -> Key:
    """The key of world e's episode."""
    return Key(life.seed_low, life.seed_high, wp.uint32(e), wp.uint32(life.number[e]))


@wp.func
def clear_life(life: Life, e: int) -> None:
    """Zero the counters of a new episode."""
    life.length[e] = wp.int64(0)
    life.returns[e] = wp.float32(0.0)
    life.succeeded[e] = wp.uint8(0)
    life.terminated[e] = wp.uint8(0)
    life.truncated[e] = wp.uint8(0)


@wp.func
def next_life(life: Life, e: int) -> None:
    """Count an episode and zero the counters of the new one."""
    life.number[e] = life.number[e] + wp.int64(1)
    clear_life(life, e)


@wp.func
def record(life: Life, e: int, reward: wp.float32, success: int, terminated: int, truncated: int) -> None:
    """Add what a step came to."""
    life.returns[e] = life.returns[e] + reward
    life.succeeded[e] = wp.uint8(int(life.succeeded[e]) | success)
    life.terminated[e] = wp.uint8(terminated)
    life.truncated[e] = wp.uint8(truncated)
