"""Revolute joints with motors and limits, solved by sequential impulses as Box2D does (Catto, GDC 2006 and 2009)."""

from __future__ import annotations

import warp as wp

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import (
    INNER,
    INVERSE_INERTIA,
    INVERSE_MASS,
    JOINT,
    JOINT_IMPULSES,
    OUTER,
    TABLE,
    direction_of,
    place_of,
    shift,
    speed_at,
    turned,
)

LINEAR_SLOP, ANGULAR_SLOP = 0.005, 2.0 / 180.0 * 3.14159265359
"""Errors that the position solver leaves alone, m and rad."""
MAX_ANGULAR_CORRECTION = 8.0 / 180.0 * 3.14159265359
HALF_LINK = 0.5 * scene.LINK_LENGTH
ARM_X, ARM_Y, OTHER_X, OTHER_Y, KXX, KXY, KYY, KXZ, KYZ, KZZ, PUSH_X, PUSH_Y, LIMIT, MOTOR, STATE = range(15)
"""Of a joint: from the middles of its two bodies to it, its inverse mass, its impulses, and at which limit it is."""
JOINT_SIZE = 15
BASE_Y = scene.JOINTS[0][1]
OUTER_ANCHOR = -HALF_LINK + scene.OVERLAP
LIMIT_0, LIMIT_1 = scene.ANGLE_LIMITS
PUSH_0, PUSH_1 = (torque * scene.TIME_STEP for torque in scene.MOTOR_TORQUE)


@wp.func
def first_body(joint: int) -> int:
    """The body a joint is on, 0 the table and 1 the inner link."""
    return wp.where(joint == 0, TABLE, INNER)


@wp.func
def second_body(joint: int) -> int:
    """The link that turns in it."""
    return wp.where(joint == 0, INNER, OUTER)


@wp.func
def first_anchor(joint: int) -> wp.vec2:
    """Where the joint is in the frame of its first body."""
    return wp.where(joint == 0, wp.vec2(0.0, BASE_Y), wp.vec2(0.0, HALF_LINK))


@wp.func
def second_anchor(joint: int) -> wp.vec2:
    """Where the joint is in the frame of its second body."""
    return wp.where(joint == 0, wp.vec2(0.0, -HALF_LINK), wp.vec2(0.0, OUTER_ANCHOR))


@wp.func
def angle_limit(joint: int) -> wp.float32:
    """How far the joint turns to either side."""
    return wp.where(joint == 0, wp.float32(LIMIT_0), wp.float32(LIMIT_1))


@wp.func
def set_inverse_mass(
    joints: wp.array2d(dtype=wp.float32), j: int, a: int, b: int, arm: wp.vec2, other: wp.vec2
) -> None:
    """Fill in how the joint's point and angle answer to impulses."""
    mass = INVERSE_MASS[a] + INVERSE_MASS[b]
    ia = INVERSE_INERTIA[a]
    ib = INVERSE_INERTIA[b]
    joints[j, KXX] = mass + arm[1] * arm[1] * ia + other[1] * other[1] * ib
    joints[j, KXY] = -arm[0] * arm[1] * ia - other[0] * other[1] * ib
    joints[j, KYY] = mass + arm[0] * arm[0] * ia + other[0] * other[0] * ib
    joints[j, KXZ] = -arm[1] * ia - other[1] * ib
    joints[j, KYZ] = arm[0] * ia + other[0] * ib
    joints[j, KZZ] = ia + ib


@wp.func
def measure_joint(
    pose: wp.array2d(dtype=wp.float32), facing: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32),
    rows: wp.array2d(dtype=wp.float32), e: int, j: int,
) -> None:  # fmt: skip
    """Measure a joint where its bodies are, and read what it pushed in the last step."""
    a = first_body(j)
    b = second_body(j)
    arm = turned(wp.vec2(facing[a, 0], facing[a, 1]), first_anchor(j))
    other = turned(wp.vec2(facing[b, 0], facing[b, 1]), second_anchor(j))
    joints[j, ARM_X] = arm[0]
    joints[j, ARM_Y] = arm[1]
    joints[j, OTHER_X] = other[0]
    joints[j, OTHER_Y] = other[1]
    set_inverse_mass(joints, j, a, b, arm, other)
    for i in range(JOINT_IMPULSES):
        joints[j, PUSH_X + i] = rows[e, JOINT + JOINT_IMPULSES * j + i]
    angle = pose[b, 2] - pose[a, 2]
    state = wp.where(angle <= -angle_limit(j), wp.float32(-1.0), wp.float32(0.0))
    state = wp.where(angle >= angle_limit(j), wp.float32(1.0), state)
    joints[j, STATE] = state
    if state == wp.float32(0.0):
        joints[j, LIMIT] = wp.float32(0.0)


@wp.func
def warm_joint(velocity: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), j: int) -> None:
    """Begin from what the joint pushed in the last step."""
    push = wp.vec2(joints[j, PUSH_X], joints[j, PUSH_Y])
    twist = joints[j, LIMIT] + joints[j, MOTOR]
    shift(velocity, first_body(j), wp.vec2(joints[j, ARM_X], joints[j, ARM_Y]), -push, -twist)
    shift(velocity, second_body(j), wp.vec2(joints[j, OTHER_X], joints[j, OTHER_Y]), push, twist)


@wp.func
def solve_point(joints: wp.array2d(dtype=wp.float32), j: int, x: wp.float32, y: wp.float32) -> wp.vec2:
    """The impulse that changes the speed between the bodies at the joint by (x, y)."""
    det = joints[j, KXX] * joints[j, KYY] - joints[j, KXY] * joints[j, KXY]
    inverse = wp.where(det != wp.float32(0.0), wp.float32(1.0) / det, wp.float32(0.0))
    return inverse * wp.vec2(joints[j, KYY] * x - joints[j, KXY] * y, joints[j, KXX] * y - joints[j, KXY] * x)


@wp.func
def solve_weld(joints: wp.array2d(dtype=wp.float32), j: int, v: wp.vec3) -> wp.vec3:
    """The impulse that changes the speed between the bodies at the joint and their turn by v."""
    k = wp.mat33(
        joints[j, KXX], joints[j, KXY], joints[j, KXZ],
        joints[j, KXY], joints[j, KYY], joints[j, KYZ],
        joints[j, KXZ], joints[j, KYZ], joints[j, KZZ],
    )  # fmt: skip
    return wp.inverse(k) * v


@wp.func
def drive_joint(
    velocity: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), j: int, speed: wp.float32
) -> wp.float32:
    """Let the motor bring the joint to a speed, rad/s; returns by how much it has changed it."""
    a = first_body(j)
    b = second_body(j)
    most = wp.where(j == 0, wp.float32(PUSH_0), wp.float32(PUSH_1))
    before = joints[j, MOTOR]
    wanted = before - (velocity[b, 2] - velocity[a, 2] - speed) / joints[j, KZZ]
    joints[j, MOTOR] = wp.clamp(wanted, -most, most)
    twist = joints[j, MOTOR] - before
    velocity[a, 2] = velocity[a, 2] - INVERSE_INERTIA[a] * twist
    velocity[b, 2] = velocity[b, 2] + INVERSE_INERTIA[b] * twist
    return wp.abs(twist) * joints[j, KZZ]


@wp.func
def solve_joint(
    velocity: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), j: int, speed: wp.float32
) -> wp.float32:
    """Let the motor work, then hold the bodies together, and off the limit if the joint is at one.

    Returns the largest change of a speed at the joint, m/s or rad/s; it is not zero while two constraints contradict
    each other, although the speeds after a sweep may always be the same then.
    """
    a = first_body(j)
    b = second_body(j)
    change = drive_joint(velocity, joints, j, speed)
    arm = wp.vec2(joints[j, ARM_X], joints[j, ARM_Y])
    other = wp.vec2(joints[j, OTHER_X], joints[j, OTHER_Y])
    apart = speed_at(velocity, b, other) - speed_at(velocity, a, arm)
    push = wp.vec2(0.0, 0.0)
    twist = wp.float32(0.0)
    state = joints[j, STATE]
    if state != wp.float32(0.0):
        turn = velocity[b, 2] - velocity[a, 2]
        full = solve_weld(joints, j, -wp.vec3(apart[0], apart[1], turn))
        total = joints[j, LIMIT] + full[2]
        if state * total <= wp.float32(0.0):
            push = wp.vec2(full[0], full[1])
            twist = full[2]
        else:
            # A limit only pushes back; what is left is a joint without one.
            held = joints[j, LIMIT]
            push = solve_point(joints, j, held * joints[j, KXZ] - apart[0], held * joints[j, KYZ] - apart[1])
            twist = -held
    else:
        push = solve_point(joints, j, -apart[0], -apart[1])
    joints[j, PUSH_X] = joints[j, PUSH_X] + push[0]
    joints[j, PUSH_Y] = joints[j, PUSH_Y] + push[1]
    joints[j, LIMIT] = joints[j, LIMIT] + twist
    shift(velocity, a, arm, -push, -twist)
    shift(velocity, b, other, push, twist)
    return wp.max(change, wp.max(wp.length(apart), wp.abs(twist) * joints[j, KZZ]))


@wp.func
def correct_joint(pose: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), j: int) -> int:
    """Move the bodies together, and back from the limit; one if both errors were within the slop."""
    a = first_body(j)
    b = second_body(j)
    angular = wp.float32(0.0)
    state = joints[j, STATE]
    if state != wp.float32(0.0):
        beyond = state * (pose[b, 2] - pose[a, 2]) - angle_limit(j)
        angular = beyond
        back = wp.clamp(beyond - wp.float32(ANGULAR_SLOP), wp.float32(0.0), wp.float32(MAX_ANGULAR_CORRECTION))
        twist = -state * back / joints[j, KZZ]
        pose[a, 2] = pose[a, 2] - INVERSE_INERTIA[a] * twist
        pose[b, 2] = pose[b, 2] + INVERSE_INERTIA[b] * twist
    arm = turned(direction_of(pose, a), first_anchor(j))
    other = turned(direction_of(pose, b), second_anchor(j))
    error = place_of(pose, b) + other - place_of(pose, a) - arm
    set_inverse_mass(joints, j, a, b, arm, other)
    push = solve_point(joints, j, -error[0], -error[1])
    shift(pose, a, arm, -push, wp.float32(0.0))
    shift(pose, b, other, push, wp.float32(0.0))
    return wp.where(wp.length(error) <= wp.float32(LINEAR_SLOP) and angular <= wp.float32(ANGULAR_SLOP), 1, 0)
