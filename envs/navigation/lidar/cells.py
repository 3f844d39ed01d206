"""What a square metre of a floor plan holds, in sixteen bits: walls on its sides, clutter, and whether it was seen.

A plan is a grid of cells; cell (x, y) covers [x, x + 1) x [y, y + 1) metres. Walls are segments on the grid lines,
doors are gaps of one metre in them, and clutter is an axis-parallel box or a disc well inside one cell.
"""

from __future__ import annotations

import numpy as np

RIGHT, UP, LEFT, DOWN = 1, 2, 4, 8
"""Bits of the walls on a cell's sides; x grows to the right, y upwards."""
KIND = 4
"""Shift of two bits: no clutter, DISC or BOX."""
DISC, BOX = 1, 2
CLUTTER = 3 << KIND
OFFSET_X, OFFSET_Y = 6, 8
"""Shifts of two bits each: where in the cell the clutter stands."""
HALF_X, HALF_Y = 10, 12
"""Shifts of two bits each: half the sides of a box; a disc's radius is in the first."""
LEVELS = 4
"""Values of two bits."""
UNSEEN = 1 << 14
"""Neither a beam nor the robot has been in the cell during this episode."""
HALF_LEAST, HALF_STEP = 0.1, 0.06
"""Half sides run from 0.10 m to 0.28 m."""
INSET = 0.05
"""Metres between clutter and the sides of its cell, at least."""


def unpack_clutter(cells: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The clutter of one plan.

    Args:
        cells: integers `(C,)`, row by row.
        width: cells of a row.

    Returns:
        Boxes `(K, 4)`: x, y of the centre and half sides; discs `(D, 3)`: x, y and radius; float64, m.
    """
    index = np.flatnonzero(cells & CLUTTER)
    code = cells[index].astype(np.int64)
    disc = (code >> KIND & 3) == DISC
    half = HALF_LEAST + HALF_STEP * np.stack((code >> HALF_X & 3, code >> HALF_Y & 3), axis=1)
    half[disc, 1] = half[disc, 0]
    shift = np.stack((code >> OFFSET_X & 3, code >> OFFSET_Y & 3), axis=1) * (2.0 / (LEVELS - 1)) - 1.0
    centre = np.stack((index % width, index // width), axis=1) + 0.5 + shift * (0.5 - INSET - half)
    found = np.concatenate((centre, half), axis=1)
    return found[~disc], found[disc, :3]


def wall_segments(cells: np.ndarray, width: int) -> np.ndarray:
    """The walls of one plan as unit segments x1, y1, x2, y2, float64 `(S, 4)`, m; each is listed once.

    Args:
        cells: integers `(C,)`, row by row.
        width: cells of a row.
    """
    grid = cells.reshape(-1, width)
    height = len(grid)
    upright = np.ones((height, width + 1), dtype=bool)
    upright[:, :-1], level = (grid & LEFT) > 0, np.ones((height + 1, width), dtype=bool)
    upright[:, -1], level[-1] = (grid[:, -1] & RIGHT) > 0, (grid[-1] & UP) > 0
    level[:-1] = (grid & DOWN) > 0
    y, x = np.nonzero(upright)
    row, column = np.nonzero(level)
    found = np.concatenate((np.stack((x, y, x, y + 1), axis=1), np.stack((column, row, column + 1, row), axis=1)))
    return found.astype(np.float64)


def segments(cells: np.ndarray, width: int) -> np.ndarray:
    """Walls and the sides of boxes as segments x1, y1, x2, y2, float64 `(S, 4)`, m; arguments as in `wall_segments`."""
    boxes, _ = unpack_clutter(cells, width)
    low, high = boxes[:, :2] - boxes[:, 2:], boxes[:, :2] + boxes[:, 2:]
    corners = np.stack((low, np.stack((high[:, 0], low[:, 1]), 1), high, np.stack((low[:, 0], high[:, 1]), 1)), axis=1)
    sides = np.concatenate((corners, np.roll(corners, -1, axis=1)), axis=2).reshape(-1, 4)
    return np.concatenate((wall_segments(cells, width), sides))
