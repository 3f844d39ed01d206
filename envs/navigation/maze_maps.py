"""Maps of mazes: walls, free cells, and which of these an episode may begin in or aim at.

The named layouts are D4RL's (Fu et al. 2020, "D4RL: Datasets for Deep Data-Driven Reinforcement Learning").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Cell = tuple[int, int]
"""(i, j): row from the top, column from the left."""
WALL, FREE, RESET, GOAL, COMBINED = "#", ".", "r", "g", "c"
SYMBOLS = {1: WALL, "1": WALL, WALL: WALL, 0: FREE, "0": FREE, FREE: FREE, RESET: RESET, GOAL: GOAL, COMBINED: COMBINED}
"""What a cell of a map may hold, as upstream writes it (1, 0, "r", "g", "c") or as here."""
SHOWN = 40
"""Cells a message lists at most."""

OPEN = ("#######", "#.....#", "#.....#", "#.....#", "#######")
U_MAZE = ("#####", "#...#", "###.#", "#...#", "#####")
MEDIUM = ("########", "#..##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#..#", "########")
LARGE = (
    "############",
    "#....#.....#",
    "#.##.#.#.#.#",
    "#......#...#",
    "#.####.###.#",
    "#..#.#.....#",
    "##.#.#.#.###",
    "#..#...#...#",
    "############",
)


def _marked(rows: Sequence[str], symbol: str, first: str, others: Sequence[Cell]) -> tuple[str, ...]:
    """`rows` with `first` in cell (1, 1) and `symbol` in the `others`."""
    cells = [list(row) for row in rows]
    cells[1][1] = first
    for i, j in others:
        cells[i][j] = symbol
    return tuple("".join(row) for row in cells)


_OPEN_GOALS = [(i, j) for i in range(1, 4) for j in range(1, 6) if (i, j) != (1, 1)]
_MEDIUM_GOALS = [(2, 6), (5, 1), (6, 5)]
_LARGE_GOALS = [(1, 6), (3, 5), (3, 10), (5, 2), (7, 4), (7, 6), (7, 9)]

MAPS = {
    "Open": OPEN,
    "Open_Diverse_G": _marked(OPEN, GOAL, RESET, _OPEN_GOALS),
    "Open_Diverse_GR": _marked(OPEN, COMBINED, COMBINED, _OPEN_GOALS),
    "UMaze": U_MAZE,
    "Medium": MEDIUM,
    "Medium_Diverse_G": _marked(MEDIUM, GOAL, RESET, _MEDIUM_GOALS),
    "Medium_Diverse_GR": _marked(MEDIUM, COMBINED, COMBINED, _MEDIUM_GOALS),
    "Large": LARGE,
    "Large_Diverse_G": _marked(LARGE, GOAL, RESET, _LARGE_GOALS),
    "Large_Diverse_GR": _marked(LARGE, COMBINED, COMBINED, _LARGE_GOALS),
}
"""Rows from the top, by the names in the ids."""


@dataclass(frozen=True, kw_only=True)
class MazeMap:
    """A map that was checked; see `parse_map`."""

    rows: tuple[str, ...]
    """Rows from the top, of `SYMBOLS`' values."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.rows), len(self.rows[0])

    def cells(self, symbols: str) -> list[Cell]:
        """The cells that hold one of `symbols`, row by row."""
        return [(i, j) for i, row in enumerate(self.rows) for j, symbol in enumerate(row) if symbol in symbols]

    @property
    def walls(self) -> list[Cell]:
        """Row by row."""
        return self.cells(WALL)

    @property
    def free(self) -> list[Cell]:
        """Every cell that is no wall, row by row."""
        return self.cells(FREE + RESET + GOAL + COMBINED)

    @property
    def goals(self) -> list[Cell]:
        """Cells a goal may lie in: those marked "g" or "c", or where none is, those marked by nothing."""
        return self.cells(GOAL + COMBINED) or self.cells(FREE)

    @property
    def starts(self) -> list[Cell]:
        """Cells an episode may begin in: those marked "r" or "c", or where none is, those marked by nothing."""
        return self.cells(RESET + COMBINED) or self.cells(FREE)


def listing(cells: Sequence[Cell]) -> str:
    """Cells for a message, the first `SHOWN` of them."""
    more = f" and {len(cells) - SHOWN} more" if len(cells) > SHOWN else ""
    return ", ".join(f"({i}, {j})" for i, j in cells[:SHOWN]) + more


def parse_map(maze_map: Sequence[Sequence[int | str]]) -> MazeMap:
    """Check a map given as rows of 1 (wall), 0 (free), "r" (start), "g" (goal) and "c" (both), or of strings.

    Where no cell is marked as a goal (a start), every unmarked free cell may be one.

    Raises:
        ValueError: an unknown symbol, rows of different lengths, an opening in the outer wall, no goal or no start,
            a goal with no other cell to start from, or goals and starts that no path joins.

    Example:
        >>> parse_map([[1, 1, 1, 1], [1, "r", "g", 1], [1, 1, 1, 1]]).goals
        [(1, 2)]
    """
    rows = tuple("".join(_symbol(symbol, (i, j)) for j, symbol in enumerate(row)) for i, row in enumerate(maze_map))
    if not rows or not rows[0]:
        raise ValueError("Expected a maze_map with cells, got an empty one. Give rows of 1 (wall) and 0 (free).")
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ValueError(
            f"Expected a maze_map with rows of one length, got lengths {lengths}. Fill them with walls (1)."
        )
    found = MazeMap(rows=rows)
    last = (len(rows) - 1, lengths[0] - 1)
    gaps = [(i, j) for i, j in found.free if i in (0, last[0]) or j in (0, last[1])]
    if gaps:
        raise ValueError(f"Expected walls (1) all around the maze_map, got openings at {listing(gaps)}.")
    _check_goals(found)
    return found


def _symbol(symbol: int | str, cell: Cell) -> str:
    if symbol not in SYMBOLS:
        raise ValueError(
            f"Expected 1 (wall), 0 (free), 'r' (start), 'g' (goal) or 'c' (both) in maze_map, got {symbol!r} at {cell}."
        )
    return SYMBOLS[symbol]


def _check_goals(found: MazeMap) -> None:
    goals, starts = found.goals, found.starts
    for cells, name, mark in ((goals, "goal", "g"), (starts, "reset", "r")):
        if not cells:
            raise ValueError(f"Expected a maze_map with a {name} cell, got none. Mark free cells {mark!r} or 'c'.")
    if len(starts) == 1 and starts[0] in goals:
        raise ValueError(
            f"Expected another reset cell for every goal cell, got only {starts[0]}, which is a goal cell too. Mark a "
            "second cell 'r' or 'c', or this one 'r'."
        )
    joined = reachable(found, starts[0])
    lost = [cell for cell in (*goals, *starts) if cell not in joined]
    if lost:
        raise ValueError(
            f"Expected a maze_map whose goal and reset cells are joined by free cells, got {listing(lost)} that "
            f"can't be reached from {starts[0]}. Open a wall, or mark only cells within reach."
        )


def reachable(found: MazeMap, start: Cell) -> set[Cell]:
    """The free cells that paths over shared edges join to `start`, itself included."""
    free, seen, edge = set(found.free), {start}, [start]
    while edge:
        i, j = edge.pop()
        near = {(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)} & free - seen
        seen |= near
        edge.extend(near)
    return seen
