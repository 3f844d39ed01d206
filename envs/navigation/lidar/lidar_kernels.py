"""Beams through a floor plan: from cell to cell, as Amanatides and Woo walk a grid (Eurographics 1987).

Walls lie on grid lines, so a beam meets one exactly where it would leave a cell whose side is closed; clutter lies well
inside a cell, so it is met only by beams that cross that cell. Every cell that a beam enters counts as seen.
"""

from __future__ import annotations

import warp as wp

from cairngym.envs.navigation.lidar import cells as c
from cairngym.envs.navigation.lidar.plan_kernels import Plans

NEVER = 1.0e9
"""Metres to what a beam does not meet."""
HALF_LEAST, HALF_STEP = c.HALF_LEAST, c.HALF_STEP
BESIDE = 4
"""Beams that walk side by side."""
SHIFT_STEP = 2.0 / (c.LEVELS - 1)
ROOM = 0.5 - c.INSET


@wp.func
def half_of(code: int, shift: int) -> wp.float32:
    """Half a side of a box, or a disc's radius, m."""
    return wp.float32(HALF_LEAST) + wp.float32(HALF_STEP) * wp.float32((code >> shift) & 3)


@wp.func
def clutter_at(code: int, x: int, y: int) -> wp.vec4:
    """The clutter in cell (x, y): its centre and half sides, both of them the radius of a disc, m."""
    half_x = half_of(code, c.HALF_X)
    half_y = half_of(code, c.HALF_Y)
    if ((code >> c.KIND) & 3) == c.DISC:
        half_y = half_x
    shift_x = wp.float32(SHIFT_STEP) * wp.float32((code >> c.OFFSET_X) & 3) - wp.float32(1.0)
    shift_y = wp.float32(SHIFT_STEP) * wp.float32((code >> c.OFFSET_Y) & 3) - wp.float32(1.0)
    centre_x = wp.float32(x) + wp.float32(0.5) + shift_x * (wp.float32(ROOM) - half_x)
    centre_y = wp.float32(y) + wp.float32(0.5) + shift_y * (wp.float32(ROOM) - half_y)
    return wp.vec4(centre_x, centre_y, half_x, half_y)


@wp.func
def to_disc(away: wp.vec2, beam: wp.vec2, radius: wp.float32) -> wp.float32:
    """Metres along a unit beam to a disc whose centre is `away`; NEVER if it misses."""
    along = wp.dot(away, beam)
    off = away[0] * beam[1] - away[1] * beam[0]
    rest = radius * radius - off * off
    if rest < wp.float32(0.0) or along < wp.float32(0.0):
        return wp.float32(NEVER)
    return along - wp.sqrt(rest)


@wp.func
def inverse(slope: wp.float32) -> wp.float32:
    """One over a direction's part along an axis; NEVER where it is nearly none."""
    if wp.abs(slope) < wp.float32(1.0e-9):
        return wp.float32(NEVER)
    return wp.float32(1.0) / slope


@wp.func
def to_box(away: wp.vec2, over: wp.vec2, half_x: wp.float32, half_y: wp.float32) -> wp.float32:
    """Metres along a beam to a box whose centre is `away`; `over` is one over the beam's direction."""
    first_x = (away[0] - half_x) * over[0]
    second_x = (away[0] + half_x) * over[0]
    first_y = (away[1] - half_y) * over[1]
    second_y = (away[1] + half_y) * over[1]
    enter = wp.max(wp.min(first_x, second_x), wp.min(first_y, second_y))
    leave = wp.min(wp.max(first_x, second_x), wp.max(first_y, second_y))
    return wp.where(enter <= leave and enter >= wp.float32(0.0), enter, wp.float32(NEVER))


@wp.func
def to_clutter(code: int, x: int, y: int, place: wp.vec2, beam: wp.vec2, over: wp.vec2) -> wp.float32:
    """Metres along a beam to the clutter in cell (x, y); NEVER if it misses."""
    thing = clutter_at(code, x, y)
    away = wp.vec2(thing[0] - place[0], thing[1] - place[1])
    if ((code >> c.KIND) & 3) == c.DISC:
        return to_disc(away, beam, thing[2])
    return to_box(away, over, thing[2], thing[3])


@wp.func
def visit(plans: Plans, body: wp.array2d(dtype=wp.float32), seen: int, e: int, cell: int, code: int) -> None:
    """Mark a cell as seen; column `seen` of `body` counts those that had not been."""
    if (code & c.UNSEEN) != 0:
        plans.cells[e, cell] = wp.uint16(code & ~c.UNSEEN)
        body[e, seen] = body[e, seen] + wp.float32(1.0)


@wp.func
def cast(
    plans: Plans, body: wp.array2d(dtype=wp.float32), seen: int, size: int, e: int,
    place: wp.vec2, beam_x: wp.vec4, beam_y: wp.vec4, reach: wp.float32,
) -> wp.vec4:  # fmt: skip
    """Metres from `place` along four unit beams to the first wall or clutter, `reach` at most.

    The four walk in step, since a processor has time for all while it waits for one. One that has met something
    stays where it is: another step would find it there again.
    """
    x = int(place[0])
    y = int(place[1])
    inside_x = place[0] - wp.float32(x)
    inside_y = place[1] - wp.float32(y)
    here = x + size * y
    first = int(plans.cells[e, here])
    visit(plans, body, seen, e, here, first)
    over_x = wp.vec4()
    over_y = wp.vec4()
    next_x = wp.vec4()
    next_y = wp.vec4()
    step_x = wp.vec4i()
    step_y = wp.vec4i()
    side_x = wp.vec4i()
    side_y = wp.vec4i()
    cell = wp.vec4i(here)
    code = wp.vec4i(first)
    for i in range(BESIDE):
        right = beam_x[i] > wp.float32(0.0)
        up = beam_y[i] > wp.float32(0.0)
        over_x[i] = inverse(beam_x[i])
        over_y[i] = inverse(beam_y[i])
        next_x[i] = wp.abs(over_x[i]) * wp.where(right, wp.float32(1.0) - inside_x, inside_x)
        next_y[i] = wp.abs(over_y[i]) * wp.where(up, wp.float32(1.0) - inside_y, inside_y)
        step_x[i] = wp.where(right, 1, -1)
        step_y[i] = wp.where(up, size, -size)
        side_x[i] = wp.where(right, c.RIGHT, c.LEFT)
        side_y[i] = wp.where(up, c.UP, c.DOWN)
    going = int(1)
    while going != 0:
        going = int(0)
        for i in range(BESIDE):
            # What comes next is a coin toss: selections cost less than the branches a processor would mistake.
            sideways = next_x[i] < next_y[i]
            blocked = code[i] & wp.where(sideways, side_x[i], side_y[i])
            onward = blocked == 0 and wp.min(next_x[i], next_y[i]) < reach
            cell[i] = cell[i] + wp.where(onward, wp.where(sideways, step_x[i], step_y[i]), 0)
            next_x[i] = next_x[i] + wp.where(onward and sideways, wp.abs(over_x[i]), wp.float32(0.0))
            next_y[i] = next_y[i] + wp.where(onward and not sideways, wp.abs(over_y[i]), wp.float32(0.0))
            code[i] = int(plans.cells[e, cell[i]])
            going = going | wp.where(onward, 1, 0)
            if onward and (code[i] & (c.UNSEEN | c.CLUTTER)) != 0:
                visit(plans, body, seen, e, cell[i], code[i])
                if (code[i] & c.CLUTTER) != 0:
                    beam = wp.vec2(beam_x[i], beam_y[i])
                    over = wp.vec2(over_x[i], over_y[i])
                    met = to_clutter(code[i], cell[i] % size, cell[i] // size, place, beam, over)
                    if met < wp.float32(NEVER):
                        next_x[i] = met
                        next_y[i] = met
                        side_x[i] = c.CLUTTER
                        side_y[i] = c.CLUTTER
    length = wp.vec4()
    for i in range(BESIDE):
        length[i] = wp.min(wp.min(next_x[i], next_y[i]), reach)
    return length
