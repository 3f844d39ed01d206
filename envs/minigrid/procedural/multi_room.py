"""A chain of rooms joined by doors, as `minigrid.envs.MultiRoomEnv` makes it.

Upstream places rooms recursively, but a room once placed stays: the recursion is a loop that ends when every room is
there or one room has failed to find a successor eight times. It starts anew until a chain is complete.
"""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import NEAR, Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import Plans
from cairngym.envs.minigrid.procedural.common import (
    GOAL_CELL,
    NOWHERE,
    NUM_COLORS,
    clear,
    draw,
    finish,
    plan_row,
    put,
    put_agent,
    put_room,
    random_free,
    shut_door,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below

MIN_ROOMS, MAX_ROOMS, MAX_SIZE = range(3)
"""Parameters: fewest and most rooms, and the longest side of a room, walls included."""
MIN_SIZE = 4
TRIES = 8
ATTEMPTS = 20_000
"""Chains tried before the longest one is taken; one in five is complete for six rooms of up to ten cells."""
X, Y, WIDTH, HEIGHT, DOOR_X, DOOR_Y = range(6)
"""What is known of a room; the door leads to the room before."""
FIELDS = 6
RIGHT, DOWN, LEFT = 0, 1, 2


@wp.func
def overlaps(rooms: wp.array(dtype=wp.int32), room: int, x: int, y: int, width: int, height: int) -> int:
    """One where a rectangle gets in the way of a room; upstream keeps a gap to the right and below only."""
    other_x = rooms[room * FIELDS + X]
    other_y = rooms[room * FIELDS + Y]
    beside = x + width < other_x or other_x + rooms[room * FIELDS + WIDTH] <= x
    above = y + height < other_y or other_y + rooms[room * FIELDS + HEIGHT] <= y
    return wp.where(beside or above, 0, 1)


@wp.func
def add_room(
    grids: Grids, rooms: wp.array(dtype=wp.int32), count: int,
    x: int, y: int, width: int, height: int, door_x: int, door_y: int,
) -> int:  # fmt: skip
    """Append a room to a chain of `count`; 0 if it leaves the grid or gets in the way of any room but the last."""
    if x < 0 or y < 0 or x + width > grids.width or y + height >= grids.height:
        return 0
    for room in range(count - 1):
        if overlaps(rooms, room, x, y, width, height) == 1:
            return 0
    rooms[count * FIELDS + X] = x
    rooms[count * FIELDS + Y] = y
    rooms[count * FIELDS + WIDTH] = width
    rooms[count * FIELDS + HEIGHT] = height
    rooms[count * FIELDS + DOOR_X] = door_x
    rooms[count * FIELDS + DOOR_Y] = door_y
    return 1


@wp.func
def entry_wall(rooms: wp.array(dtype=wp.int32), room: int) -> int:
    """The wall of a room that its door is in: 0 right, 1 below, 2 left, 3 above."""
    if room == 0 or rooms[room * FIELDS + DOOR_X] == rooms[room * FIELDS + X]:
        return LEFT
    if rooms[room * FIELDS + DOOR_X] == rooms[room * FIELDS + X] + rooms[room * FIELDS + WIDTH] - 1:
        return RIGHT
    return wp.where(rooms[room * FIELDS + DOOR_Y] == rooms[room * FIELDS + Y], 3, DOWN)


@wp.func
def add_next(
    grids: Grids, rooms: wp.array(dtype=wp.int32), count: int, sizes: int, key: Key, block: int, attempt: int
) -> int:
    """Try once to add a room behind a random wall of the last one; 1 where that works."""
    last = (count - 1) * FIELDS
    exits = draw(key, block, attempt)
    shape = draw(key, block + 1, attempt)
    wall = below(exits[0], 3)
    if wall >= entry_wall(rooms, count - 1):
        wall = wall + 1
    width = MIN_SIZE + below(shape[0], sizes)
    height = MIN_SIZE + below(shape[1], sizes)
    sideways = wall == RIGHT or wall == LEFT
    along = wp.where(sideways, rooms[last + HEIGHT], rooms[last + WIDTH])
    offset = 1 + below(exits[1], along - 2)
    door_x = rooms[last + X] + offset
    door_y = rooms[last + Y] + offset
    if wall == RIGHT:
        door_x = rooms[last + X] + rooms[last + WIDTH] - 1
    elif wall == LEFT:
        door_x = int(rooms[last + X])
    elif wall == DOWN:
        door_y = rooms[last + Y] + rooms[last + HEIGHT] - 1
    else:
        door_y = int(rooms[last + Y])
    x = door_x - width + 2 + below(shape[2], width - 2)
    y = door_y - height + 2 + below(shape[2], height - 2)
    if wall == RIGHT:
        x = int(door_x)
    elif wall == LEFT:
        x = door_x - width + 1
    elif wall == DOWN:
        y = int(door_y)
    else:
        y = door_y - height + 1
    return add_room(grids, rooms, count, x, y, width, height, door_x, door_y)


@wp.func
def place_rooms(grids: Grids, rooms: wp.array(dtype=wp.int32), wanted: int, sizes: int, key: Key, attempt: int) -> int:
    """Attempt a chain of rooms; returns how many there are, `wanted` at most."""
    first = draw(key, 0, attempt)
    x = below(first[0], grids.width - 2)
    y = below(first[1], grids.width - 2)
    count = add_room(grids, rooms, 0, x, y, MIN_SIZE + below(first[2], sizes), MIN_SIZE + below(first[3], sizes), x, y)
    if count == 0:
        return 0
    tries = int(0)
    while count < wanted and tries < TRIES:
        block = 1 + 2 * (TRIES * (count - 1) + tries)
        tries = tries + 1
        if add_next(grids, rooms, count, sizes, key, block, attempt) == 1:
            count = count + 1
            tries = int(0)
    return count


@wp.func
def find_rooms(grids: Grids, rooms: wp.array(dtype=wp.int32), wanted: int, sizes: int, key: Key) -> int:
    """Attempt chains until one is complete; the longest one after ATTEMPTS, at least a single room."""
    best = int(0)
    best_attempt = int(0)
    count = int(0)
    attempt = int(0)
    while count < wanted and attempt < ATTEMPTS:
        attempt = attempt + 1
        count = place_rooms(grids, rooms, wanted, sizes, key, attempt)
        if count > best:
            best = count
            best_attempt = attempt
    if count < best:
        count = place_rooms(grids, rooms, wanted, sizes, key, best_attempt)
    if count == 0:
        count = add_room(grids, rooms, 0, 0, 0, MIN_SIZE, MIN_SIZE, 0, 0)
    return count


@wp.func
def draw_rooms(grids: Grids, e: int, rooms: wp.array(dtype=wp.int32), count: int, key: Key) -> None:
    """Draw the rooms and their doors, neighbouring doors in different colours."""
    color = int(0)
    for room in range(count):
        at = room * FIELDS
        put_room(grids, e, rooms[at + X], rooms[at + Y], rooms[at + WIDTH], rooms[at + HEIGHT])
        if room > 0:
            word = draw(key, room, 0)[0]
            # A turn of one to five around the six colours: never the colour before, all others equally likely.
            turn = 1 + below(word, NUM_COLORS - 1)
            color = wp.where(room == 1, below(word, NUM_COLORS), (color + turn) % NUM_COLORS)
            put(grids, e, rooms[at + DOOR_X], rooms[at + DOOR_Y], shut_door(color, c.CLOSED))


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """A chain of rooms, the agent in the first, the goal in the last."""
    words = draw(key, 0, 0)
    rooms = plans.queue[plan_row(e, key)]
    fewest = levels.parameters[MIN_ROOMS]
    wanted = fewest + below(words[0], levels.parameters[MAX_ROOMS] - fewest + 1)
    count = find_rooms(grids, rooms, wanted, levels.parameters[MAX_SIZE] - MIN_SIZE + 1, key)
    clear(grids, e)
    draw_rooms(grids, e, rooms, count, key)
    agent = random_free(grids, e, rooms[X], rooms[Y], rooms[WIDTH], rooms[HEIGHT], NOWHERE, words[1])
    put_agent(grids, e, agent, below(words[2], 4))
    last = (count - 1) * FIELDS
    goal = random_free(
        grids, e, rooms[last + X], rooms[last + Y], rooms[last + WIDTH], rooms[last + HEIGHT], agent, words[3]
    )
    grids.cells[e, goal] = GOAL_CELL
    finish(grids, levels, plans, e, key, NEAR, goal, 0, 0)


def make(upstream: Any) -> Generator:
    """The generator of a `MultiRoomEnv`.

    Raises:
        ValueError: more rooms than the scratch memory of a world can list.
    """
    most = upstream.width * upstream.height // FIELDS
    if upstream.maxNumRooms > most:
        raise ValueError(f"Expected at most {most} rooms in a grid of this size, got {upstream.maxNumRooms}.")
    parameters = upstream.minNumRooms, upstream.maxNumRooms, upstream.maxRoomSize
    return Generator(begin=begin, missions=(upstream.mission,), parameters=parameters)
