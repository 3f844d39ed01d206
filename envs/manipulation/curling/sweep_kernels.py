"""Sweeps over all constraints, and a short cut through those that only repeat what the last one did.

Where constraints contradict each other, for instance where a motor presses a link against a wall, the speeds after a
sweep are soon always the same while the impulses grow by the same amounts from sweep to sweep. Then as many sweeps are
made at once as go by before an impulse comes to a bound that would change what happens.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import JOINT_IMPULSES, MOVING
from cairngym.envs.manipulation.curling.contact_kernels import FRICTION, MAX_POINTS, PUSH, SLIDE
from cairngym.envs.manipulation.curling.contact_solver import solve_points
from cairngym.envs.manipulation.curling.joint_kernels import (
    LIMIT,
    MOTOR,
    PUSH_0,
    PUSH_1,
    PUSH_X,
    STATE,
    solve_joint,
    warm_joint,
)

ITERATIONS = scene.ITERATIONS
STILL = 1.0e-6
"""Sweeps end where no constraint changes a speed by more than this, m/s and rad/s, and repeat each other where the
speeds after them differ by no more than that and rounding; Box2D always makes all of them."""
ROUNDING = 3.0e-5
"""What rounding an angular impulse in single precision does to a link's turn, rad/s for each N m s of it."""
PAST = 2 * JOINT_IMPULSES + 2 * MAX_POINTS
"""Numbers kept of the last sweep: the impulses of the joints, then those of the points."""


@wp.func
def speeds_drift(velocity: wp.array2d(dtype=wp.float32), before: wp.array2d(dtype=wp.float32)) -> wp.float32:
    """The largest difference between two sets of speeds; `before` becomes what is."""
    drift = wp.float32(0.0)
    for body in range(MOVING):
        for i in range(3):
            drift = wp.max(drift, wp.abs(velocity[body, i] - before[body, i]))
            before[body, i] = velocity[body, i]
    return drift


@wp.func
def note(
    joints: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), count: int,
    past: wp.array(dtype=wp.float32),
) -> None:  # fmt: skip
    """Keep all impulses."""
    for j in range(2):
        for i in range(JOINT_IMPULSES):
            past[JOINT_IMPULSES * j + i] = joints[j, PUSH_X + i]
    for i in range(count):
        past[2 * JOINT_IMPULSES + 2 * i] = points[i, PUSH]
        past[2 * JOINT_IMPULSES + 2 * i + 1] = points[i, SLIDE]


@wp.func
def sweeps_within(left: wp.float32, rate: wp.float32) -> wp.float32:
    """How many sweeps go by before something that is `left`, and shrinks at `rate` a sweep, is used up."""
    return wp.where(rate > wp.float32(0.0), wp.floor(left / rate) - wp.float32(1.0), wp.float32(ITERATIONS))


@wp.func
def joint_room(joints: wp.array2d(dtype=wp.float32), j: int, past: wp.array(dtype=wp.float32)) -> wp.float32:
    """How many sweeps a joint's motor stays below its strongest, and its limit pushes on."""
    motor = joints[j, MOTOR]
    side = wp.sign(motor)
    most = wp.where(j == 0, wp.float32(PUSH_0), wp.float32(PUSH_1))
    room = sweeps_within(most - wp.abs(motor), side * (motor - past[JOINT_IMPULSES * j + 3]))
    if joints[j, STATE] != wp.float32(0.0):
        limit = joints[j, LIMIT]
        shrinking = wp.sign(limit) * (past[JOINT_IMPULSES * j + 2] - limit)
        room = wp.min(room, sweeps_within(wp.abs(limit), shrinking))
    return room


@wp.func
def point_room(points: wp.array2d(dtype=wp.float32), i: int, past: wp.array(dtype=wp.float32)) -> wp.float32:
    """How many sweeps a point goes on to push, and to stick if it does."""
    push = points[i, PUSH]
    slide = points[i, SLIDE]
    place = 2 * JOINT_IMPULSES + 2 * i
    room = sweeps_within(push, past[place] - push)
    left = points[i, FRICTION] * push - wp.abs(slide)
    before = points[i, FRICTION] * past[place] - wp.abs(past[place + 1])
    # A point that slides stays at the edge of the cone, but for rounding.
    if left > wp.float32(1.0e-5) * push:
        room = wp.min(room, sweeps_within(left, before - left))
    return room


@wp.func
def repeat(
    joints: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), count: int,
    past: wp.array(dtype=wp.float32), most: int,
) -> int:  # fmt: skip
    """Let the impulses grow as in the last sweep, `most` times or until one comes to a bound; returns how often."""
    room = wp.min(joint_room(joints, 0, past), joint_room(joints, 1, past))
    for i in range(count):
        room = wp.min(room, point_room(points, i, past))
    times = wp.min(most, int(room))
    if times <= 0:
        return 0
    for j in range(2):
        for i in range(JOINT_IMPULSES):
            now = joints[j, PUSH_X + i]
            joints[j, PUSH_X + i] = now + wp.float32(times) * (now - past[JOINT_IMPULSES * j + i])
    for i in range(count):
        place = 2 * JOINT_IMPULSES + 2 * i
        points[i, PUSH] = points[i, PUSH] + wp.float32(times) * (points[i, PUSH] - past[place])
        points[i, SLIDE] = points[i, SLIDE] + wp.float32(times) * (points[i, SLIDE] - past[place + 1])
    return times


@wp.func
def sweep_all(
    velocity: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32),
    count: int, inner_speed: wp.float32, outer_speed: wp.float32,
) -> None:  # fmt: skip
    """Sweep over joints and contacts until no constraint pushes any more."""
    before = wp.zeros(shape=(MOVING, 3), dtype=wp.float32)
    past = wp.zeros(shape=(PAST,), dtype=wp.float32)
    warm_joint(velocity, joints, 1)
    warm_joint(velocity, joints, 0)
    sweep = int(0)
    change = wp.float32(1.0)
    while sweep < ITERATIONS and change > wp.float32(STILL):
        note(joints, points, count, past)
        change = solve_joint(velocity, joints, 1, outer_speed)
        change = wp.max(change, solve_joint(velocity, joints, 0, inner_speed))
        change = wp.max(change, solve_points(velocity, points, count))
        sweep = sweep + 1
        rounding = wp.float32(ROUNDING) * wp.max(wp.abs(joints[0, MOTOR]), wp.abs(joints[1, MOTOR]))
        if speeds_drift(velocity, before) <= wp.float32(STILL) + rounding and change > wp.float32(STILL):
            sweep = sweep + repeat(joints, points, count, past, ITERATIONS - sweep)
