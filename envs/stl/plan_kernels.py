"""Whether a plan can be carried out in a layout in time: straight ways, and around what stands in them."""

from __future__ import annotations

import warp as wp

DEPTH = 0.5
"""Share of a region's radius that a visit leaves between it and the region's centre."""
DETOUR = 1.1415927
"""A half circle is longer than the diameter it replaces by this much, pi - 2, times its radius."""
REGION, EARLIEST, LATEST, GAP, STAY, SHUN = range(6)
"""Columns of a visit."""
VISIT_COLUMNS = 6


@wp.struct
class Rules:
    """What layouts must satisfy; lengths in m, times in steps."""

    dims: int
    regions: int
    obstacles: int
    low: wp.vec3
    high: wp.vec3
    middle: wp.vec3
    start_low: wp.vec3
    start_high: wp.vec3
    region_radius: wp.vec2
    obstacle_radius: wp.vec2
    gap: wp.float32
    passage: wp.float32
    speed: wp.float32
    lag: wp.float32
    sizes: wp.array(dtype=wp.float32)
    hosts: wp.array(dtype=int)
    shunned: wp.array(dtype=int)
    plans: wp.array3d(dtype=int)


@wp.struct
class Layout:
    """Circles (N or 1, K or M, D + 1), starts (N, D) and the number of the plan that fits (N,)."""

    regions: wp.array3d(dtype=wp.float32)
    obstacles: wp.array3d(dtype=wp.float32)
    start: wp.array2d(dtype=wp.float32)
    plan: wp.array(dtype=int)


@wp.func
def circle_of(circles: wp.array3d(dtype=wp.float32), e: int, i: int, dims: int) -> wp.vec4:
    """Centre, its third coordinate zero in the plane, and radius."""
    z = wp.float32(0.0)
    if dims == 3:
        z = circles[e, i, 2]
    return wp.vec4(circles[e, i, 0], circles[e, i, 1], z, circles[e, i, dims])


@wp.func
def put_circle(circles: wp.array3d(dtype=wp.float32), e: int, i: int, dims: int, circle: wp.vec4) -> None:
    """Write a circle."""
    for d in range(dims):
        circles[e, i, d] = circle[d]
    circles[e, i, dims] = circle[3]


@wp.func
def centre_of(circle: wp.vec4) -> wp.vec3:
    """Its centre."""
    return wp.vec3(circle[0], circle[1], circle[2])


@wp.func
def room_between(a: wp.vec4, b: wp.vec4) -> wp.float32:
    """Metres between two surfaces; negative where they overlap."""
    return wp.length(centre_of(a) - centre_of(b)) - a[3] - b[3]


@wp.func
def detour(circle: wp.vec4, here: wp.vec3, there: wp.vec3, berth: wp.float32) -> wp.float32:
    """Metres that going around a circle adds at most to the straight way, keeping `berth` from it."""
    way = there - here
    share = wp.dot(centre_of(circle) - here, way) / wp.max(wp.dot(way, way), wp.float32(1.0e-9))
    nearest = here + wp.clamp(share, wp.float32(0.0), wp.float32(1.0)) * way
    wide = circle[3] + berth
    if wp.length(centre_of(circle) - nearest) >= wide:
        return wp.float32(0.0)
    return wp.float32(DETOUR) * wide


@wp.func
def way_length(layout: Layout, row: int, here: wp.vec3, there: wp.vec3, shun: int, rules: Rules) -> wp.float32:
    """Metres from one point to another: straight, and around every circle in the way."""
    berth = wp.float32(0.5) * rules.passage
    length = wp.float32(wp.length(there - here))
    for k in range(rules.obstacles):
        length = length + detour(circle_of(layout.obstacles, row, k, rules.dims), here, there, berth)
    if shun >= 0:
        length = length + detour(circle_of(layout.regions, row, shun, rules.dims), here, there, berth)
    return length


@wp.func
def aim_at(here: wp.vec3, circle: wp.vec4) -> wp.vec3:
    """The nearest point of a region that lies `DEPTH` of its radius or less from its centre."""
    off = here - centre_of(circle)
    distance = wp.float32(wp.length(off))
    if distance <= wp.float32(DEPTH) * circle[3]:
        return here
    return centre_of(circle) + (wp.float32(DEPTH) * circle[3] / distance) * off


@wp.func
def end_of_plan(layout: Layout, row: int, start: wp.vec3, p: int, rules: Rules) -> wp.float32:
    """The step at which plan p is done, or -1 where it can't be made in time."""
    here = start
    time = wp.float32(0.0)
    for v in range(rules.plans.shape[1]):
        region = rules.plans[p, v, REGION]
        if region >= 0:
            there = aim_at(here, circle_of(layout.regions, row, region, rules.dims))
            length = way_length(layout, row, here, there, rules.plans[p, v, SHUN], rules)
            reached = wp.max(time + rules.lag + length / rules.speed, wp.float32(rules.plans[p, v, EARLIEST]))
            latest = wp.min(wp.float32(rules.plans[p, v, LATEST]), time + wp.float32(rules.plans[p, v, GAP]))
            if reached > latest:
                return wp.float32(-1.0)
            time = reached + wp.float32(rules.plans[p, v, STAY])
            here = there
    return time


@wp.func
def best_plan(layout: Layout, row: int, start: wp.vec3, rules: Rules) -> int:
    """The plan that is done first, or -1 where none can be made in time."""
    best = int(-1)
    least = wp.float32(1.0e9)
    for p in range(rules.plans.shape[0]):
        end = end_of_plan(layout, row, start, p, rules)
        if end >= wp.float32(0.0) and end < least:
            least = end
            best = p
    return best
