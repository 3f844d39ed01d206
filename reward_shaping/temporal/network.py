"""Simple temporal networks: the joint domain of integer times that differences bound.

Node 0 is step 0, node i + 1 is time variable i. After closing (all shortest paths; Dechter, Meiri and Pearl 1991,
"Temporal constraint networks", section 3) every bound is the tightest that follows from all of them. Times can then be
chosen one after the other, each within the bounds to those chosen before, and none is ever left without a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Limit(NamedTuple):
    """`later - earlier <= most` for the times of two nodes."""

    later: int
    earlier: int
    most: int


def close(num_variables: int, limits: Iterable[Limit], horizon: int) -> np.ndarray | None:
    """Tightest differences of times in [0, horizon] under `limits`.

    Returns:
        int64 `(V + 1, V + 1)`: the time of node u exceeds that of node v by at most `[u, v]`. None where no times
        satisfy all limits.
    """
    gaps = np.full((num_variables + 1, num_variables + 1), horizon, dtype=np.int64)
    gaps[0, :] = 0
    np.fill_diagonal(gaps, 0)
    for later, earlier, most in limits:
        gaps[later, earlier] = min(gaps[later, earlier], most)
    for node in range(len(gaps)):
        np.minimum(gaps, gaps[:, node, None] + gaps[None, node, :], out=gaps)
    return None if (gaps.diagonal() < 0).any() else gaps


def dependants(gaps: np.ndarray) -> np.ndarray:
    """Which variables' domains, given the variables before them, can change when variable i does.

    Variable j > i is bound to i unless a node before i implies each of their bounds; dependants of dependants count.

    Returns:
        bool `(V, V)`, row i: the dependants of variable i.
    """
    count = len(gaps) - 1
    bound = np.zeros((count, count), dtype=bool)
    for i in reversed(range(count)):
        node, before = i + 1, slice(0, i + 1)
        over = (gaps[:, before] + gaps[before, node]).min(axis=1) > gaps[:, node]
        under = (gaps[node, before, None] + gaps[before, :]).min(axis=0) > gaps[node, :]
        bound[i] = (over | under)[1:] & (np.arange(count) > i)
        bound[i] |= bound[bound[i]].any(axis=0)
    return bound
