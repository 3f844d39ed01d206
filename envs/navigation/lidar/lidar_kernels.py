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
BESIDE = 8
"""Beams that walk side by side."""
Walk = wp.types.matrix(shape=(5, BESIDE), dtype=wp.uint32)
"""For every beam the bits of the metres to the next upright and the next level grid line, its cell, what that holds,
and all bits set if it was entered just now."""
Way = wp.types.matrix(shape=(6, BESIDE), dtype=wp.uint32)
"""For every beam the bits of the metres from line to line, the step to the next row and what it differs by from that
along a row, and the same for the side that is passed."""
Reals = wp.types.vector(length=BESIDE, dtype=wp.float32)
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
def visit(plans: Plans, body: wp.array2d(dtype=wp.float32), seen: int, e: int, cell: int) -> None:
    """Mark a cell as seen; column `seen` of `body` counts those that had not been."""
    code = int(plans.cells[e, cell])
    if (code & c.UNSEEN) != 0:
        plans.cells[e, cell] = wp.uint16(code & ~c.UNSEEN)
        body[e, seen] = body[e, seen] + wp.float32(1.0)


STRETCH = """
#if defined(__CUDA_ARCH__)
    typedef wp::uint32 Words;
    typedef wp::float32 Reals;
    const int lanes = 1;
#else
    typedef wp::uint32 Words __attribute__((vector_size(32)));
    typedef wp::float32 Reals __attribute__((vector_size(32)));
    const int lanes = 8;
#endif
    const wp::uint16* row = (const wp::uint16*)address;
    for (int lane = 0; lane < 8; lane += lanes) {
        Reals next_x, next_y;
        Words cell, code, entered, per_x, per_y, step_y, step_either, side_y, side_either;
        memcpy(&next_x, &walk.data[0][lane], sizeof(Words));
        memcpy(&next_y, &walk.data[1][lane], sizeof(Words));
        memcpy(&cell, &walk.data[2][lane], sizeof(Words));
        memcpy(&per_x, &way.data[0][lane], sizeof(Words));
        memcpy(&per_y, &way.data[1][lane], sizeof(Words));
        memcpy(&step_y, &way.data[2][lane], sizeof(Words));
        memcpy(&step_either, &way.data[3][lane], sizeof(Words));
        memcpy(&side_y, &way.data[4][lane], sizeof(Words));
        memcpy(&side_either, &way.data[5][lane], sizeof(Words));
        memcpy(&code, &walk.data[3][lane], sizeof(Words));
        wp::uint32 going, found;
        do {
            Words x_bits, y_bits;
            memcpy(&x_bits, &next_x, sizeof(Words));
            memcpy(&y_bits, &next_y, sizeof(Words));
            // Bits of numbers that are not negative are ordered as the numbers are.
            Words sideways = 0u - ((x_bits - y_bits) >> 31);
            Words gone = y_bits ^ ((x_bits ^ y_bits) & sideways);
            Words blocked = code & (side_y ^ (side_either & sideways));
            entered = 0u - (((blocked - 1u) & (gone - farthest)) >> 31);
            cell += (step_y ^ (step_either & sideways)) & entered;
            x_bits = per_x & sideways & entered;
            y_bits = per_y & ~sideways & entered;
            Reals more_x, more_y;
            memcpy(&more_x, &x_bits, sizeof(Words));
            memcpy(&more_y, &y_bits, sizeof(Words));
            next_x += more_x;
            next_y += more_y;
#if defined(__CUDA_ARCH__)
            code = row[cell];
            going = entered;
            found = code & entered & special;
#else
            code = (Words){row[cell[0]], row[cell[1]], row[cell[2]], row[cell[3]],
                           row[cell[4]], row[cell[5]], row[cell[6]], row[cell[7]]};
            going = __builtin_reduce_or(entered);
            found = __builtin_reduce_or(code & entered & special);
#endif
        } while (going != 0 && found == 0);
        memcpy(&walk.data[0][lane], &next_x, sizeof(Words));
        memcpy(&walk.data[1][lane], &next_y, sizeof(Words));
        memcpy(&walk.data[2][lane], &cell, sizeof(Words));
        memcpy(&walk.data[3][lane], &code, sizeof(Words));
        memcpy(&walk.data[4][lane], &entered, sizeof(Words));
    }
    return walk;
"""
"""Steps of eight beams by masks, in the vector registers of a CPU and one by one on a GPU."""


@wp.func_native(STRETCH)
def stretch(address: wp.uint64, walk: Walk, way: Way, farthest: wp.uint32, special: wp.uint32) -> Walk:
    """Walk on from cell to cell until every beam has met something, or one has entered a cell with a `special` bit."""
    ...


@wp.func
def enter(
    plans: Plans, body: wp.array2d(dtype=wp.float32), seen: int, size: int, e: int,
    place: wp.vec2, beam: wp.vec2, over: wp.vec2, cell: int,
) -> wp.float32:  # fmt: skip
    """Mark a cell as seen and look for its clutter: metres along the beam to it, NEVER if there is none."""
    code = int(plans.cells[e, cell])
    if (code & c.UNSEEN) != 0:
        plans.cells[e, cell] = wp.uint16(code & ~c.UNSEEN)
        body[e, seen] = body[e, seen] + wp.float32(1.0)
    if (code & c.CLUTTER) == 0:
        return wp.float32(NEVER)
    return to_clutter(code, cell % size, cell // size, place, beam, over)


@wp.func
def cast(
    plans: Plans, body: wp.array2d(dtype=wp.float32), seen: int, size: int, e: int,
    place: wp.vec2, beam_x: Reals, beam_y: Reals, reach: wp.float32,
) -> Reals:  # fmt: skip
    """Metres from `place` along unit beams to the first wall or clutter, `reach` at most.

    Cells entered are marked as seen, and column `seen` of `body` counts those that had not been. A beam that has met
    something stays where it is: another step would find it there again.
    """
    x = int(place[0])
    y = int(place[1])
    inside_x = place[0] - wp.float32(x)
    inside_y = place[1] - wp.float32(y)
    here = x + size * y
    code = wp.uint32(plans.cells[e, here])
    walk = Walk()
    way = Way()
    over_x = Reals()
    over_y = Reals()
    for i in range(BESIDE):
        right = beam_x[i] > wp.float32(0.0)
        up = beam_y[i] > wp.float32(0.0)
        over_x[i] = inverse(beam_x[i])
        over_y[i] = inverse(beam_y[i])
        per_x = wp.abs(over_x[i])
        per_y = wp.abs(over_y[i])
        walk[0, i] = wp.cast(per_x * wp.where(right, wp.float32(1.0) - inside_x, inside_x), wp.uint32)
        walk[1, i] = wp.cast(per_y * wp.where(up, wp.float32(1.0) - inside_y, inside_y), wp.uint32)
        walk[2, i] = wp.uint32(here)
        walk[3, i] = code
        walk[4, i] = wp.uint32(-1)
        way[0, i] = wp.cast(per_x, wp.uint32)
        way[1, i] = wp.cast(per_y, wp.uint32)
        way[2, i] = wp.uint32(wp.where(up, size, -size))
        way[3, i] = way[2, i] ^ wp.uint32(wp.where(right, 1, -1))
        way[4, i] = wp.uint32(wp.where(up, c.UP, c.DOWN))
        way[5, i] = way[4, i] ^ wp.uint32(wp.where(right, c.RIGHT, c.LEFT))
    address = plans.address + wp.uint64(2 * size * size) * wp.uint64(e)
    special = wp.uint32(c.UNSEEN | c.CLUTTER)
    going = int(1)
    lanes = int(BESIDE)
    while going != 0:
        # A loop that is not unrolled: all that is known of the beams is in memory here, and few have entered a cell.
        for i in range(lanes):
            if (walk[3, i] & walk[4, i] & special) != wp.uint32(0):
                beam = wp.vec2(beam_x[i], beam_y[i])
                over = wp.vec2(over_x[i], over_y[i])
                met = enter(plans, body, seen, size, e, place, beam, over, int(walk[2, i]))
                if met < wp.float32(NEVER):
                    walk[0, i] = wp.cast(met, wp.uint32)
                    walk[1, i] = wp.cast(met, wp.uint32)
                    way[4, i] = wp.uint32(c.CLUTTER)
                    way[5, i] = wp.uint32(0)
        walk = stretch(address, walk, way, wp.cast(reach, wp.uint32), special)
        left = wp.uint32(0)
        for i in range(BESIDE):
            left = left | walk[4, i]
        going = int(left)
    length = Reals()
    for i in range(BESIDE):
        near = wp.min(wp.cast(walk[0, i], wp.float32), wp.cast(walk[1, i], wp.float32))
        length[i] = wp.min(near, reach)
    return length
