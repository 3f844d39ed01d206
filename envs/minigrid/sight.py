"""The visibility rule of `Grid.process_vis`, tabulated for rows of seven cells."""

from __future__ import annotations

import functools

import numpy as np

WIDTH = 7


def light_row(lit: int, clear: int) -> tuple[int, int]:
    """Spread light along one row.

    Args:
        lit: bit i is set where cell i is lit by the row below.
        clear: bit i is set where cell i can be seen through.

    Returns:
        The row's final mask and the mask of the row above.

    Example:
        >>> [bin(mask) for mask in light_row(0b0001000, 0b0001000)]
        ['0b11100', '0b11100']
    """
    above = 0
    for cells, step in ((range(WIDTH - 1), 1), (range(WIDTH - 1, 0, -1), -1)):
        for i in cells:
            if lit >> i & 1 and clear >> i & 1:
                lit |= 1 << (i + step)
                above |= 1 << i | 1 << (i + step)
    return lit, above


@functools.cache
def sight_table() -> np.ndarray:
    """`light_row` of every pair of masks, uint16 `(128, 128)`: final mask | mask of the row above << 7."""
    table = np.zeros((1 << WIDTH, 1 << WIDTH), dtype=np.uint16)
    for lit in range(1 << WIDTH):
        for clear in range(1 << WIDTH):
            final, above = light_row(lit, clear)
            table[lit, clear] = final | above << WIDTH
    return table
