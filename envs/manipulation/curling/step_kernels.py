"""One step of the scene, in Box2D's order: find contacts, solve velocities, move, correct poses."""

from __future__ import annotations

import warp as wp

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.arm_kernels import solve_arm
from cairngym.envs.manipulation.curling.body_kernels import (
    BALL,
    BODIES,
    CONTACT,
    INNER,
    JOINT,
    JOINT_IMPULSES,
    MOVING,
    OUTER,
    POSE,
    ROW,
    TABLE,
    VELOCITY,
    direction_of,
)
from cairngym.envs.manipulation.curling.contact_kernels import (
    MAX_POINTS,
    POINT_SIZE,
    PUSH,
    SLIDE,
    SLOT,
    recall,
    touch_links,
    touch_rest,
)
from cairngym.envs.manipulation.curling.contact_solver import correct_points, prepare_points, solve_points
from cairngym.envs.manipulation.curling.joint_kernels import (
    JOINT_SIZE,
    PUSH_X,
    correct_joint,
    measure_joint,
)
from cairngym.envs.manipulation.curling.sweep_kernels import STILL, sweep_all

wp.set_module_options({"enable_backward": False})

TIME_STEP, ITERATIONS = scene.TIME_STEP, scene.ITERATIONS
MAX_SPEED = scene.MAX_SPEED
DAMPING = 1.0 - scene.TIME_STEP * scene.BALL_DAMPING
"""Of the ball's speeds over a step, as the Box2D package 2.3.10 has it; later ones divide by 1 + dt c."""
FARTHEST, WIDEST = 2.0, 0.5 * 3.14159265359
"""A body moves and turns no more than this in a step, m and rad."""


@wp.func
def sweep_ball(velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), count: int) -> None:
    """Sweep over the ball's contacts with walls until none pushes any more."""
    sweep = int(0)
    change = wp.float32(1.0)
    while sweep < ITERATIONS and change > wp.float32(STILL):
        change = solve_points(velocity, points, count)
        sweep = sweep + 1


@wp.func
def move(pose: wp.array2d(dtype=wp.float32), velocity: wp.array2d(dtype=wp.float32), body: int) -> None:
    """Move a body for the time of a step, not farther than Box2D lets it."""
    speed = wp.length(wp.vec2(velocity[body, 0], velocity[body, 1]))
    turn = wp.abs(velocity[body, 2])
    if speed * wp.float32(TIME_STEP) > wp.float32(FARTHEST):
        for i in range(2):
            velocity[body, i] = velocity[body, i] * (wp.float32(FARTHEST / TIME_STEP) / speed)
    if turn * wp.float32(TIME_STEP) > wp.float32(WIDEST):
        velocity[body, 2] = velocity[body, 2] * (wp.float32(WIDEST / TIME_STEP) / turn)
    for i in range(3):
        pose[body, i] = pose[body, i] + wp.float32(TIME_STEP) * velocity[body, i]


@wp.func
def correct_poses(
    pose: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32),
    count: int,
) -> None:  # fmt: skip
    """Sweep over contacts and joints until overlaps and gaps are small."""
    sweep = int(0)
    good = int(0)
    while sweep < ITERATIONS and good < 3:
        good = correct_points(pose, points, count)
        good = good + correct_joint(pose, joints, 1)
        good = good + correct_joint(pose, joints, 0)
        sweep = sweep + 1


@wp.func
def keep(
    pose: wp.array2d(dtype=wp.float32), velocity: wp.array2d(dtype=wp.float32), joints: wp.array2d(dtype=wp.float32),
    points: wp.array2d(dtype=wp.float32), count: int, rows: wp.array2d(dtype=wp.float32), e: int,
) -> None:  # fmt: skip
    """Write world e back to its row, the impulses of contacts that are no more as zero."""
    for body in range(MOVING):
        for i in range(3):
            rows[e, POSE + 3 * body + i] = pose[body, i]
            rows[e, VELOCITY + 3 * body + i] = velocity[body, i]
    for j in range(2):
        for i in range(JOINT_IMPULSES):
            rows[e, JOINT + JOINT_IMPULSES * j + i] = joints[j, PUSH_X + i]
    for i in range(CONTACT, ROW):
        rows[e, i] = wp.float32(0.0)
    for i in range(count):
        place = CONTACT + 2 * int(points[i, SLOT])
        rows[e, place] = points[i, PUSH]
        rows[e, place + 1] = points[i, SLIDE]


@wp.func
def finite(action: wp.float32) -> wp.float32:
    """An action in [-1, 1]; zero for one that is not a number."""
    return wp.where(wp.isfinite(action), wp.clamp(action, wp.float32(-1.0), wp.float32(1.0)), wp.float32(0.0))


@wp.func
def advance(rows: wp.array2d(dtype=wp.float32), e: int, inner: wp.float32, outer: wp.float32) -> None:
    """Step world e with the joints' actions."""
    pose = wp.zeros(shape=(BODIES, 3), dtype=wp.float32)
    velocity = wp.zeros(shape=(BODIES, 3), dtype=wp.float32)
    facing = wp.zeros(shape=(BODIES, 2), dtype=wp.float32)
    joints = wp.zeros(shape=(2, JOINT_SIZE), dtype=wp.float32)
    points = wp.zeros(shape=(MAX_POINTS, POINT_SIZE), dtype=wp.float32)
    for body in range(MOVING):
        for i in range(3):
            pose[body, i] = rows[e, POSE + 3 * body + i]
            velocity[body, i] = rows[e, VELOCITY + 3 * body + i]
        direction = direction_of(pose, body)
        facing[body, 0] = direction[0]
        facing[body, 1] = direction[1]
    facing[TABLE, 0] = wp.float32(1.0)
    for i in range(3):
        velocity[BALL, i] = wp.float32(DAMPING) * velocity[BALL, i]
    inner_speed = wp.float32(MAX_SPEED) * finite(inner)
    outer_speed = wp.float32(MAX_SPEED) * finite(outer)
    touching = touch_links(pose, facing, points)
    count = touch_rest(pose, points, touching)
    recall(points, count, rows, e)
    measure_joint(pose, facing, joints, rows, e, 0)
    measure_joint(pose, facing, joints, rows, e, 1)
    prepare_points(pose, velocity, points, count)
    if touching > 0:
        sweep_all(velocity, joints, points, count, inner_speed, outer_speed)
    else:
        solve_arm(velocity, joints, inner_speed, outer_speed)
        sweep_ball(velocity, points, count)
    move(pose, velocity, INNER)
    move(pose, velocity, OUTER)
    move(pose, velocity, BALL)
    correct_poses(pose, joints, points, count)
    keep(pose, velocity, joints, points, count, rows, e)


@wp.kernel(enable_backward=False)
def step_worlds(actions: wp.array2d(dtype=wp.float32), rows: wp.array2d(dtype=wp.float32)) -> None:
    """Step every world."""
    e = wp.tid()
    advance(rows, e, actions[e, 0], actions[e, 1])
