"""Where the ball and the links touch each other and the walls: a point a row.

Shapes touch as in Box2D: polygons have a skin, and the part of a polygon nearest to the ball's middle, a side or a
corner, is what the ball touches. The faces of the walls are taken to be without end.
"""

from __future__ import annotations

import math

import warp as wp

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import (
    BALL,
    BALL_WALL,
    CONTACT,
    CORNERS,
    INNER,
    INNER_BALL,
    OUTER,
    OUTER_BALL,
    TABLE,
    WALLS,
    direction_of,
    place_of,
    turned,
    turned_back,
)

MAX_POINTS = 8
"""Both corners of the outer link on two walls, both links on the ball, the ball on two walls."""
FIRST, SECOND, SLOT, PAIRED, FRICTION, BOUNCE, SECOND_SKIN, PUSH, SLIDE = range(9)
"""Of a point: its bodies, the slot of its impulses, whether it shares a face with the next row, friction, restitution,
the skin or radius of the second body, and the impulses along the normal and along the tangent."""
FACE_X, FACE_Y, AT_X, AT_Y, OF_X, OF_Y = range(9, 15)
"""The normal and a point of the touched face in the first body's frame, the touching point in the second's frame."""
NORMAL_X, NORMAL_Y, ARM_X, ARM_Y, OTHER_X, OTHER_Y, NORMAL_MASS, TANGENT_MASS, TARGET = range(15, 24)
"""For the velocity solver: normal, from the middles of the bodies to the point, masses, and the speed after it."""
POINT_SIZE = 24
SKIN = 0.01
"""Of polygons: twice Box2D's linear slop."""
HALF_LINK, HALF_WIDTH = 0.5 * scene.LINK_LENGTH, scene.LINK_HALF_WIDTH
BALL_RADIUS, INSIDE = scene.BALL_RADIUS, scene.INSIDE
BOUNCE_OF_BALL = scene.BALL_RESTITUTION
LINK_BALL_FRICTION = math.sqrt(scene.LINK_FRICTION * scene.BALL_FRICTION)
WALL_BALL_FRICTION = math.sqrt(scene.WALL_FRICTION * scene.BALL_FRICTION)
WALL_LINK_FRICTION = math.sqrt(scene.WALL_FRICTION * scene.LINK_FRICTION)


@wp.func
def side_normal(side: int) -> wp.vec2:
    """Outward normals of a box, counter-clockwise from the lower side; also where walls face."""
    x = wp.where(side == 1, 1.0, 0.0) - wp.where(side == 3, 1.0, 0.0)
    y = wp.where(side == 2, 1.0, 0.0) - wp.where(side == 0, 1.0, 0.0)
    return wp.vec2(x, y)


@wp.func
def corner(number: int) -> wp.vec2:
    """A corner of a link in its frame; side i leads from corner i to the next."""
    x = wp.where(number == 1 or number == 2, HALF_WIDTH, -HALF_WIDTH)
    return wp.vec2(x, wp.where(number >= 2, HALF_LINK, -HALF_LINK))


@wp.func
def wall_face(wall: int) -> wp.vec2:
    """The normal of a wall's face, into the table: left, upper, right, lower."""
    return side_normal(wp.where(wall == 0, 1, wp.where(wall == 1, 0, wp.where(wall == 2, 3, 2))))


@wp.func
def add_point(
    points: wp.array2d(dtype=wp.float32), count: int, first: int, second: int, slot: int, face: wp.vec2, at: wp.vec2,
    of: wp.vec2,
) -> int:  # fmt: skip
    """Write a touching point as row `count`; returns the number of rows."""
    if count >= MAX_POINTS:
        return count
    points[count, FIRST] = wp.float32(first)
    points[count, SECOND] = wp.float32(second)
    points[count, SLOT] = wp.float32(slot)
    points[count, PAIRED] = wp.float32(0.0)
    with_ball = second == BALL
    friction = wp.where(first == TABLE, wp.float32(WALL_BALL_FRICTION), wp.float32(LINK_BALL_FRICTION))
    points[count, FRICTION] = wp.where(with_ball, friction, wp.float32(WALL_LINK_FRICTION))
    points[count, BOUNCE] = wp.where(with_ball, wp.float32(BOUNCE_OF_BALL), wp.float32(0.0))
    points[count, SECOND_SKIN] = wp.where(with_ball, wp.float32(BALL_RADIUS), wp.float32(SKIN))
    points[count, FACE_X] = face[0]
    points[count, FACE_Y] = face[1]
    points[count, AT_X] = at[0]
    points[count, AT_Y] = at[1]
    points[count, OF_X] = of[0]
    points[count, OF_Y] = of[1]
    return count + 1


@wp.func
def touch_walls(
    pose: wp.array2d(dtype=wp.float32), facing: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32),
    found: int,
) -> int:  # fmt: skip
    """Add where the outer link touches walls, with the two corners of the side that faces each wall."""
    count = found
    place = place_of(pose, OUTER)
    if wp.max(wp.abs(place[0]), wp.abs(place[1])) < wp.float32(INSIDE - SKIN - SKIN - HALF_LINK - HALF_WIDTH):
        return count
    direction = wp.vec2(facing[OUTER, 0], facing[OUTER, 1])
    walls = int(WALLS)  # a loop that is not unrolled
    for wall in range(walls):
        face = wall_face(wall)
        seen = turned_back(direction, face)
        # The side that looks at the wall most; of two that look at it alike, the first.
        side = int(0)
        least = wp.dot(side_normal(0), seen)
        for i in range(1, CORNERS):
            along = wp.dot(side_normal(i), seen)
            if along < least:
                least = along
                side = i
        before = count
        for i in range(2):
            number = (side + i) % CORNERS
            of = corner(number)
            gap = wp.dot(face, place + turned(direction, of)) + wp.float32(INSIDE)
            if gap <= wp.float32(2.0 * SKIN):
                count = add_point(points, count, TABLE, OUTER, CORNERS * wall + number, face, -INSIDE * face, of)
        if count - before == 2:
            points[before, PAIRED] = wp.float32(1.0)
    return count


@wp.func
def touch_ball(
    pose: wp.array2d(dtype=wp.float32), facing: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32),
    link: int, slot: int, found: int,
) -> int:  # fmt: skip
    """Add where a link touches the ball, if it does."""
    reach = wp.float32(SKIN + BALL_RADIUS)
    off = place_of(pose, BALL) - place_of(pose, link)
    if wp.length(off) > reach + wp.float32(HALF_LINK + HALF_WIDTH):
        return found
    seen = turned_back(wp.vec2(facing[link, 0], facing[link, 1]), off)
    beyond_x = wp.abs(seen[0]) - wp.float32(HALF_WIDTH)
    beyond_y = wp.abs(seen[1]) - wp.float32(HALF_LINK)
    if wp.max(beyond_x, beyond_y) > reach:
        return found
    to_x = wp.where(seen[0] < wp.float32(0.0), wp.float32(-1.0), wp.float32(1.0))
    to_y = wp.where(seen[1] < wp.float32(0.0), wp.float32(-1.0), wp.float32(1.0))
    face = wp.vec2(to_x, wp.float32(0.0))
    at = wp.vec2(to_x * HALF_WIDTH, wp.float32(0.0))
    if beyond_y > beyond_x:
        face = wp.vec2(wp.float32(0.0), to_y)
        at = wp.vec2(wp.float32(0.0), to_y * HALF_LINK)
    if beyond_x > wp.float32(0.0) and beyond_y > wp.float32(0.0):
        distance = wp.length(wp.vec2(beyond_x, beyond_y))
        if distance > reach:
            return found
        at = wp.vec2(to_x * HALF_WIDTH, to_y * HALF_LINK)
        face = (seen - at) / distance
    return add_point(points, found, link, BALL, slot, face, at, wp.vec2(0.0, 0.0))


@wp.func
def touch_links(
    pose: wp.array2d(dtype=wp.float32), facing: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32)
) -> int:
    """Find where the links touch anything; returns in how many points.

    Points are solved in the order in which they are found, which is that of Box2D's island: from the outer link
    inwards, then the ball. `facing` holds cosine and sine of every body's angle.
    """
    count = touch_walls(pose, facing, points, 0)
    count = touch_ball(pose, facing, points, OUTER, OUTER_BALL, count)
    return touch_ball(pose, facing, points, INNER, INNER_BALL, count)


@wp.func
def touch_rest(pose: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), found: int) -> int:
    """Find where the ball touches walls; returns how many points there are with those found before."""
    count = found
    ball = place_of(pose, BALL)
    if wp.max(wp.abs(ball[0]), wp.abs(ball[1])) < wp.float32(INSIDE - SKIN - BALL_RADIUS):
        return count
    walls = int(WALLS)
    for wall in range(walls):
        face = wall_face(wall)
        if wp.dot(face, ball) + wp.float32(INSIDE) <= wp.float32(SKIN + BALL_RADIUS):
            slot = BALL_WALL + wall
            count = add_point(points, count, TABLE, BALL, slot, face, -INSIDE * face, wp.vec2(0.0, 0.0))
    return count


@wp.func
def recall(points: wp.array2d(dtype=wp.float32), count: int, rows: wp.array2d(dtype=wp.float32), e: int) -> None:
    """Give the points the impulses that they had in the last step, zero where they did not touch."""
    for i in range(count):
        place = CONTACT + 2 * int(points[i, SLOT])
        points[i, PUSH] = rows[e, place]
        points[i, SLIDE] = rows[e, place + 1]


@wp.func
def place_point(pose: wp.array2d(dtype=wp.float32), points: wp.array2d(dtype=wp.float32), i: int) -> wp.vec3:
    """Bring the point of row i to where its bodies are; returns the touching point x, y and the gap.

    Box2D has the point in the middle between the skins for the velocity solver, and on the second body for the other.
    """
    first = int(points[i, FIRST])
    second = int(points[i, SECOND])
    normal = wp.vec2(points[i, FACE_X], points[i, FACE_Y])
    face = wp.vec2(points[i, AT_X], points[i, AT_Y])
    if first != TABLE:
        direction = direction_of(pose, first)
        normal = turned(direction, normal)
        face = turned(direction, face) + place_of(pose, first)
    point = place_of(pose, second)
    if second != BALL:
        point = point + turned(direction_of(pose, second), wp.vec2(points[i, OF_X], points[i, OF_Y]))
    points[i, NORMAL_X] = normal[0]
    points[i, NORMAL_Y] = normal[1]
    gap = wp.dot(point - face, normal)
    return wp.vec3(point[0], point[1], gap)
