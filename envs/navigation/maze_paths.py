"""How far and which way to go in a maze, looked up in tables, batched in torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from cairngym.envs.navigation.maze_geometry import cell_steps, free_cells, path_lengths
from cairngym.envs.navigation.maze_maps import MazeMap

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""The four cells that meet in a block, in reading order."""


class Blend(NamedTuple):
    """A point between the centres of up to four free cells."""

    cells: torch.Tensor
    """Their numbers, int64 `(4, B)`."""
    weights: torch.Tensor
    """`(4, B)`, adding up to one; zero for walls."""


class MazePaths:
    """Tables of a maze's free cells, which are numbered row by row.

    The path distance between two points is their straight distance plus the detour that walls enforce. The detour
    between centres of cells is exact; between other points it is interpolated bilinearly over the free cells around
    either, so that the path distance is continuous, zero only at the goal, the straight distance where no wall is near
    the line, and never less than it.

    Args:
        maze: the map.
        scaling: edge of a cell, m.
        device: where the tables live.
        dtype: of lengths.

    Attributes:
        cells: (i, j) of every free cell, int64 `(C, 2)`.
        centers: their (x, y) in m, `(C, 2)`.
        number: of the cell at (i, j), -1 for walls, int64 `(rows, columns)`.
        hops: fewest edges between cells, -1 where no path joins them, int64 `(C, C)`.
        next_cell: the cell to enter first on the way from a cell to another, int64 `(C, C)`.
        length: shortest paths between centres, m, `(C, C)`; infinite where there is none.
        diameter: the longest of the finite ones, m.
    """

    def __init__(self, maze: MazeMap, scaling: float, device: torch.device, dtype: torch.dtype) -> None:
        self.maze, self.scaling, self.device, self.dtype = maze, scaling, device, dtype
        cells, number = free_cells(maze)
        hops, following = cell_steps(maze)
        centers = np.stack([cells[:, 1] + 0.5 - maze.shape[1] / 2, maze.shape[0] / 2 - cells[:, 0] - 0.5], axis=1)
        length = path_lengths(maze)
        straight = np.linalg.norm(centers[:, None] - centers[None], axis=2)
        # Where no path leads, a way past every cell stands in for infinity, which would spoil the interpolation.
        detour = np.where(np.isfinite(length), np.maximum(length - straight, 0.0), float(len(cells)))
        self.cells, self.number = self._table(cells), self._table(number)
        self.hops, self.next_cell = self._table(hops), self._table(following)
        self.centers, self.length = self._table(centers * scaling), self._table(length * scaling)
        self.diameter = float(length[np.isfinite(length)].max() * scaling)
        self._detour = self._table(detour * scaling).flatten()
        blocks = _blocks(number)
        self._block_cells, self._block_free = self._table(blocks[0].T.copy()), self._table(blocks[1].T.copy())

    def _table(self, values: np.ndarray) -> torch.Tensor:
        whole = values.dtype.kind == "i"
        return torch.as_tensor(values, device=self.device, dtype=torch.int64 if whole else self.dtype)

    def _grid(self, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and column of points, in cells, `(B,)` each; a cell's middle lies half a cell from its number."""
        x, y = position.to(self.dtype).unbind(-1)
        rows, columns = self.maze.shape
        return rows / 2 - y / self.scaling, x / self.scaling + columns / 2

    def cell(self, position: torch.Tensor) -> torch.Tensor:
        """The cells (i, j) that points (x, y) lie in, int64 `(B, 2)`; outside of the map, the nearest ones."""
        pairs = zip(self._grid(position), self.maze.shape, strict=True)
        return torch.stack([place.floor().clamp_(0, size - 1) for place, size in pairs], dim=-1).to(torch.int64)

    def cell_number(self, position: torch.Tensor) -> torch.Tensor:
        """The numbers of the cells that points lie in, int64 `(B,)`, -1 within walls."""
        i, j = self.cell(position).unbind(-1)
        return self.number[i, j]

    def blend(self, position: torch.Tensor) -> Blend:
        """The free cells around points `(B, 2)` and their bilinear weights.

        A cell counts only if it is joined to the point's own cell within the four that meet there.
        """
        lows, parts = [], []
        for place, size in zip(self._grid(position), self.maze.shape, strict=True):
            low = (place - 0.5).floor().clamp_(-1, size - 1)
            part = (place - 0.5 - low).clamp_(0.0, 1.0)
            lows.append(low)
            parts.append(torch.stack((1.0 - part, part)))
        block = ((lows[0] + 1.0) * (self.maze.shape[1] + 1) + (lows[1] + 1.0)).to(torch.int64)
        down, across = parts
        own = (down[1] >= 0.5).to(torch.int64) * 2 + (across[1] >= 0.5)
        counts = self._block_free.index_select(1, block * 4 + own)
        weights = (down.unsqueeze(1) * across.unsqueeze(0)).flatten(0, 1) * counts
        return Blend(self._block_cells.index_select(1, block), weights / _sum4(weights).clamp_(min=1e-9))

    def distance(self, position: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        """The path distance from points `(B, 2)` to goals `(B, 2)`, both (x, y) in m; m, `(B,)`."""
        here, there = self.blend(position), self.blend(goal)
        pairs = there.cells.unsqueeze(1) * len(self.cells) + here.cells.unsqueeze(0)
        detours = self._detour.index_select(0, pairs.flatten()).view(pairs.shape)
        detour = _sum4(_sum4(detours * there.weights.unsqueeze(1)) * here.weights)
        offset = position.to(self.dtype) - goal.to(self.dtype)
        return torch.hypot(offset[:, 0], offset[:, 1]) + detour


def _sum4(values: torch.Tensor) -> torch.Tensor:
    """The sum over a first axis of four; torch's own order of adding may depend on the batch."""
    return (values[0] + values[1]) + (values[2] + values[3])


def _blocks(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of four cells around every vertex of the map, its border included.

    Returns:
        Numbers of the four cells `(blocks, 4)`, zero for walls; and which of them count for a point in each of the
        four, 1.0 or 0.0, `(blocks * 4, 4)`.
    """
    padded = np.pad(number, 1, constant_values=-1)
    rows, columns = number.shape[0] + 1, number.shape[1] + 1
    four = np.stack([padded[i : i + rows, j : j + columns].ravel() for i, j in CORNERS], axis=1)
    free = four >= 0
    counts = np.repeat(free[:, None], 4, axis=1)
    for own in range(4):
        opposite = 3 - own
        beside = [corner for corner in range(4) if corner not in (own, opposite)]
        counts[:, own, opposite] &= free[:, beside].any(1) | ~free[:, own]
    return np.maximum(four, 0), counts.reshape(-1, 4).astype(np.float64)
