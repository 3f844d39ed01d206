"""How one grid cell is packed into an int32, and the codes of MiniGrid it is made of.

Byte 0 object type, byte 1 colour, byte 2 door state: the three bytes of the image, in its order. In byte 3 bits 24-25
say what a box contains (0 nothing, 1 key, 2 ball, 3 box), bits 26-28 the content's colour, bit 30 that the cell blocks
the view.
"""

from __future__ import annotations

from typing import Any

import numpy as np

UNSEEN, EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA, AGENT = range(11)
OPEN, CLOSED, LOCKED = range(3)
RED, GREEN, BLUE, PURPLE, YELLOW, GREY = range(6)
BYTE = 0xFF
COLOR, STATE, CONTENT, CONTENT_COLOR = 8, 16, 24, 26
"""First bit of each part."""
OPAQUE = 1 << 30
KIND = 0xFFFF
"""Mask of type and colour."""
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


def pack(kind: int, color: int = 0, state: int = 0, content: int = 0, content_color: int = 0) -> int:
    """Pack one cell; `content` is an object type (KEY, BALL or BOX) or 0.

    Example:
        >>> hex(pack(WALL, GREY)), hex(pack(DOOR, YELLOW, LOCKED))
        ('0x40000502', '0x40020404')
    """
    opaque = OPAQUE if kind == WALL or (kind == DOOR and state != OPEN) else 0
    inside = ((content - KEY + 1) << CONTENT | content_color << CONTENT_COLOR) if content else 0
    return kind | color << COLOR | state << STATE | inside | opaque


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

    thing: Any = WorldObj.decode(cell & BYTE, (cell >> COLOR) & BYTE, (cell >> STATE) & BYTE)
    content = (cell >> CONTENT) & 3
    if thing is not None and content:
        thing.contains = WorldObj.decode(content + KEY - 1, (cell >> CONTENT_COLOR) & 7, 0)
    return thing


def pack_grid(grid: Any) -> np.ndarray:
    """Pack a minigrid `Grid` into int32 `(width * height,)`, index x + width * y."""
    return np.array([pack_object(thing) for thing in grid.grid], dtype=np.int32)
