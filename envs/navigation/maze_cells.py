"""Cells to start from and to go to: given by the caller, drawn, or fixed for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cairngym.envs.navigation.maze_maps import Cell, MazeMap, listing
from cairngym.envs.navigation.maze_paths import MazePaths


class Pool:
    """Cells to draw from, by number.

    Args:
        numbers: of the cells.
        count: free cells of the maze.
        device: where draws are made.
    """

    def __init__(self, numbers: Sequence[int], count: int, device: torch.device) -> None:
        self.size = len(numbers)
        self.numbers = torch.tensor(numbers, device=device)
        self._place = torch.full((count,), self.size, device=device)
        self._place[self.numbers] = torch.arange(self.size, device=device)

    def draw(self, chance: torch.Tensor, without: torch.Tensor | None = None) -> torch.Tensor:
        """Cells drawn evenly by `chance` `(B, ...)` in [0, 1), other than `without` `(B,)` where there is another."""
        if without is None:
            return self.numbers[(chance * self.size).long().clamp_(max=self.size - 1)]
        left_out = self._place[without]
        choices = self.size - (left_out < self.size).long()
        place = torch.minimum((chance * choices).long(), choices - 1)
        return self.numbers[(place + (place >= left_out)).clamp_(0, self.size - 1)]


def farthest_pairs(paths: MazePaths, starts: Pool, goals: Pool, count: int) -> torch.Tensor:
    """Up to `count` pairs of start and goal, int64 `(pairs, 2)` numbers of cells.

    Each is the farthest apart of those whose start and goal are in no other pair; if there is none, of those whose
    goal is in no other.
    """
    length = paths.length.cpu()
    pairs = [(s, g) for s in starts.numbers.tolist() for g in goals.numbers.tolist() if s != g]
    pairs.sort(key=lambda pair: (-float(length[pair]), pair))
    chosen: list[tuple[int, int]] = []
    for shared_starts in (False, True):
        for start, goal in pairs:
            fresh = goal not in [g for _, g in chosen] and (shared_starts or start not in [s for s, _ in chosen])
            if fresh and len(chosen) < count:
                chosen.append((start, goal))
    return torch.tensor(chosen, device=paths.device)


def cell_numbers(name: str, value: Any, paths: MazePaths, num_envs: int) -> torch.Tensor:
    """The numbers `(N,)` of the cells given by an option of `reset`.

    Args:
        name: of the option.
        value: (i, j), or `(N, 2)` of them.
        paths: the maze's tables.
        num_envs: N.

    Raises:
        ValueError: not integers of such a shape, outside of the map, or a wall.
    """
    cells = torch.as_tensor(value, device=paths.device)
    if tuple(cells.shape) not in ((2,), (num_envs, 2)) or cells.is_floating_point() or cells.dtype is torch.bool:
        raise ValueError(
            f"Expected {name} as integers (i, j) or of shape ({num_envs}, 2), i.e. (num_envs, 2), got "
            f"{str(cells.dtype).removeprefix('torch.')} of shape {tuple(cells.shape)}."
        )
    cells = cells.long().expand(num_envs, 2)
    rows, columns = paths.maze.shape
    beyond = (cells < 0).any(1) | (cells[:, 0] >= rows) | (cells[:, 1] >= columns)
    if bool(beyond.any()):
        raise ValueError(
            f"Expected {name} (i, j) within the maze's {rows} rows and {columns} columns, got {_first(cells, beyond)}. "
            f"{_free(paths.maze)}"
        )
    numbers = paths.number[cells[:, 0], cells[:, 1]]
    if bool((numbers < 0).any()):
        raise ValueError(
            f"Expected {name} (i, j) to be a free cell, got the wall {_first(cells, numbers < 0)}. {_free(paths.maze)}"
        )
    return numbers


def check_joined(chosen: Mapping[str, torch.Tensor], paths: MazePaths, home: int) -> None:
    """Raise `ValueError` unless a path joins the chosen `goal_cell` and `reset_cell`.

    Args:
        chosen: numbers `(N,)` of the cells given.
        paths: the maze's tables.
        home: a cell among those drawn where one of the two is not given.
    """
    for name, numbers in chosen.items():
        other = "reset_cell" if name == "goal_cell" else "goal_cell"
        origin = chosen.get(other, torch.full_like(numbers, home))
        lost = paths.hops[origin, numbers] < 0
        if bool(lost.any()):
            first = int(lost.nonzero()[0])
            cell, source = (_cell(paths.cells[k[first]]) for k in (numbers, origin))
            within = [_cell(reached) for reached in paths.cells[paths.hops[origin[first]] >= 0]]
            raise ValueError(
                f"Expected {name} to be joined to the {other.replace('_', ' ')} {source} by free cells, got {cell}, "
                f"which has no path to it. Cells within reach: {listing(within)}."
            )


def _cell(pair: torch.Tensor) -> Cell:
    return int(pair[0]), int(pair[1])


def _first(cells: torch.Tensor, mask: torch.Tensor) -> Cell:
    return _cell(cells[mask][0])


def _free(maze: MazeMap) -> str:
    return f"Free cells: {listing(maze.free)}."
