"""One kernel for a whole environment step: drive, judge, count, reset, observe."""

from __future__ import annotations

import warp as wp

from cairngym.envs.life_kernels import (
    DISABLED,
    NEXT_STEP,
    SAME_STEP,
    Life,
    key_of,
    next_life,
    record,
)  # fmt: skip
from cairngym.envs.navigation.lidar.body_kernels import drive, wrapped
from cairngym.envs.navigation.lidar.field_kernels import cell_at, way_to_goal
from cairngym.envs.navigation.lidar.lidar_kernels import BESIDE, Reals, cast
from cairngym.envs.navigation.lidar.outputs import FEATURES, MEASURES
from cairngym.envs.navigation.lidar.place_kernels import place_goal, place_start
from cairngym.envs.navigation.lidar.plan_kernels import Layout, Plans, build

X, Y, HEADING, SPEED, TURN, START_X, START_Y, START_HEADING = range(8)
"""What is known of a robot, in the building's frame: where it is, how fast, and where it started."""
GOAL_X, GOAL_Y, PLANNED, SEEN, COLLIDED, COSINE, SINE = range(8, 15)
"""Its goal, metres from start to goal, cells seen, whether it has collided, and the direction of its first heading."""
BODY_SIZE = 15


@wp.struct
class Settings:
    """What stays the same from step to step."""

    num_envs: int
    horizon: int
    mode: int
    beams: int
    reach: wp.float32
    radius: wp.float32
    max_speed: wp.float32
    max_turn: wp.float32
    time: wp.float32
    goal_radius: wp.float32


@wp.struct
class Robots:
    """N robots and the directions of their beams."""

    body: wp.array2d(dtype=wp.float32)
    """(N, BODY_SIZE)."""
    beams: wp.array2d(dtype=Reals)
    """(2, G): cosines and sines of the angles from the heading, by groups of beams; the last beam fills up its own."""


@wp.func
def in_start_frame(robots: Robots, e: int, place: wp.vec2) -> wp.vec2:
    """A point of the building as the robot's odometry has it: from its start, along its first heading."""
    off_x = place[0] - robots.body[e, START_X]
    off_y = place[1] - robots.body[e, START_Y]
    cosine = robots.body[e, COSINE]
    sine = robots.body[e, SINE]
    return wp.vec2(cosine * off_x + sine * off_y, cosine * off_y - sine * off_x)


@wp.func
def position_of(robots: Robots, e: int) -> wp.vec2:
    """Where the robot is in the building."""
    return wp.vec2(robots.body[e, X], robots.body[e, Y])


@wp.func
def goal_of(robots: Robots, e: int) -> wp.vec2:
    """Where its goal is in the building."""
    return wp.vec2(robots.body[e, GOAL_X], robots.body[e, GOAL_Y])


@wp.func
def distance_between(here: wp.vec2, there: wp.vec2) -> wp.float32:
    """Metres between two points, rounded as `goal_distance` rounds them, so that the verdict is its verdict.

    Every operation is made in double precision and cast: that is what single precision gives without fused products.
    """
    off_x = wp.float64(here[0] - there[0])
    off_y = wp.float64(here[1] - there[1])
    square_x = wp.float32(off_x * off_x)
    square_y = wp.float32(off_y * off_y)
    return wp.float32(wp.sqrt(wp.float64(wp.float32(wp.float64(square_x) + wp.float64(square_y)))))


@wp.func
def is_there(robots: Robots, settings: Settings, e: int) -> int:
    """One where robot e is at its goal."""
    here = in_start_frame(robots, e, position_of(robots, e))
    there = in_start_frame(robots, e, goal_of(robots, e))
    return wp.where(distance_between(here, there) <= settings.goal_radius, 1, 0)


@wp.func
def begin(robots: Robots, plans: Plans, layout: Layout, life: Life, e: int) -> None:
    """Start world e's episode in a floor plan of its own."""
    key = key_of(life, e)
    rooms = build(plans, layout, e, key)
    goal = place_goal(plans, layout, e, key)
    start = place_start(plans, layout, e, rooms, cell_at(goal, layout.size), key)
    for i in range(BODY_SIZE):
        robots.body[e, i] = wp.float32(0.0)
    for i in range(3):
        robots.body[e, X + i] = start[i]
        robots.body[e, START_X + i] = start[i]
    robots.body[e, COSINE] = wp.cos(start[2])
    robots.body[e, SINE] = wp.sin(start[2])
    robots.body[e, GOAL_X] = goal[0]
    robots.body[e, GOAL_Y] = goal[1]
    way = way_to_goal(plans, layout.size, e, wp.vec2(start[0], start[1]), goal)
    robots.body[e, PLANNED] = way[0]


@wp.func
def finite(action: wp.float32) -> wp.float32:
    """An action in [-1, 1]; zero for one that is not a number."""
    return wp.where(wp.isfinite(action), wp.clamp(action, wp.float32(-1.0), wp.float32(1.0)), wp.float32(0.0))


@wp.func
def move(
    robots: Robots, plans: Plans, layout: Layout, settings: Settings, e: int, forward: wp.float32, left: wp.float32
) -> int:
    """Drive robot e one step; one if it ran into something, where it stops."""
    speed = finite(forward) * settings.max_speed
    turn = finite(left) * settings.max_turn
    pose = wp.vec3(robots.body[e, X], robots.body[e, Y], robots.body[e, HEADING])
    after = drive(plans, layout.size, e, pose, speed, turn, settings.time, settings.radius)
    touched = after[3] > wp.float32(0.0)
    for i in range(3):
        robots.body[e, X + i] = after[i]
    robots.body[e, SPEED] = wp.where(touched, wp.float32(0.0), speed)
    robots.body[e, TURN] = wp.where(touched, wp.float32(0.0), turn)
    robots.body[e, COLLIDED] = after[3]
    return wp.where(touched, 1, 0)


@wp.func
def scan(
    robots: Robots, plans: Plans, layout: Layout, settings: Settings, e: int, floats: wp.uint64, first: int, second: int
) -> None:
    """Write the beams of robot e into copies `first` and `second` of the output."""
    width = settings.beams + FEATURES
    n = settings.num_envs
    line = wp.uint64(4 * width)
    one = wp.array(ptr=floats + wp.uint64(first * n + e) * line, shape=(width,), dtype=wp.float32)
    other = wp.array(ptr=floats + wp.uint64(second * n + e) * line, shape=(width,), dtype=wp.float32)
    cosine = wp.cos(robots.body[e, HEADING])
    sine = wp.sin(robots.body[e, HEADING])
    place = position_of(robots, e)
    for group in range(robots.beams.shape[1]):
        ahead = robots.beams[0, group]
        aside = robots.beams[1, group]
        beam_x = cosine * ahead - sine * aside
        beam_y = sine * ahead + cosine * aside
        length = cast(plans, robots.body, SEEN, layout.size, e, place, beam_x, beam_y, settings.reach)
        share = length / settings.reach
        for i in range(BESIDE):
            b = BESIDE * group + i
            if b < settings.beams:
                one[b] = share[i]
                other[b] = share[i]


@wp.func
def measure(
    robots: Robots, plans: Plans, layout: Layout, settings: Settings, e: int, floats: wp.uint64, first: int, second: int
) -> None:
    """Write all that is known of robot e but the beams into copies `first` and `second` of the output."""
    n = settings.num_envs
    width = settings.beams + FEATURES
    before = 2 * n * width
    flat = wp.array(ptr=floats, shape=(before + 8 * n + 2 * n * MEASURES,), dtype=wp.float32)
    here = in_start_frame(robots, e, position_of(robots, e))
    there = in_start_frame(robots, e, goal_of(robots, e))
    way = way_to_goal(plans, layout.size, e, position_of(robots, e), goal_of(robots, e))
    ahead = in_start_frame(robots, e, wp.vec2(way[1], way[2]))
    turned = wrapped(robots.body[e, HEADING] - robots.body[e, START_HEADING])
    cosine = wp.cos(turned)
    sine = wp.sin(turned)
    for copy in range(2):
        which = wp.where(copy == 0, first, second)
        after = (which * n + e) * width + settings.beams
        flat[after] = robots.body[e, SPEED] / settings.max_speed
        flat[after + 1] = robots.body[e, TURN] / settings.max_turn
        flat[after + 2] = cosine
        flat[after + 3] = sine
        place = before + (which * 2 * n + e) * 2
        goal = place + 2 * n
        for i in range(2):
            flat[place + i] = here[i]
            flat[goal + i] = there[i]
        at = before + 8 * n + (which * n + e) * MEASURES
        flat[at] = turned
        flat[at + 1] = cosine
        flat[at + 2] = sine
        flat[at + 3] = robots.body[e, SPEED]
        flat[at + 4] = robots.body[e, TURN]
        flat[at + 5] = distance_between(here, there)
        flat[at + 6] = way[0]
        flat[at + 7] = robots.body[e, PLANNED]
        flat[at + 8] = ahead[0]
        flat[at + 9] = ahead[1]
        flat[at + 10] = robots.body[e, SEEN] / wp.float32(layout.size * layout.size)
        flat[at + 11] = robots.body[e, COLLIDED]


@wp.func
def observe(
    robots: Robots, plans: Plans, layout: Layout, settings: Settings, e: int, floats: wp.uint64, first: int, second: int
) -> None:
    """Write all there is to know of robot e into copies `first` and `second` (0: current, 1: final) of the output."""
    scan(robots, plans, layout, settings, e, floats, first, second)
    measure(robots, plans, layout, settings, e, floats, first, second)


@wp.func
def report(
    settings: Settings, life: Life, e: int, reward: wp.float32, success: int, terminated: int, truncated: int,
    floats: wp.uint64, integers: wp.uint64, flags: wp.uint64,
) -> None:  # fmt: skip
    """Write what the step came to, and the episode's statistics so far, into the outputs."""
    n = settings.num_envs
    before = 2 * n * (settings.beams + FEATURES) + 8 * n + 2 * n * MEASURES
    flat = wp.array(ptr=floats, shape=(before + 2 * n,), dtype=wp.float32)
    flat[before + e] = reward
    flat[before + n + e] = life.returns[e]
    lengths = wp.array(ptr=integers, shape=(n,), dtype=wp.int64)
    lengths[e] = life.length[e]
    marks = wp.array(ptr=flags, shape=(5 * n,), dtype=wp.uint8)
    marks[e] = wp.uint8(terminated)
    marks[n + e] = wp.uint8(truncated)
    marks[2 * n + e] = wp.uint8(success)
    marks[3 * n + e] = life.succeeded[e]
    marks[4 * n + e] = wp.uint8(wp.max(terminated, truncated))


FETCH = """
#if !defined(__CUDA_ARCH__)
    __builtin_prefetch((const void*)address);
#endif
"""


@wp.func_native(FETCH)
def fetch(address: wp.uint64) -> None:
    """Ask a CPU to bring the bytes at an address near; a GPU hides such waits by itself."""
    ...


@wp.func
def fetch_world(robots: Robots, plans: Plans, size: int, e: int) -> None:
    """Ask for the floor plan of world e, and for the ways from where its robot is."""
    count = size * size
    for line in range((2 * count + 63) // 64):
        fetch(plans.address + wp.uint64(2 * count) * wp.uint64(e) + wp.uint64(64 * line))
    cell = wp.uint64(count) * wp.uint64(e) + wp.uint64(cell_at(position_of(robots, e), size))
    fetch(plans.ways_address + cell)
    for row in range(3):
        fetch(plans.field_address + wp.uint64(4) * (cell + wp.uint64((row - 1) * size)))


@wp.kernel(enable_backward=False)
def step_robots(
    offset: int, floats: wp.uint64, integers: wp.uint64, flags: wp.uint64, actions: wp.array2d(dtype=wp.float32),
    settings: Settings, layout: Layout, robots: Robots, plans: Plans, life: Life,
) -> None:  # fmt: skip
    """Step the worlds from `offset` on."""
    e = offset + wp.tid()
    fetch_world(robots, plans, layout.size, wp.min(e + 1, settings.num_envs - 1))
    over = int(life.terminated[e]) | int(life.truncated[e])
    reward = wp.float32(0.0)
    success = int(0)
    terminated = int(0)
    truncated = int(0)
    if over != 0 and settings.mode == NEXT_STEP:
        next_life(life, e)
        begin(robots, plans, layout, life, e)
    elif over != 0 and settings.mode == DISABLED:
        terminated = int(life.terminated[e])
        truncated = int(life.truncated[e])
    else:
        length = int(life.length[e]) + 1
        life.length[e] = wp.int64(length)
        touched = move(robots, plans, layout, settings, e, actions[e, 0], actions[e, 1])
        success = is_there(robots, settings, e)
        reward = wp.float32(success)
        terminated = wp.max(success, touched)
        truncated = wp.where(length >= settings.horizon, 1, 0)
        record(life, e, reward, success, terminated, truncated)
    report(settings, life, e, reward, success, terminated, truncated, floats, integers, flags)
    if terminated + truncated > 0 and settings.mode == SAME_STEP:
        observe(robots, plans, layout, settings, e, floats, 1, 1)
        next_life(life, e)
        begin(robots, plans, layout, life, e)
        observe(robots, plans, layout, settings, e, floats, 0, 0)
    else:
        observe(robots, plans, layout, settings, e, floats, 0, 1)


@wp.kernel(enable_backward=False)
def begin_robots(
    floats: wp.uint64, mask: wp.array(dtype=wp.uint8), settings: Settings, layout: Layout, robots: Robots, plans: Plans,
    life: Life,
) -> None:  # fmt: skip
    """Begin the masked worlds and observe all."""
    e = wp.tid()
    if int(mask[e]) != 0:
        begin(robots, plans, layout, life, e)
    observe(robots, plans, layout, settings, e, floats, 0, 1)
