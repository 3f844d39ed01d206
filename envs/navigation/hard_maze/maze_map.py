"""The map of the hard maze, its robot, and the shortest ways through it.

Size, start, reward areas, horizon and robot are those of SERENE's experiments (Paolo et al. 2021, "Sparse Reward
Exploration via Novelty Search and Emitters"). Theirs is a bitmap of the fastsim simulator; the walls here are lines of
a map of our own, of the kind that Lehman & Stanley made for novelty search (2011, "Abandoning Objectives"): the ways
that lead towards the reward areas end in pockets, and the one that arrives first leads away from them.

Lengths are in the map's units. As in fastsim, y points down in pictures: angles turn clockwise there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

Floats = NDArray[np.float64]
SIZE = 600.0
"""Sides of the map."""
START = (60.0, 450.0, math.pi / 4)
"""x, y and heading at the start of every episode."""
AREAS = ((60.0, 60.0, 50.0), (100.0, 200.0, 50.0))
"""Middle x, y and radius of the reward areas."""
HORIZON = 2000
RADIUS = 10.0
"""Of the robot's disc; its wheels are on the rim."""
REACH = 100.0
"""Of the lasers."""
BEAMS = (math.pi / 4, 0.0, -math.pi / 4)
"""Angles of the lasers from the heading."""
CORNERS = ((0.0, 0.0), (SIZE, 0.0), (SIZE, SIZE), (0.0, SIZE))
BORDER = tuple((*CORNERS[i - 1], *CORNERS[i]) for i in range(4))
INNER = (
    (0.0, 330.0, 170.0, 280.0),  # above the start: a pocket right below the reward areas
    (170.0, 160.0, 170.0, 480.0),  # right of the start and of the reward areas
    (170.0, 210.0, 420.0, 140.0),  # the roof of a hall in the middle, whose far corner is near the areas
    (420.0, 140.0, 420.0, 390.0),  # the hall's right wall
    (300.0, 600.0, 340.0, 480.0),  # a stub that closes the floor below the hall
    (600.0, 350.0, 500.0, 310.0),  # two stubs that bend the way up on the right
    (420.0, 240.0, 510.0, 200.0),
    (320.0, 0.0, 290.0, 90.0),  # a stub that bends the way back to the left
    (0.0, 125.0, 110.0, 125.0),  # between the areas
)
WALLS = (*BORDER, *INNER)
"""x0, y0, x1, y1 of every wall."""
CELL = 4.0
"""Sides of the cells over which ways are planned."""
NEIGHBOURS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))
"""Half of a planner's moves: with their opposites, sixteen directions, so that a way is at most 2.8 % too long."""


@dataclass(frozen=True, kw_only=True)
class Robot:
    """What may be chosen of the robot."""

    max_speed: float = 4.0
    """What a wheel rolls in one step at action 1, backwards at -1."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_speed) and 0 < self.max_speed <= RADIUS):
            raise ValueError(
                f"Expected max_speed in (0, {RADIUS:g}], the robot's radius, or it could pass through walls, got "
                f"{self.max_speed!r}."
            )


def distance_to_walls(points: Floats) -> Floats:
    """Distance `(P,)` from points `(P, 2)` to the nearest wall."""
    walls = np.array(WALLS)
    start, along = walls[:, :2], walls[:, 2:] - walls[:, :2]
    off = points[:, None] - start
    share = ((off * along).sum(-1) / (along * along).sum(-1)).clip(0.0, 1.0)
    near: Floats = np.linalg.norm(off - share[..., None] * along, axis=-1).min(axis=1)
    return near


def ways() -> NDArray[np.float32]:
    """Shortest ways for the robot from the middle of every cell to the middle of each area, `(areas, rows, columns)`.

    Cells are indexed [area, y, x]; those where the robot cannot be have ways of infinite length.
    """
    return plan(RADIUS)[0]


@lru_cache(maxsize=2)
def plan(clearance: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Shortest ways that keep a distance from walls, by Dijkstra's algorithm over cells.

    Returns:
        Their lengths `(areas, rows, columns)`, infinite where walls are nearer than `clearance`; and the cell next on
        each way, as row * columns + column, negative in an area's middle and where there is no way.
    """
    count = int(SIZE / CELL)
    rows, columns = np.mgrid[:count, :count]
    middles = (np.stack((columns, rows), axis=-1).reshape(-1, 2) + 0.5) * CELL
    # Wherever the robot can be, the middle of its cell is at most half a diagonal nearer to a wall.
    free = (distance_to_walls(middles) > clearance - CELL * math.sqrt(0.5)).reshape(count, count)
    number, edges = np.arange(count * count).reshape(count, count), []
    for right, down in NEIGHBOURS:
        here = (slice(max(0, -down), count - max(0, down)), slice(0, count - right))
        there = (slice(max(0, down), count + min(0, down)), slice(right, count))
        open_way = free[here] & free[there]
        edges.append((number[here][open_way], number[there][open_way], CELL * math.hypot(right, down)))
    first, second = (np.concatenate([edge[i] for edge in edges]) for i in range(2))
    length = np.concatenate([np.full(len(edge[0]), edge[2]) for edge in edges])
    graph = coo_array((length, (first, second)), shape=(count**2, count**2)).tocsr()
    goals = [number[int(y / CELL), int(x / CELL)] for x, y, _ in AREAS]
    far, following = dijkstra(graph, directed=False, indices=goals, return_predecessors=True)
    shape = (len(AREAS), count, count)
    return far.astype(np.float32).reshape(shape), following.astype(np.int64).reshape(shape)
