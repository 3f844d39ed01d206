"""The file `archive.npz` of a run folder: what a search reached, as plain arrays, for pictures and later reports.

An agent that evolves writes it beside its checkpoint and at the end; the curves over evaluations stand in the run's
`metrics.jsonl`, where every training line holds `GridRecord.metrics()`: `evaluations`, `coverage`, `qd_score`,
`best_fitness`, `area_<k>/best` and `area_<k>/evaluations`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from cairngym.envs.files import replacing
from cairngym.reward_shaping.quality_diversity.grid import GridRecord

FILE = "archive.npz"
KIND = "cairngym archive 1"


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedArchive:
    """A `GridRecord` as arrays: a descriptor of D numbers, E cells reached, K reward areas, the ways of P elites."""

    names: np.ndarray
    """str `(D,)`, what the numbers are, with their units."""
    low: np.ndarray
    """float64 `(D,)`."""
    high: np.ndarray
    """float64 `(D,)`."""
    cells: np.ndarray
    """int64 `(D,)`, into how many parts each number's range is divided."""
    offset: np.ndarray
    """float64 `()`, the least fitness possible."""
    evaluations: np.ndarray
    """int64 `()`."""
    outside: np.ndarray
    """int64 `()`, evaluations whose descriptor was clipped."""
    cell: np.ndarray
    """int64 `(E,)`, the cells reached, the descriptor's last number counting fastest."""
    fitness: np.ndarray
    """float32 `(E,)`, of the best in each."""
    behavior: np.ndarray
    """float32 `(E, D)`, descriptor of the best in each."""
    who: np.ndarray
    """int64 `(E,)`, number of the evaluation that made it."""
    visits: np.ndarray
    """int64 `(E,)`, evaluations that ended there."""
    area_center: np.ndarray
    """float64 `(K, D)`."""
    area_radius: np.ndarray
    """float64 `(K,)`."""
    area_fitness: np.ndarray
    """float32 `(K,)`, the best of each area; -inf where none ended in it."""
    area_visits: np.ndarray
    """int64 `(K,)`."""
    area_first: np.ndarray
    """int64 `(K,)`, number of the first evaluation in it; -1 where there is none."""
    genomes: np.ndarray
    """float32 `(E, G)`, parameters of each cell's best; G is zero where they were not kept."""
    paths: np.ndarray
    """float32 `(P, T, D)`, descriptors along the episodes of P elites, NaN behind an episode's end."""
    path_fitness: np.ndarray
    """float32 `(P,)`."""
    walls: np.ndarray
    """float64 `(W, 2, 2)`, ends of the segments that bound the way, in the first two numbers; W may be zero."""

    def __post_init__(self) -> None:
        sizes = {"D": len(self.names), "E": len(self.cell), "K": len(self.area_radius), "P": len(self.path_fitness)}
        expected = {
            "D": ("low", "high", "cells"), "E": ("fitness", "behavior", "who", "visits", "genomes"),
            "K": ("area_center", "area_fitness", "area_visits", "area_first"), "P": ("paths",),
        }  # fmt: skip
        for size, names in expected.items():
            for name in names:
                if len(getattr(self, name)) != sizes[size]:
                    raise ValueError(f"Expected {size} = {sizes[size]} rows of {name}, got {len(getattr(self, name))}.")
        for name in ("behavior", "area_center", "paths"):
            if getattr(self, name).shape[-1] != sizes["D"]:
                raise ValueError(f"Expected {name} with {sizes['D']} numbers, got {getattr(self, name).shape}.")

    def grid(self, values: np.ndarray, blank: float = np.nan) -> np.ndarray:
        """Values `(E,)` laid out on the grid, float64 `(*cells)`, with `blank` in cells that were not reached."""
        laid = np.full(int(self.cells.prod()), blank, dtype=np.float64)
        laid[self.cell] = values
        return laid.reshape(tuple(self.cells))


def save_record(
    record: GridRecord,
    *,
    names: Sequence[str] = (),
    genomes: torch.Tensor | None = None,
    paths: torch.Tensor | None = None,
    path_fitness: torch.Tensor | None = None,
    walls: np.ndarray | None = None,
) -> SavedArchive:
    """A record as plain arrays.

    Args:
        record: what was reached.
        names: of the descriptor's numbers, for instance "ball_position[0] (m)"; default is field and place.
        genomes: `(E, G)`, in the order of `record.reached`.
        paths: `(P, T, D)`, NaN behind an episode's end.
        path_fitness: `(P,)`; needed with `paths`.
        walls: `(W, 2, 2)`.

    Raises:
        ValueError: sizes that do not agree.
    """
    cells, size = record.reached, record.descriptor.size
    described = record.descriptor
    return SavedArchive(
        names=np.array(list(names) or [f"{name}[{place}]" for name, place in described.entries], dtype=np.str_),
        low=np.array(described.low, dtype=np.float64), high=np.array(described.high, dtype=np.float64),
        cells=np.array(described.cells, dtype=np.int64), offset=np.array(record.offset, dtype=np.float64),
        evaluations=np.array(record.evaluations), outside=np.array(record.outside),
        cell=_array(cells), fitness=_array(record.fitness[cells]), behavior=_array(record.behavior[cells]),
        who=_array(record.who[cells]), visits=_array(record.visits[cells]),
        area_center=np.array([area.center for area in record.areas], dtype=np.float64).reshape(-1, size),
        area_radius=np.array([area.radius for area in record.areas], dtype=np.float64),
        area_fitness=_array(record.area_fitness), area_visits=_array(record.area_visits),
        area_first=_array(record.area_first),
        genomes=np.zeros((len(cells), 0), np.float32) if genomes is None else _array(genomes),
        paths=np.zeros((0, 0, size), np.float32) if paths is None else _array(paths),
        path_fitness=np.zeros(0, np.float32) if path_fitness is None else _array(path_fitness),
        walls=np.zeros((0, 2, 2)) if walls is None else np.asarray(walls, dtype=np.float64).reshape(-1, 2, 2),
    )  # fmt: skip


def write_archive(path: str | Path, archive: SavedArchive) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: if the disk refuses; an older file at `path` stays as it was.
    """
    with replacing(path) as file:
        np.savez_compressed(file, kind=np.array(KIND), **{f.name: getattr(archive, f.name) for f in fields(archive)})


def read_archive(path: str | Path) -> SavedArchive:
    """Read what `write_archive` wrote; nothing in the file is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["kind"]) != KIND:
                raise ValueError(f"it is of the kind {str(found['kind'])!r}")
            return SavedArchive(**{field.name: found[field.name] for field in fields(SavedArchive)})
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"Expected an archive ({KIND!r}) in {path}, got: {error}. Let the run write it again."
        ) from error


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
