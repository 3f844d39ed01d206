"""One kernel for a whole environment step: drive, judge, count, reset, observe."""

from __future__ import annotations

import warp as wp

from cairngym.envs.life_kernels import DISABLED, NEXT_STEP, SAME_STEP, Life, next_life, record
from cairngym.envs.navigation.hard_maze.maze_map import START
from cairngym.envs.navigation.hard_maze.outputs import OBSERVATION_SIZE, POSE_SIZE
from cairngym.envs.navigation.hard_maze.robot_kernels import Body, drive, look

START_X, START_Y, START_HEADING = START
BODY_SIZE = 6
"""Numbers kept of a robot: those of `Body`, in order."""


@wp.struct
class Settings:
    """What stays the same from step to step."""

    num_envs: int
    horizon: int
    mode: int
    max_speed: wp.float32
    walls: wp.array2d(dtype=wp.float32)
    """(W, 4): both ends."""
    areas: wp.array2d(dtype=wp.float32)
    """(A, 3): middle and radius."""


@wp.func
def started() -> Body:
    """The robot at the start of an episode."""
    body = Body()
    body.x = wp.float32(START_X)
    body.y = wp.float32(START_Y)
    body.heading = wp.float32(START_HEADING)
    return body


@wp.func
def finite(value: wp.float32) -> wp.float32:
    """The action in [-1, 1]; zero for what is not finite."""
    return wp.where(wp.isfinite(value), wp.clamp(value, wp.float32(-1.0), wp.float32(1.0)), wp.float32(0.0))


@wp.func
def moved(settings: Settings, body: Body, left: wp.float32, right: wp.float32) -> Body:
    """The robot after an action."""
    return drive(settings.walls, body, finite(left) * settings.max_speed, finite(right) * settings.max_speed)


@wp.func
def worth(areas: wp.array2d(dtype=wp.float32), body: Body) -> wp.float32:
    """The reward for an episode that ends here: (r - d) / r in an area, zero outside of them."""
    best = wp.float32(0.0)
    for i in range(areas.shape[0]):
        far = wp.length(wp.vec2(body.x - areas[i, 0], body.y - areas[i, 1]))
        best = wp.max(best, (areas[i, 2] - far) / areas[i, 2])
    return best


@wp.func
def recall(bodies: wp.array2d(dtype=wp.float32), e: int) -> Body:
    """Robot e."""
    body = Body()
    body.x = bodies[e, 0]
    body.y = bodies[e, 1]
    body.heading = bodies[e, 2]
    body.negative_bumper = bodies[e, 3]
    body.positive_bumper = bodies[e, 4]
    body.stopped = bodies[e, 5]
    return body


@wp.func
def keep(bodies: wp.array2d(dtype=wp.float32), e: int, body: Body) -> None:
    """Store robot e."""
    bodies[e, 0] = body.x
    bodies[e, 1] = body.y
    bodies[e, 2] = body.heading
    bodies[e, 3] = body.negative_bumper
    bodies[e, 4] = body.positive_bumper
    bodies[e, 5] = body.stopped


@wp.func
def observe(
    settings: Settings, life: Life, body: Body, e: int, floats: wp.uint64, integers: wp.uint64, flags: wp.uint64,
    first: int, second: int,
) -> None:  # fmt: skip
    """Write all there is to know of robot e into copies `first` and `second` (0: current, 1: final) of the outputs."""
    n = settings.num_envs
    before = 2 * n * OBSERVATION_SIZE
    flat = wp.array(ptr=floats, shape=(before + 2 * n * POSE_SIZE,), dtype=wp.float32)
    steps = wp.array(ptr=integers, shape=(2 * n,), dtype=wp.int64)
    marks = wp.array(ptr=flags, shape=(2 * n,), dtype=wp.uint8)
    seen = look(settings.walls, body)
    for copy in range(2):
        row = wp.where(copy == 0, first, second) * n + e
        for i in range(OBSERVATION_SIZE):
            flat[row * OBSERVATION_SIZE + i] = seen[i]
        at = before + row * POSE_SIZE
        flat[at] = body.x
        flat[at + 1] = body.y
        flat[at + 2] = body.heading
        steps[row] = life.length[e]
        marks[row] = wp.uint8(body.stopped)


@wp.func
def report(
    settings: Settings, life: Life, e: int, reward: wp.float32, success: int, truncated: int, floats: wp.uint64,
    integers: wp.uint64, flags: wp.uint64,
) -> None:  # fmt: skip
    """Write what the step came to, and the episode's statistics so far, into the outputs."""
    n = settings.num_envs
    before = 2 * n * (OBSERVATION_SIZE + POSE_SIZE)
    flat = wp.array(ptr=floats, shape=(before + 2 * n,), dtype=wp.float32)
    flat[before + e] = reward
    flat[before + n + e] = life.returns[e]
    lengths = wp.array(ptr=integers, shape=(3 * n,), dtype=wp.int64)
    lengths[2 * n + e] = life.length[e]
    marks = wp.array(ptr=flags, shape=(7 * n,), dtype=wp.uint8)
    marks[2 * n + e] = wp.uint8(0)
    marks[3 * n + e] = wp.uint8(truncated)
    marks[4 * n + e] = wp.uint8(success)
    marks[5 * n + e] = life.succeeded[e]
    marks[6 * n + e] = wp.uint8(truncated)


@wp.kernel(enable_backward=False)
def step_robots(
    floats: wp.uint64, integers: wp.uint64, flags: wp.uint64, actions: wp.array2d(dtype=wp.float32),
    settings: Settings, bodies: wp.array2d(dtype=wp.float32), life: Life,
) -> None:  # fmt: skip
    """Step every world."""
    e = wp.tid()
    over = int(life.truncated[e])
    body = recall(bodies, e)
    reward = wp.float32(0.0)
    success = int(0)
    truncated = int(0)
    if over != 0 and settings.mode == NEXT_STEP:
        next_life(life, e)
        body = started()
    elif over != 0 and settings.mode == DISABLED:
        truncated = int(1)
    else:
        life.length[e] = life.length[e] + wp.int64(1)
        body = moved(settings, body, actions[e, 0], actions[e, 1])
        if int(life.length[e]) >= settings.horizon:
            truncated = int(1)
            reward = worth(settings.areas, body)
            success = wp.where(reward > wp.float32(0.0), 1, 0)
        record(life, e, reward, success, 0, truncated)
    report(settings, life, e, reward, success, truncated, floats, integers, flags)
    if truncated > 0 and settings.mode == SAME_STEP:
        observe(settings, life, body, e, floats, integers, flags, 1, 1)
        next_life(life, e)
        body = started()
        observe(settings, life, body, e, floats, integers, flags, 0, 0)
    else:
        observe(settings, life, body, e, floats, integers, flags, 0, 1)
    keep(bodies, e, body)


@wp.kernel(enable_backward=False)
def begin_robots(
    floats: wp.uint64, integers: wp.uint64, flags: wp.uint64, mask: wp.array(dtype=wp.uint8), settings: Settings,
    bodies: wp.array2d(dtype=wp.float32), life: Life,
) -> None:  # fmt: skip
    """Begin the masked worlds and observe all."""
    e = wp.tid()
    body = recall(bodies, e)
    if int(mask[e]) != 0:
        body = started()
        keep(bodies, e, body)
    observe(settings, life, body, e, floats, integers, flags, 0, 1)
