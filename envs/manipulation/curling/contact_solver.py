"""Contacts solved by sequential impulses as Box2D does: friction, restitution, pairs of points at once, correction.

The velocity solver is that of Catto, "Fast and simple physics using sequential impulses" (GDC 2006), the correction of
overlaps a separate relaxation of poses (nonlinear Gauss-Seidel).
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.manipulation.curling.body_kernels import (
    INVERSE_INERTIA,
    INVERSE_MASS,
    cross,
    place_of,
    shift,
    speed_at,
)
from cairngym.envs.manipulation.curling.contact_kernels import (
    ARM_X,
    ARM_Y,
    BOUNCE,
    FIRST,
    FRICTION,
    NORMAL_MASS,
    NORMAL_X,
    NORMAL_Y,
    OTHER_X,
    OTHER_Y,
    PAIRED,
    PUSH,
    SECOND,
    SECOND_SKIN,
    SKIN,
    SLIDE,
    TANGENT_MASS,
    TARGET,
    place_point,
)

BOUNCE_SPEED = 1.0
"""Slower impacts do not bounce, m/s."""
LINEAR_SLOP, MAX_CORRECTION, SHARE = 0.005, 0.2, 0.2
"""Overlap that is left, the most corrected at once, m, and the share of an overlap corrected in a sweep."""
CONDITION = 1000.0
"""Pairs of points whose equations are more alike than this are solved as one point."""


@wp.func
def arm_of(points: wp.array2d(dtype=wp.float32), i: int) -> wp.vec2:
    """From the middle of the first body to the point."""
    return wp.vec2(points[i, ARM_X], points[i, ARM_Y])


@wp.func
def other_of(points: wp.array2d(dtype=wp.float32), i: int) -> wp.vec2:
    """From the middle of the second body to the point."""
    return wp.vec2(points[i, OTHER_X], points[i, OTHER_Y])


@wp.func
def normal_of(points: wp.array2d(dtype=wp.float32), i: int) -> wp.vec2:
    """The normal, from the first body to the second."""
    return wp.vec2(points[i, NORMAL_X], points[i, NORMAL_Y])


@wp.func
def coupling(points: wp.array2d(dtype=wp.float32), i: int, k: int, along: wp.vec2) -> wp.float32:
    """How an impulse along a direction at point k changes the speed along it at point i of the same two bodies."""
    a = int(points[i, FIRST])
    b = int(points[i, SECOND])
    first = cross(arm_of(points, i), along) * cross(arm_of(points, k), along) * INVERSE_INERTIA[a]
    second = cross(other_of(points, i), along) * cross(other_of(points, k), along) * INVERSE_INERTIA[b]
    return INVERSE_MASS[a] + INVERSE_MASS[b] + first + second


@wp.func
def speed_apart(
    velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), i: int, along: wp.vec2
) -> wp.float32:
    """How fast the bodies part at the point, along a direction."""
    a = speed_at(velocity, int(points[i, FIRST]), arm_of(points, i))
    b = speed_at(velocity, int(points[i, SECOND]), other_of(points, i))
    return wp.dot(b - a, along)


@wp.func
def push_apart(
    velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), i: int, impulse: wp.vec2
) -> None:
    """Apply an impulse to both bodies at the point."""
    shift(velocity, int(points[i, FIRST]), arm_of(points, i), -impulse, wp.float32(0.0))
    shift(velocity, int(points[i, SECOND]), other_of(points, i), impulse, wp.float32(0.0))


@wp.func
def prepare_points(
    pose: wp.array2d(dtype=wp.float32), velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32),
    count: int,
) -> None:  # fmt: skip
    """Measure all points, and begin from what they pushed in the last step."""
    for i in range(count):
        point = place_point(pose, points, i)
        normal = normal_of(points, i)
        # In the middle between the skins of the two bodies.
        middle = wp.vec2(point[0], point[1]) + wp.float32(0.5) * (SKIN - points[i, SECOND_SKIN] - point[2]) * normal
        arm = middle - place_of(pose, int(points[i, FIRST]))
        other = middle - place_of(pose, int(points[i, SECOND]))
        points[i, ARM_X] = arm[0]
        points[i, ARM_Y] = arm[1]
        points[i, OTHER_X] = other[0]
        points[i, OTHER_Y] = other[1]
        points[i, NORMAL_MASS] = wp.float32(1.0) / coupling(points, i, i, normal)
        points[i, TANGENT_MASS] = wp.float32(1.0) / coupling(points, i, i, wp.vec2(normal[1], -normal[0]))
        speed = speed_apart(velocity, points, i, normal)
        fast = speed < wp.float32(-BOUNCE_SPEED)
        points[i, TARGET] = wp.where(fast, -points[i, BOUNCE] * speed, wp.float32(0.0))
    for i in range(count):
        if points[i, PAIRED] > wp.float32(0.0):
            k = coupling(points, i, i + 1, normal_of(points, i))
            one = wp.float32(1.0) / points[i, NORMAL_MASS]
            two = wp.float32(1.0) / points[i + 1, NORMAL_MASS]
            if one * one >= wp.float32(CONDITION) * (one * two - k * k):
                points[i, PAIRED] = wp.float32(2.0)
    for i in range(count):
        if not dropped(points, i):
            normal = normal_of(points, i)
            push_apart(
                velocity, points, i, points[i, PUSH] * normal + points[i, SLIDE] * wp.vec2(normal[1], -normal[0])
            )


@wp.func
def dropped(points: wp.array2d(dtype=wp.float32), i: int) -> wp.bool:
    """Whether the point before this one stands for it in the velocity solver."""
    if i == 0:
        return False  # type: ignore[return-value]
    return points[i - 1, PAIRED] == wp.float32(2.0)


@wp.func
def rub(velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), i: int) -> wp.float32:
    """Let friction work at a point, within the cone of what its normal pushed; returns the change of speed, m/s."""
    normal = normal_of(points, i)
    tangent = wp.vec2(normal[1], -normal[0])
    most = points[i, FRICTION] * points[i, PUSH]
    before = points[i, SLIDE]
    wanted = before - points[i, TANGENT_MASS] * speed_apart(velocity, points, i, tangent)
    points[i, SLIDE] = wp.clamp(wanted, -most, most)
    change = points[i, SLIDE] - before
    push_apart(velocity, points, i, change * tangent)
    return wp.abs(change) / points[i, TANGENT_MASS]


@wp.func
def press(velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), i: int) -> wp.float32:
    """Keep the bodies from overlapping at a point; contacts push and never pull. Returns the change of speed, m/s."""
    normal = normal_of(points, i)
    before = points[i, PUSH]
    missing = speed_apart(velocity, points, i, normal) - points[i, TARGET]
    points[i, PUSH] = wp.max(before - points[i, NORMAL_MASS] * missing, wp.float32(0.0))
    change = points[i, PUSH] - before
    push_apart(velocity, points, i, change * normal)
    return wp.abs(change) / points[i, NORMAL_MASS]


@wp.func
def press_pair(velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), i: int) -> wp.float32:
    """Keep the bodies from overlapping at points i and i + 1 at once: a complementarity problem of two numbers.

    Either both push, or one of them, or none; the first of these that is consistent is taken. Returns the change of
    speed, m/s.
    """
    normal = normal_of(points, i)
    k = coupling(points, i, i + 1, normal)
    one = wp.float32(1.0) / points[i, NORMAL_MASS]
    two = wp.float32(1.0) / points[i + 1, NORMAL_MASS]
    old = wp.vec2(points[i, PUSH], points[i + 1, PUSH])
    free_one = speed_apart(velocity, points, i, normal) - points[i, TARGET] - one * old[0] - k * old[1]
    free_two = speed_apart(velocity, points, i + 1, normal) - points[i + 1, TARGET] - k * old[0] - two * old[1]
    det = one * two - k * k
    both = wp.vec2(k * free_two - two * free_one, k * free_one - one * free_two) / det
    only_one = -free_one / one
    only_two = -free_two / two
    new = old
    if both[0] >= wp.float32(0.0) and both[1] >= wp.float32(0.0):
        new = both
    elif only_one >= wp.float32(0.0) and k * only_one + free_two >= wp.float32(0.0):
        new = wp.vec2(only_one, wp.float32(0.0))
    elif only_two >= wp.float32(0.0) and k * only_two + free_one >= wp.float32(0.0):
        new = wp.vec2(wp.float32(0.0), only_two)
    elif free_one >= wp.float32(0.0) and free_two >= wp.float32(0.0):
        new = wp.vec2(wp.float32(0.0), wp.float32(0.0))
    points[i, PUSH] = new[0]
    points[i + 1, PUSH] = new[1]
    push_apart(velocity, points, i, (new[0] - old[0]) * normal)
    push_apart(velocity, points, i + 1, (new[1] - old[1]) * normal)
    return wp.abs(new[0] - old[0]) * one + wp.abs(new[1] - old[1]) * two


@wp.func
def solve_points(
    velocity: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), count: int
) -> wp.float32:
    """One sweep over all points: for each contact friction first, then what keeps the bodies apart.

    Returns the largest change of a speed at a point, m/s.
    """
    change = wp.float32(0.0)
    i = int(0)
    while i < count:
        paired = points[i, PAIRED]
        change = wp.max(change, rub(velocity, points, i))
        if paired == wp.float32(1.0):
            change = wp.max(change, rub(velocity, points, i + 1))
            change = wp.max(change, press_pair(velocity, points, i))
        else:
            change = wp.max(change, press(velocity, points, i))
        i = i + wp.where(paired > wp.float32(0.0), 2, 1)
    return change


@wp.func
def correct_points(pose: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), count: int) -> int:
    """One sweep that moves overlapping bodies apart; one if all overlaps were small."""
    deepest = wp.float32(0.0)
    for i in range(count):
        point = place_point(pose, points, i)
        gap = point[2] - SKIN - points[i, SECOND_SKIN]
        deepest = wp.min(deepest, gap)
        overlap = wp.clamp(SHARE * (gap + LINEAR_SLOP), wp.float32(-MAX_CORRECTION), wp.float32(0.0))
        at = wp.vec2(point[0], point[1])
        arm = at - place_of(pose, int(points[i, FIRST]))
        other = at - place_of(pose, int(points[i, SECOND]))
        points[i, ARM_X] = arm[0]
        points[i, ARM_Y] = arm[1]
        points[i, OTHER_X] = other[0]
        points[i, OTHER_Y] = other[1]
        normal = normal_of(points, i)
        push_apart(pose, points, i, -overlap / coupling(points, i, i, normal) * normal)
    return wp.where(deepest >= wp.float32(-3.0 * LINEAR_SLOP), 1, 0)
