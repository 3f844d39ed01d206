"""A corridor between two columns of rooms, as `minigrid.envs.KeyCorridorEnv` makes it.

Three columns of square rooms: the middle one opened into a corridor, an object behind a locked door on the right, its
key in a room on the left, and unlocked doors added at random until every room can be reached.
"""

from __future__ import annotations

from typing import Any

import warp as wp

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import CARRY, Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.plan import Plans
from cairngym.envs.minigrid.procedural.common import (
    EMPTY_CELL,
    NOWHERE,
    NUM_COLORS,
    clear,
    count_free,
    draw,
    finish,
    free_cell,
    put,
    put_agent,
    put_room,
    put_row,
    random_free,
    shut_door,
)
from cairngym.envs.minigrid.step_kernels import Levels
from cairngym.envs.random_kernels import Key, below

OBJECT, DRAWS = range(2)
"""Parameters: type of the object, and how many doors may be drawn before those still missing are added in order."""
COLUMNS = 3
MAX_DRAWS = 5000
"""Where upstream gives up on a level."""
FIRST_DRAW = 3
"""First block of the draws of doors."""
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")


@wp.func
def wall_between(room: int, side: int, rows: int) -> int:
    """Number of the wall on a side of a room (0 right, 1 below, 2 left, 3 above); NOWHERE for an outer wall.

    Walls to the right of room r have number r, walls below it 3 rows + r.
    """
    column = room % COLUMNS
    row = room // COLUMNS
    if side == 0:
        return wp.where(column < COLUMNS - 1, room, NOWHERE)
    if side == 1:
        return wp.where(row < rows - 1, COLUMNS * rows + room, NOWHERE)
    if side == 2:
        return wp.where(column > 0, room - 1, NOWHERE)
    return wp.where(row > 0, COLUMNS * rows + room - COLUMNS, NOWHERE)


@wp.func
def neighbour(room: int, side: int) -> int:
    """The room on a side of a room."""
    step = wp.where(side == 1, COLUMNS, -COLUMNS)
    return room + wp.where(side == 0, 1, wp.where(side == 2, -1, step))


@wp.func
def all_reached(passages: int, rows: int) -> int:
    """One where every room can be reached through the walls in the mask `passages`."""
    rooms = COLUMNS * rows
    reached = int(2)  # the corridor's first room, and through it the agent's
    for _round in range(rooms):
        for wall in range(rooms * 2):
            if (passages >> wall) & 1 == 1:
                room = wall % rooms
                other = room + wp.where(wall < rooms, 1, COLUMNS)
                if ((reached >> room) | (reached >> other)) & 1 == 1:
                    reached = reached | (1 << room) | (1 << other)
    return wp.where(reached == (1 << rooms) - 1, 1, 0)


@wp.func
def put_door(grids: Grids, e: int, rows: int, wall: int, offset: int, door: int) -> None:
    """Write a door into a wall, `offset` cells from the wall's first inner one."""
    pitch = (grids.width - 1) // COLUMNS
    room = wall % (COLUMNS * rows)
    x = (room % COLUMNS) * pitch
    y = (room // COLUMNS) * pitch
    if wall < COLUMNS * rows:
        put(grids, e, x + pitch, y + 1 + offset, door)
    else:
        put(grids, e, x + 1 + offset, y + pitch, door)


@wp.func
def connect(grids: Grids, e: int, rows: int, passages: int, locked: int, most: int, key: Key) -> None:
    """Add unlocked doors to random walls, those of the locked room excepted, until every room can be reached.

    After `most` draws every wall gets its turn in order.
    """
    pitch = (grids.width - 1) // COLUMNS
    rooms = COLUMNS * rows
    draws = int(0)
    opened = int(passages)
    is_whole = all_reached(opened, rows)
    while draws < most + 4 * rooms and is_whole == 0:
        words = draw(key, FIRST_DRAW + draws, 0)
        place = below(words[0], 4 * rooms)
        if draws >= most:
            place = draws - most
        draws = draws + 1
        room = place // 4
        wall = wall_between(room, place % 4, rows)
        is_solid = wall != NOWHERE and (opened >> wp.max(wall, 0)) & 1 == 0
        if is_solid and room != locked and neighbour(room, place % 4) != locked:
            opened = opened | (1 << wall)
            is_whole = all_reached(opened, rows)
            door = shut_door(below(words[1], NUM_COLORS), c.CLOSED)
            put_door(grids, e, rows, wall, below(words[2], pitch - 1), door)


@wp.func
def place_agent(grids: Grids, e: int, rows: int, door_y: int, where: wp.uint32) -> None:
    """Stand the agent in the corridor's middle room, anywhere and facing anything but the locked door."""
    pitch = (grids.width - 1) // COLUMNS
    top = (rows // 2) * pitch
    free = count_free(grids, e, pitch, top, pitch + 1, pitch + 1, NOWHERE)
    # The door forbids one of 4 x free poses. That one is replaced by the last, which is not drawn itself.
    before = 2 * pitch - 1 + grids.width * door_y
    forbidden = wp.where(door_y > top and door_y < top + pitch, 1, 0)
    pose = below(where, 4 * free - forbidden)
    agent = free_cell(grids, e, pitch, top, pitch + 1, pitch + 1, NOWHERE, pose // 4)
    if forbidden == 1 and agent == before and pose % 4 == 0:
        pose = 4 * free - 1
        agent = free_cell(grids, e, pitch, top, pitch + 1, pitch + 1, NOWHERE, free - 1)
    put_agent(grids, e, agent, pose % 4)


@wp.func
def put_rooms(grids: Grids, e: int, rows: int) -> int:
    """Draw all rooms and open the middle column; returns the mask of walls one can pass."""
    pitch = (grids.width - 1) // COLUMNS
    clear(grids, e)
    for row in range(rows):
        for column in range(COLUMNS):
            put_room(grids, e, column * pitch, row * pitch, pitch + 1, pitch + 1)
    passages = int(0)
    for row in range(rows - 1):
        put_row(grids, e, pitch + 1, (row + 1) * pitch, pitch - 1, EMPTY_CELL)
        passages = passages | (1 << (COLUMNS * rows + COLUMNS * row + 1))
    return passages


@wp.func
def begin(grids: Grids, levels: Levels, plans: Plans, e: int, key: Key) -> None:
    """An object behind a locked door on the right, its key on the left, the agent in the corridor."""
    pitch = (grids.width - 1) // COLUMNS
    rows = (grids.height - 1) // pitch
    first = draw(key, 0, 0)
    second = draw(key, 1, 0)
    third = draw(key, 2, 0)
    passages = put_rooms(grids, e, rows)
    row = below(first[0], rows)
    locked = COLUMNS * row + 2
    color = below(first[1], NUM_COLORS)
    offset = below(first[2], pitch - 1)
    put_door(grids, e, rows, locked - 1, offset, shut_door(color, c.LOCKED))
    thing_color = below(first[3], NUM_COLORS)
    thing = levels.parameters[OBJECT] | thing_color << c.COLOR
    target = random_free(grids, e, 2 * pitch, row * pitch, pitch + 1, pitch + 1, NOWHERE, second[0])
    grids.cells[e, target] = thing
    key_row = below(second[1], rows)
    place = random_free(grids, e, 0, key_row * pitch, pitch + 1, pitch + 1, NOWHERE, second[2])
    grids.cells[e, place] = c.KEY | color << c.COLOR
    place_agent(grids, e, rows, row * pitch + 1 + offset, third[0])
    connect(grids, e, rows, passages | (1 << (locked - 1)), locked, levels.parameters[DRAWS], key)
    finish(grids, levels, plans, e, key, CARRY, target, thing, thing_color)
    grids.variables[e, 0] = thing


def make(upstream: Any) -> Generator:
    """The generator of a `KeyCorridorEnv`; a plan fetches the key, unlocks the door, takes the object."""
    from minigrid.core.constants import OBJECT_TO_IDX

    missions = tuple(f"pick up the {color} {upstream.obj_type}" for color in COLORS)
    parameters = OBJECT_TO_IDX[upstream.obj_type], MAX_DRAWS
    return Generator(begin=begin, missions=missions, subgoals=3, parameters=parameters)
