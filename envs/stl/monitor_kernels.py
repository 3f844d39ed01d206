"""The kernel that runs a monitor's program: one sample of every trace at a time.

A thread serves one *tile* of envs, 16 side by side in vectors on a CPU and a single one on a GPU, and interprets the
program once for the tile. Windows are cut where the clock, common to all envs, is a multiple of their length: each is
the end of the block before, folded backwards when that block was full, and the beginning of the present one, folded
forwards (van Herk 1992, Gil and Werman 1993; the two stacks of a queue). That costs O(1) per sample, amortised, and
leaves every env at the same place of its ring whatever step of its trace it is at.
"""

from __future__ import annotations

import functools
from typing import Any

import warp as wp

LOAD, MAX, GATE, DELAY, WINDOW, SINCE, UNTIL, HOLD = range(8)
"""Operations; see `cairngym.envs.stl.monitor_program.Assembler`."""
KIND, TARGET, FIRST, SECOND, X, Y, BASE = range(7)
"""Fields of an instruction."""
TRUE, LOW, HIGH, TIME, FREE = range(5)
"""Slots of a tile's memory: plus infinity, the interval, steps since the trace began; from FREE on as programmed."""
BEGIN, UPDATE, FLUSH = range(3)
"""Why the program runs: first samples of masked envs, the next samples of all, steps beyond the end of a trace."""
INFINITY = wp.constant(wp.float32(float("inf")))
STEEP = wp.constant(wp.float32(1.0e38))


@wp.struct
class Shape:
    """What stays the same from step to step."""

    num_envs: int
    columns: int
    low: int
    """Where the program leaves the interval's ends."""
    high: int
    last: int
    """Last sample that is read."""
    extra: int
    """Steps to run on beyond it."""


@wp.func
def reached(time: Any, step: int) -> Any:
    """Plus infinity where `time >= step`, minus infinity elsewhere."""
    return (time - type(time)(wp.float32(step) - 0.5)) * STEEP * STEEP


@wp.func
def choose(gate: Any, yes: Any, no: Any) -> Any:
    """`yes` where the gate is plus infinity, `no` where it is minus infinity."""
    return wp.max(wp.min(yes, gate), wp.min(no, -gate))


@wp.func
def read(memory: wp.array2d(dtype=Any), tile: int, reference: int) -> Any:
    """The value of a slot, or its negation where the reference is the slot's complement."""
    if reference < 0:
        return -memory[-1 - reference, tile]
    return memory[reference, tile]


@wp.func
def write(memory: wp.array2d(dtype=Any), tile: int, slot: int, value: Any, open_to: Any, why: int) -> None:
    """Store a value; unless all envs take part, only where `open_to` is plus infinity."""
    if why == UPDATE:
        memory[slot, tile] = value
    else:
        memory[slot, tile] = choose(open_to, value, memory[slot, tile])


@wp.func
def delay(memory: wp.array2d(dtype=Any), tile: int, slot: int, value: Any, open_to: Any, why: int) -> Any:
    """What stood in a place of a ring, where the value goes."""
    before = memory[slot, tile]
    write(memory, tile, slot, value, open_to, why)
    return before


@wp.func
def hold(memory: wp.array2d(dtype=Any), tile: int, slot: int, value: Any, cap: Any, time: Any) -> Any:
    """Maximum since the trace began, each value lowered by the caps from its step on."""
    return wp.min(cap, wp.max(value, wp.min(memory[slot, tile], reached(time, 1))))


@wp.func
def window(
    memory: wp.array2d(dtype=Any), tile: int, base: int, length: int, place: int, value: Any, time: Any,
    open_to: Any, why: int,
) -> Any:  # fmt: skip
    """Maximum of the trace's last `length` values."""
    if place == 0 and why != BEGIN:
        folded = type(value)(-INFINITY)
        for back in range(length):
            slot = base + length - 1 - back
            # A value `back + 1` samples old belongs to this trace if the trace is that old.
            folded = wp.max(folded, wp.min(memory[slot, tile], reached(time, back + 1)))
            write(memory, tile, slot, folded, open_to, why)
    total = value
    if place > 0:
        total = wp.max(value, wp.min(memory[base + length, tile], reached(time, 1)))
    write(memory, tile, base + place, value, open_to, why)
    write(memory, tile, base + length, total, open_to, why)
    if place + 1 < length:
        total = wp.max(total, wp.min(memory[base + place + 1, tile], reached(time, place + 1)))
    return total


@wp.func
def since(
    memory: wp.array2d(dtype=Any), tile: int, base: int, length: int, place: int, value: Any, cap: Any, time: Any,
    open_to: Any, why: int,
) -> Any:  # fmt: skip
    """Maximum of the trace's last `length` values, each lowered by the caps from its step on.

    A step is the clamp z -> max(p, min(cap, z)) with p = min(value, cap); the newest is applied last.
    """
    tail = base + 2 * length
    if place == 0 and why != BEGIN:
        folded = type(value)(-INFINITY)
        caps = type(value)(INFINITY)
        for back in range(length):
            slot = base + length - 1 - back
            folded = wp.max(folded, wp.min(caps, wp.min(memory[slot, tile], reached(time, back + 1))))
            caps = wp.min(caps, memory[slot + length, tile])
            write(memory, tile, slot, folded, open_to, why)
    entry = wp.min(value, cap)
    total = entry
    caps = cap
    if place > 0:
        total = wp.max(entry, wp.min(cap, wp.min(memory[tail, tile], reached(time, 1))))
        caps = wp.min(cap, memory[tail + 1, tile])
    write(memory, tile, base + place, entry, open_to, why)
    write(memory, tile, base + length + place, cap, open_to, why)
    write(memory, tile, tail, total, open_to, why)
    write(memory, tile, tail + 1, caps, open_to, why)
    if place + 1 < length:
        before = wp.min(memory[base + place + 1, tile], reached(time, place + 1))
        total = wp.max(total, wp.min(caps, before))
    return total


@wp.func
def until(
    memory: wp.array2d(dtype=Any), tile: int, base: int, length: int, place: int, value: Any, cap: Any,
    open_to: Any, why: int,
) -> Any:  # fmt: skip
    """Clamps z -> max(value, min(cap, z)) of the last `length` samples on minus infinity, the newest applied first.

    Windows that reach back beyond the beginning of the trace are nobody's value, so ages need no care here.
    """
    tail = base + 2 * length
    if place == 0 and why != BEGIN:
        folded = type(value)(-INFINITY)
        caps = type(value)(INFINITY)
        for back in range(length):
            slot = base + length - 1 - back
            folded = wp.max(memory[slot, tile], wp.min(memory[slot + length, tile], folded))
            caps = wp.min(memory[slot + length, tile], caps)
            write(memory, tile, slot, folded, open_to, why)
            write(memory, tile, slot + length, caps, open_to, why)
    total = value
    caps = cap
    if place > 0:
        total = wp.max(memory[tail, tile], wp.min(memory[tail + 1, tile], value))
        caps = wp.min(memory[tail + 1, tile], cap)
    write(memory, tile, base + place, value, open_to, why)
    write(memory, tile, base + length + place, cap, open_to, why)
    write(memory, tile, tail, total, open_to, why)
    write(memory, tile, tail + 1, caps, open_to, why)
    if place + 1 < length:
        slot = base + place + 1
        total = wp.max(memory[slot, tile], wp.min(memory[slot + length, tile], total))
    return total


@wp.func
def literal(margins: wp.array(dtype=wp.float32), shape: Shape, env: int, column: int, sign: int) -> wp.float32:
    """A margin or its negation; minus infinity, false, where it is not a number."""
    # Lanes beyond the last env repeat it.
    margin = wp.float32(sign) * margins[wp.min(env, shape.num_envs - 1) * shape.columns + column]
    return wp.where(wp.isnan(margin), -INFINITY, margin)


@wp.func
def load(
    margins: wp.array(dtype=wp.float32), shape: Shape, tile: int, column: int, sign: int, like: Any
) -> Any:  # fmt: skip
    """The literals of a tile's envs."""
    values = type(like)(wp.float32(0.0))
    for lane in range(len(like)):
        values[lane] = literal(margins, shape, tile * len(like) + lane, column, sign)
    return values


@wp.func
def run(
    memory: wp.array2d(dtype=Any), program: wp.array2d(dtype=wp.int32), margins: wp.array(dtype=wp.float32),
    shape: Shape, tile: int, clock: wp.int64, time: Any, open_to: Any, why: int,
) -> None:  # fmt: skip
    """Run the program for one sample of a tile and store the interval."""
    for row in range(program.shape[0]):
        kind = program[row, KIND]
        target = program[row, TARGET]
        x = program[row, X]
        base = program[row, BASE]
        place = int(0)
        if kind >= DELAY and x > 0:
            place = int(clock % wp.int64(x))
        value = time
        if kind == LOAD:
            if why != FLUSH:  # beyond the end nothing that is read depends on the margins
                value = load(margins, shape, tile, program[row, FIRST], program[row, SECOND], time)
        else:
            value = read(memory, tile, program[row, FIRST])
        if kind == MAX:
            value = wp.max(value, read(memory, tile, program[row, SECOND]))
        elif kind == GATE:
            value = wp.min(wp.min(value, reached(time, x)), -reached(time, program[row, Y] + 1))
        elif kind == DELAY:
            value = delay(memory, tile, base + place, value, open_to, why)
        elif kind == WINDOW:
            value = window(memory, tile, base, x, place, value, time, open_to, why)
        elif kind == SINCE:
            cap = read(memory, tile, program[row, SECOND])
            value = since(memory, tile, base, x, place, value, cap, time, open_to, why)
        elif kind == UNTIL:
            cap = read(memory, tile, program[row, SECOND])
            value = until(memory, tile, base, x, place, value, cap, open_to, why)
        elif kind == HOLD:
            value = hold(memory, tile, target, value, read(memory, tile, program[row, SECOND]), time)
        write(memory, tile, target, value, open_to, why)
    going = -reached(time, shape.last + shape.extra + 1)
    low = choose(going, read(memory, tile, shape.low), memory[LOW, tile])
    high = choose(going, read(memory, tile, shape.high), memory[HIGH, tile])
    write(memory, tile, LOW, low, open_to, why)
    write(memory, tile, HIGH, high, open_to, why)
    write(memory, tile, TIME, time, open_to, why)


@wp.func
def ends(shape: Shape, time: Any, open_to: Any) -> Any:
    """Plus infinity where a trace has just read its last sample."""
    return wp.min(wp.min(open_to, reached(time, shape.last)), -reached(time, shape.last + 1))


@functools.cache
def monitor_kernel(lanes: int) -> tuple[Any, Any]:
    """Compile the monitor for tiles of so many envs; returns the type of a tile's values, and the kernel."""
    vector: Any = wp.types.vector(length=lanes, dtype=wp.float32)

    @wp.kernel(enable_backward=False, module="unique")
    def monitor(
        offset: int, clock: wp.int64, margins: wp.uint64, lows: wp.uint64, highs: wp.uint64, mask: wp.uint64,
        why: int, shape: Shape, program: wp.array2d(dtype=wp.int32), memory: wp.array2d(dtype=vector),
    ) -> None:  # fmt: skip
        tile = offset + wp.tid()
        flat = wp.array(ptr=margins, shape=(shape.num_envs * shape.columns,), dtype=wp.float32)
        open_to = vector(INFINITY)
        time = wp.min(memory[TIME, tile] + vector(1.0), vector(wp.float32(shape.last + shape.extra + 1)))
        steps = int(1)
        if why == BEGIN:
            steps = int(0)
            masked = wp.array(ptr=mask, shape=(shape.num_envs,), dtype=wp.uint8)
            for lane in range(len(open_to)):
                begins = int(masked[wp.min(tile * len(open_to) + lane, shape.num_envs - 1)])
                open_to[lane] = wp.where(begins != 0, INFINITY, -INFINITY)
                steps = wp.max(steps, wp.min(begins, 1))
            time = vector(0.0)
        now = int(why)
        step = int(0)
        while step < steps:
            run(memory, program, flat, shape, tile, clock + wp.int64(step), time, open_to, now)
            if shape.extra > 0 and now != FLUSH:
                open_to = ends(shape, time, open_to)
                now = int(FLUSH)
                # One step more than is needed shows that the trace is over.
                steps = wp.where(wp.max(open_to) > 0.0, shape.extra + 2, 0)
            time = time + vector(1.0)
            step = step + 1
        low = wp.array(ptr=lows, shape=(memory.shape[1],), dtype=vector)
        high = wp.array(ptr=highs, shape=(memory.shape[1],), dtype=vector)
        low[tile] = memory[LOW, tile]
        high[tile] = memory[HIGH, tile]

    return vector, monitor
