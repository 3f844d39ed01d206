"""What the Warp driver does around the physics, as kernels: remember, judge, put back, count."""

from __future__ import annotations

import warp as wp

LIMIT = wp.constant(1e10)
"""MuJoCo's mjMAXVAL: beyond it a state is bad."""
WARNINGS, CONTACT, CONSTRAINT = range(3)
"""Columns of the counters."""


@wp.func
def is_sound(value: float) -> bool:
    """Whether a number is finite and within mjMAXVAL; NaN fails every comparison."""
    return wp.abs(value) <= LIMIT


@wp.kernel
def remember(values: wp.array2d(dtype=wp.float32), kept: wp.array2d(dtype=wp.float32)) -> None:
    """Keep every sound number of `values` `(N, K)`; where one is not, the last sound one stays."""
    place = wp.tid()
    world, k = place // values.shape[1], place % values.shape[1]
    if is_sound(values[world, k]):
        kept[world, k] = values[world, k]


@wp.kernel
def judge(
    state: wp.array2d(dtype=wp.float32),
    qacc: wp.array2d(dtype=wp.float32),
    counts: wp.array2d(dtype=wp.int64),
    diverged: wp.array(dtype=wp.bool),
) -> None:
    """Mark and count the worlds whose packed state or acceleration is not sound."""
    world = wp.tid()
    failed = not is_sound(state[world, 0])
    for k in range(1, state.shape[1]):
        if not is_sound(state[world, k]):
            failed = True
    for k in range(qacc.shape[1]):
        if not is_sound(qacc[world, k]):
            failed = True
    diverged[world] = failed
    if failed:
        counts[world, WARNINGS] += wp.int64(1)


@wp.kernel
def put_back(
    mask: wp.array(dtype=wp.bool), kept: wp.array2d(dtype=wp.float32), values: wp.array2d(dtype=wp.float32)
) -> None:
    """Copy the masked rows of `kept` `(N, K)` into `values`."""
    place = wp.tid()
    world, k = place // values.shape[1], place % values.shape[1]
    if mask[world]:
        values[world, k] = kept[world, k]


@wp.kernel
def tally(
    flags: wp.array(dtype=wp.int32),
    contact_bits: int,
    constraint_bits: int,
    nefc: wp.array(dtype=wp.int32),
    njmax: int,
    nacon: wp.array(dtype=wp.int32),
    ncollision: wp.array(dtype=wp.int32),
    naconmax: int,
    counts: wp.array2d(dtype=wp.int64),
) -> None:
    """Count the worlds whose buffers ran over, by the engine's flags and by the present sizes; clear the flags."""
    world = wp.tid()
    bits = flags[world]
    if (bits & contact_bits) != 0 or wp.max(nacon[0], ncollision[0]) > naconmax:
        counts[world, CONTACT] += wp.int64(1)
    if (bits & constraint_bits) != 0 or nefc[world] > njmax:
        counts[world, CONSTRAINT] += wp.int64(1)
    flags[world] = 0


@wp.kernel
def clear(mask: wp.array(dtype=wp.bool), counts: wp.array2d(dtype=wp.int64)) -> None:
    """Zero the counters `(N, 3)` of the masked worlds."""
    world = wp.tid()
    if mask[world]:
        for k in range(counts.shape[1]):
            counts[world, k] = wp.int64(0)
