"""Shortest paths in a maze of square cells, computed once per map.

Lengths are in cells and points are (row, column) with cell (i, j) covering [i, i + 1] x [j, j + 1]. A shortest path
among walls is a polyline that bends at corners of walls only (Lozano-Pérez & Wesley 1979, "An Algorithm for Planning
Collision-Free Paths Among Polyhedral Obstacles"), so the graph of corners and cell centres in sight of each other holds
every path between centres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cairngym.envs.navigation.maze_maps import MazeMap

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
PINCH = 1e-6
"""Half the width, in cells, of the block that closes a point where only two diagonal cells meet."""
TOUCH = 1e-9
"""Share of a segment that may lie within a wall by rounding."""


def free_cells(maze: MazeMap) -> tuple[Integers, Integers]:
    """The free cells `(C, 2)`, and the number of each cell `(rows, columns)`, -1 for walls."""
    cells = np.array(maze.free, dtype=np.int64)
    number = np.full(maze.shape, -1, dtype=np.int64)
    number[cells[:, 0], cells[:, 1]] = np.arange(len(cells))
    return cells, number


def cell_steps(maze: MazeMap) -> tuple[Integers, Integers]:
    """Paths over shared edges between free cells.

    Returns:
        `hops` `(C, C)`, the fewest edges from a cell to another, -1 where there is no path; and `next_cell` `(C, C)`,
        the number of the cell to go to first, the cell itself where there is none to go to.
    """
    cells, number = free_cells(maze)
    edges = [cells + move for move in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    near = np.stack([number[tuple(edge.T)] for edge in edges], axis=1)
    count = len(cells)
    hops = np.full((count, count), -1, dtype=np.int64)
    following = np.tile(np.arange(count)[:, None], (1, count))
    np.fill_diagonal(hops, 0)
    for step in range(1, count):
        # A cell is `step` edges from a goal if a neighbour is one edge less; neighbours that are walls never match.
        closer = (hops[near] == step - 1) & (near >= 0)[:, :, None]
        found = closer.any(1) & (hops < 0)
        if not found.any():
            break
        first = np.take_along_axis(near, closer.argmax(1), axis=1)
        hops[found], following[found] = step, first[found]
    return hops, following


def path_lengths(maze: MazeMap) -> Floats:
    """Lengths `(C, C)` of the shortest paths between the centres of free cells, infinite where there is none."""
    centers = free_cells(maze)[0] + 0.5
    nodes = np.concatenate([centers, _corners(maze)])
    length = np.full((len(nodes), len(nodes)), np.inf)
    first, second = np.triu_indices(len(nodes), k=1)
    seen = _in_sight(nodes[first], nodes[second], _blocks(maze))
    first, second = first[seen], second[seen]
    length[first, second] = length[second, first] = np.linalg.norm(nodes[first] - nodes[second], axis=1)
    np.fill_diagonal(length, 0.0)
    for via in range(len(nodes)):
        np.minimum(length, length[:, via, None] + length[None, via], out=length)
    return length[: len(centers), : len(centers)]


def _quadrants(maze: MazeMap) -> NDArray[np.bool_]:
    """Whether the four cells around each inner vertex are walls, `(rows - 1, columns - 1, 4)` in reading order."""
    wall = free_cells(maze)[1] < 0
    return np.stack([wall[:-1, :-1], wall[:-1, 1:], wall[1:, :-1], wall[1:, 1:]], axis=-1)


def _corners(maze: MazeMap) -> Floats:
    """Vertices around which one cell of four is a wall `(V, 2)`: where shortest paths bend."""
    return np.argwhere(_quadrants(maze).sum(-1) == 1).astype(np.float64) + 1.0


def _blocks(maze: MazeMap) -> Floats:
    """Open boxes `(W, 4)` of (low row, low column, high row, high column) that no path enters.

    Walls that share an edge are joined in pairs, since a path must not run along the edge; points where walls touch
    at a corner only are closed by a box of no size to speak of.
    """
    wall = set(maze.walls)
    boxes = [(i, j, i + 1.0, j + 1.0) for i, j in wall]
    boxes += [(i, j, i + 2.0, j + 1.0) for i, j in wall if (i + 1, j) in wall]
    boxes += [(i, j, i + 1.0, j + 2.0) for i, j in wall if (i, j + 1) in wall]
    around = _quadrants(maze)
    pinched = (around.sum(-1) == 2) & (around[..., 0] == around[..., 3])
    boxes += [(i - PINCH, j - PINCH, i + PINCH, j + PINCH) for i, j in np.argwhere(pinched) + 1.0]
    return np.array(boxes, dtype=np.float64)


def _in_sight(start: Floats, end: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Whether the segments from `start` to `end`, `(P, 2)` each, miss the inside of every box, bool `(P,)`."""
    clear = np.arange(len(start))
    for box in boxes:
        enter, leave = np.zeros(len(clear)), np.ones(len(clear))
        for axis in range(2):
            origin, span = start[clear, axis], end[clear, axis] - start[clear, axis]
            low, high = box[axis], box[axis + 2]
            inside = (origin > low) & (origin < high)
            moves = span != 0.0
            divisor = np.where(moves, span, 1.0)
            near, far = (low - origin) / divisor, (high - origin) / divisor
            enter = np.maximum(enter, np.where(moves, np.minimum(near, far), np.where(inside, 0.0, np.inf)))
            leave = np.minimum(leave, np.where(moves, np.maximum(near, far), np.where(inside, 1.0, -np.inf)))
        clear = clear[enter >= leave - TOUCH]
    seen = np.zeros(len(start), dtype=bool)
    seen[clear] = True
    return seen
