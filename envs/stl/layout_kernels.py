"""Where regions and obstacles lie and where episodes start, drawn by rejection: one thread per env.

A layout is accepted where nothing overlaps that should not, and where one of the template's plans can be carried out
in time. Every attempt draws from a box a little smaller, so that tight horizons get short ways.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.life_kernels import LEVEL_STREAM
from cairngym.envs.random_kernels import Key, words
from cairngym.envs.stl.plan_kernels import Layout, Rules, best_plan, centre_of, circle_of, put_circle, room_between

ATTEMPTS = 512
"""Layouts drawn for an episode at most."""
TRIES = 12
"""Places tried for one circle of an attempt, and starts."""
SHRINK, LEAST = 0.985, 0.15
"""Factor of the box from one attempt to the next, and the least share of the arena it may be."""
START_TRIES = 64
"""Starts tried in a layout that is fixed."""
START_BLOCK = 1 << 16
"""First block of the words that starts in a fixed layout are drawn from."""


@wp.func
def unit(word: wp.uint32) -> wp.float32:
    """A number in [0, 1) from one word, 24 bits."""
    return wp.float32(word >> wp.uint32(8)) * wp.float32(5.9604645e-08)


@wp.func
def between(word: wp.uint32, low: wp.float32, high: wp.float32) -> wp.float32:
    """A number in [low, high)."""
    return low + unit(word) * (high - low)


@wp.func
def drawn_circle(w: wp.vec4ui, r: wp.float32, rules: Rules, share: wp.float32, walls: wp.float32) -> wp.vec4:
    """A circle of radius r in the arena, `walls` m from its sides and within `share` of the way to them."""
    place = wp.vec3(0.0, 0.0, 0.0)
    for d in range(rules.dims):
        low = wp.max(rules.low[d] + r + walls, rules.middle[d] - share * (rules.middle[d] - rules.low[d]))
        high = wp.min(rules.high[d] - r - walls, rules.middle[d] + share * (rules.high[d] - rules.middle[d]))
        place[d] = between(w[d], low, wp.max(low, high))
    return wp.vec4(place[0], place[1], place[2], r)


@wp.func
def hosted_circle(w: wp.vec4ui, r: wp.float32, host: wp.vec4, dims: int) -> wp.vec4:
    """A circle of radius r well inside another one, at most half way from its centre to its rim."""
    small = wp.min(r, wp.float32(0.6) * host[3])
    reach = wp.float32(0.5) * (host[3] - small) / wp.sqrt(wp.float32(dims))
    place = centre_of(host)
    for d in range(dims):
        place[d] = place[d] + between(w[d], -reach, reach)
    return wp.vec4(place[0], place[1], place[2], small)


@wp.func
def region_fits(layout: Layout, e: int, i: int, circle: wp.vec4, rules: Rules) -> int:
    """One where region i keeps the gap to every region before it but its host."""
    for k in range(i):
        if k != rules.hosts[i] and room_between(circle, circle_of(layout.regions, e, k, rules.dims)) < rules.gap:
            return 0
    return 1


@wp.func
def obstacle_fits(layout: Layout, e: int, i: int, circle: wp.vec4, rules: Rules) -> int:
    """One where obstacle i leaves a passage to every region and every obstacle before it."""
    for k in range(rules.regions):
        if room_between(circle, circle_of(layout.regions, e, k, rules.dims)) < rules.passage:
            return 0
    for k in range(i):
        if room_between(circle, circle_of(layout.obstacles, e, k, rules.dims)) < rules.passage:
            return 0
    return 1


@wp.func
def place_region(layout: Layout, e: int, i: int, rules: Rules, share: wp.float32, key: Key, attempt: int) -> int:
    """Draw region i; returns one where a place was found."""
    for t in range(TRIES):
        w = words(key, LEVEL_STREAM, i * TRIES + t, attempt)
        r = rules.sizes[i] * between(w[3], rules.region_radius[0], rules.region_radius[1])
        # What is to be shunned can be passed on either side.
        circle = drawn_circle(w, r, rules, share, wp.float32(rules.shunned[i]) * rules.passage)
        if rules.hosts[i] >= 0:
            circle = hosted_circle(w, r, circle_of(layout.regions, e, rules.hosts[i], rules.dims), rules.dims)
        if region_fits(layout, e, i, circle, rules) == 1:
            put_circle(layout.regions, e, i, rules.dims, circle)
            return 1
    return 0


@wp.func
def place_obstacle(layout: Layout, e: int, i: int, rules: Rules, share: wp.float32, key: Key, attempt: int) -> int:
    """Draw obstacle i; returns one where a place was found."""
    for t in range(TRIES):
        w = words(key, LEVEL_STREAM, (rules.regions + i) * TRIES + t, attempt)
        r = between(w[3], rules.obstacle_radius[0], rules.obstacle_radius[1])
        circle = drawn_circle(w, r, rules, share, rules.passage)
        if obstacle_fits(layout, e, i, circle, rules) == 1:
            put_circle(layout.obstacles, e, i, rules.dims, circle)
            return 1
    return 0


@wp.func
def place_circles(layout: Layout, e: int, rules: Rules, key: Key, attempt: int) -> int:
    """Draw every region and obstacle; returns one where all found a place."""
    share = wp.max(wp.pow(wp.float32(SHRINK), wp.float32(attempt)), wp.float32(LEAST))
    for i in range(rules.regions):
        if place_region(layout, e, i, rules, share, key, attempt) == 0:
            return 0
    for i in range(rules.obstacles):
        # Obstacles spread wider than regions, or the shortest ways would be the most crowded.
        if place_obstacle(layout, e, i, rules, wp.sqrt(share), key, attempt) == 0:
            return 0
    return 1


@wp.func
def drawn_start(w: wp.vec4ui, rules: Rules) -> wp.vec3:
    """A point of the start area."""
    place = wp.vec3(0.0, 0.0, 0.0)
    for d in range(rules.dims):
        place[d] = between(w[d], rules.start_low[d], rules.start_high[d])
    return place


@wp.func
def start_is_free(layout: Layout, row: int, place: wp.vec3, rules: Rules) -> int:
    """One where a point lies outside of every region and obstacle, half a passage away from what is to be shunned."""
    point = wp.vec4(place[0], place[1], place[2], 0.0)
    berth = wp.float32(0.5) * rules.passage
    for k in range(rules.regions):
        room = room_between(point, circle_of(layout.regions, row, k, rules.dims))
        if room <= wp.float32(rules.shunned[k]) * berth:
            return 0
    for k in range(rules.obstacles):
        if room_between(point, circle_of(layout.obstacles, row, k, rules.dims)) < berth:
            return 0
    return 1


@wp.func
def take_start(layout: Layout, e: int, row: int, start: wp.vec3, rules: Rules) -> int:
    """Begin at a point if it is free and a plan fits; returns one where so."""
    if start_is_free(layout, row, start, rules) == 0:
        return 0
    plan = best_plan(layout, row, start, rules)
    if plan < 0:
        return 0
    layout.plan[e] = plan
    for d in range(rules.dims):
        layout.start[e, d] = start[d]
    return 1


@wp.func
def lay_out(layout: Layout, e: int, rules: Rules, key: Key) -> int:
    """Draw a layout, a start and a plan for row e; returns one where an attempt was accepted."""
    for attempt in range(ATTEMPTS):
        if place_circles(layout, e, rules, key, attempt) == 1:
            for t in range(TRIES):
                w = words(key, LEVEL_STREAM, START_BLOCK + t, attempt)
                if take_start(layout, e, e, drawn_start(w, rules), rules) == 1:
                    return 1
    return 0


@wp.func
def copy_layout(layout: Layout, e: int, known: Layout, rules: Rules) -> None:
    """Take over all of row 0 of a layout that was accepted before."""
    for i in range(rules.regions):
        put_circle(layout.regions, e, i, rules.dims, circle_of(known.regions, 0, i, rules.dims))
    for i in range(rules.obstacles):
        put_circle(layout.obstacles, e, i, rules.dims, circle_of(known.obstacles, 0, i, rules.dims))
    copy_start(layout, e, known, rules)


@wp.func
def copy_start(layout: Layout, e: int, known: Layout, rules: Rules) -> None:
    """Take over the start and the plan of row 0 of a layout that was accepted before."""
    for d in range(rules.dims):
        layout.start[e, d] = known.start[0, d]
    layout.plan[e] = known.plan[0]


@wp.kernel(enable_backward=False)
def find_layout(layout: Layout, rules: Rules, low: wp.uint32, high: wp.uint32, found: wp.array(dtype=int)) -> None:
    """Draw the layout of a number, apart from all episodes."""
    e = wp.tid()
    found[e] = lay_out(layout, e, rules, Key(low, high, wp.uint32(e), wp.uint32(0)))


@wp.kernel(enable_backward=False)
def begin_layouts(
    mask: wp.array(dtype=wp.uint8), env: wp.array(dtype=wp.int64), episode: wp.array(dtype=wp.int64),
    low: wp.uint32, high: wp.uint32, rules: Rules, known: Layout, layout: Layout,
) -> None:  # fmt: skip
    """Give every masked env a layout of its own; the known one where no attempt was accepted."""
    e = wp.tid()
    if mask[e] == wp.uint8(0):
        return
    key = Key(low, high, wp.uint32(env[e]), wp.uint32(episode[e]))
    if lay_out(layout, e, rules, key) == 0:
        copy_layout(layout, e, known, rules)


@wp.kernel(enable_backward=False)
def begin_starts(
    mask: wp.array(dtype=wp.uint8), env: wp.array(dtype=wp.int64), episode: wp.array(dtype=wp.int64),
    low: wp.uint32, high: wp.uint32, rules: Rules, known: Layout, layout: Layout,
) -> None:  # fmt: skip
    """Give every masked env a start in the known layout; the known start where no try was accepted."""
    e = wp.tid()
    if mask[e] == wp.uint8(0):
        return
    key = Key(low, high, wp.uint32(env[e]), wp.uint32(episode[e]))
    for t in range(START_TRIES):
        w = words(key, LEVEL_STREAM, START_BLOCK + t, ATTEMPTS)
        if take_start(layout, e, 0, drawn_start(w, rules), rules) == 1:
            return
    copy_start(layout, e, known, rules)
