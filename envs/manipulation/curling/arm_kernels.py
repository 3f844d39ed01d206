"""The arm by itself: what the sweeps of the velocity solver lead to where no link touches anything.

The motors are so strong that nothing else slows the joints, so the joints turn at the speeds asked for, the links
follow, and the impulses are what that takes. A joint at its limit whose motor goes on pushes is the exception: motor
and limit contradict each other, the joint stands still, and with every sweep both push more, which has to be taken
back, sweep by sweep, before the joint comes off its limit again. So it is in Box2D.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import (
    INNER,
    INVERSE_INERTIA,
    INVERSE_MASS,
    OUTER,
    cross,
)
from cairngym.envs.manipulation.curling.joint_kernels import (
    ARM_X,
    ARM_Y,
    KZZ,
    LIMIT,
    MOTOR,
    OTHER_X,
    OTHER_Y,
    PUSH_0,
    PUSH_1,
    PUSH_X,
    PUSH_Y,
    STATE,
)

ITERATIONS = scene.ITERATIONS


@wp.func
def turn_of(joints: wp.array2d(dtype=wp.float32), j: int, speed: wp.float32) -> wp.float32:
    """How fast a joint turns that is asked to turn at `speed`; what its motor has come to push is written down."""
    if joints[j, STATE] == wp.float32(0.0):
        return speed
    most = wp.where(j == 0, wp.float32(PUSH_0), wp.float32(PUSH_1))
    motor = wp.clamp(joints[j, MOTOR] + wp.float32(ITERATIONS) * speed / joints[j, KZZ], -most, most)
    limit = joints[j, LIMIT] + joints[j, MOTOR] - motor
    if joints[j, STATE] * limit > wp.float32(0.0):
        joints[j, STATE] = wp.float32(0.0)
        return speed
    joints[j, MOTOR] = motor
    return wp.float32(0.0)


@wp.func
def share_out(joints: wp.array2d(dtype=wp.float32), j: int, push: wp.vec2, twist: wp.float32) -> None:
    """Write down what a joint pushed in all, `twist` between its motor and its limit."""
    joints[j, PUSH_X] = push[0]
    joints[j, PUSH_Y] = push[1]
    if joints[j, STATE] == wp.float32(0.0):
        joints[j, MOTOR] = twist
    joints[j, LIMIT] = twist - joints[j, MOTOR]


@wp.func
def solve_arm(
    velocity: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), inner_speed: wp.float32,
    outer_speed: wp.float32,
) -> None:  # fmt: skip
    """Give the links their velocities, and the joints the impulses that it took."""
    held = joints[0, STATE]
    held_too = joints[1, STATE]
    inner = turn_of(joints, 0, inner_speed)
    outer = inner + turn_of(joints, 1, outer_speed)
    at_base = wp.vec2(joints[0, OTHER_X], joints[0, OTHER_Y])
    at_elbow = wp.vec2(joints[1, ARM_X], joints[1, ARM_Y])
    of_outer = wp.vec2(joints[1, OTHER_X], joints[1, OTHER_Y])
    # The velocity of a point is turn x (-y, x); the inner link stands still at its base, the outer one at the elbow
    # moves as the inner one does.
    inner_x = inner * at_base[1]
    inner_y = -inner * at_base[0]
    outer_x = inner_x - inner * at_elbow[1] + outer * of_outer[1]
    outer_y = inner_y + inner * at_elbow[0] - outer * of_outer[0]
    outer_mass = wp.float32(1.0) / INVERSE_MASS[OUTER]
    inner_mass = wp.float32(1.0) / INVERSE_MASS[INNER]
    push = outer_mass * wp.vec2(outer_x - velocity[OUTER, 0], outer_y - velocity[OUTER, 1])
    twist = (outer - velocity[OUTER, 2]) / INVERSE_INERTIA[OUTER] - cross(of_outer, push)
    base = push + inner_mass * wp.vec2(inner_x - velocity[INNER, 0], inner_y - velocity[INNER, 1])
    base_twist = (inner - velocity[INNER, 2]) / INVERSE_INERTIA[INNER] + cross(at_elbow, push) + twist
    share_out(joints, 1, push, twist)
    share_out(joints, 0, base, base_twist - cross(at_base, base))
    joints[0, STATE] = held
    joints[1, STATE] = held_too
    velocity[INNER, 0] = inner_x
    velocity[INNER, 1] = inner_y
    velocity[INNER, 2] = inner
    velocity[OUTER, 0] = outer_x
    velocity[OUTER, 1] = outer_y
    velocity[OUTER, 2] = outer
