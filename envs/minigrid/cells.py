"""How one grid cell is packed into 16 bits, and the codes of MiniGrid it is made of.

Bits 0-3 object type, 4-6 colour, 7-8 door state, 9-10 what a box contains (0 nothing, 1 key, 2 ball, 3 box),
11-13 the content's colour, 15 whether the cell blocks the view.
"""

from __future__ import annotations

from typing import Any

import numpy as np

UNSEEN, EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA, AGENT = range(11)
OPEN, CLOSED, LOCKED = range(3)
RED, GREEN, BLUE, PURPLE, YELLOW, GREY = range(6)
OPAQUE = 0x8000
KIND = 0x7F
"""Mask of type and colour."""
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


def pack(kind: int, color: int = 0, state: int = 0, content: int = 0, content_color: int = 0) -> int:
    """Pack one cell; `content` is an object type (KEY, BALL or BOX) or 0.

    Example:
        >>> hex(pack(WALL, GREY)), hex(pack(DOOR, YELLOW, LOCKED))
        ('0x8052', '0x8144')
    """
    opaque = OPAQUE if kind == WALL or (kind == DOOR and state != OPEN) else 0
    inside = ((content - KEY + 1) << 9 | content_color << 11) if content else 0
    return kind | color << 4 | state << 7 | inside | opaque


EMPTY_CELL = pack(EMPTY)
WALL_CELL = pack(WALL, GREY)


def pack_object(thing: Any) -> int:
    """Pack a minigrid `WorldObj`, or None for an empty cell.

    Raises:
        ValueError: for a box that holds something no MiniGrid level puts into one.
    """
    if thing is None:
        return EMPTY_CELL
    kind, color, state = thing.encode()
    inside = getattr(thing, "contains", None)
    if inside is None:
        return pack(kind, color, state)
    content, content_color, _ = inside.encode()
    if content not in (KEY, BALL, BOX) or getattr(inside, "contains", None) is not None:
        raise ValueError(f"Expected a box with a plain key, ball or box in it, got one with {inside.type!r}.")
    return pack(kind, color, state, content, content_color)


def unpack_object(cell: int) -> Any:
    """Make the minigrid `WorldObj` of a packed cell; None for an empty one."""
    from minigrid.core.world_object import WorldObj

    thing = WorldObj.decode(cell & 15, (cell >> 4) & 7, (cell >> 7) & 3)
    content = (cell >> 9) & 3
    if thing is not None and content:
        thing.contains = WorldObj.decode(content + KEY - 1, (cell >> 11) & 7, 0)
    return thing


def pack_grid(grid: Any) -> np.ndarray:
    """Pack a minigrid `Grid` into uint16 `(width * height,)`, index x + width * y."""
    return np.array([pack_object(thing) for thing in grid.grid], dtype=np.uint16)
