"""What searches left in their run folders: curves over evaluations, and archives."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cairngym.experiments.records import read_metrics
from cairngym.experiments.statistics import Band, bootstrap_curve
from cairngym.reward_shaping.quality_diversity.saved import FILE, SavedArchive, read_archive

AREA = re.compile(r"area_(\d+)/best")
POINTS = 200
"""Of a curve with a band."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """How a search came along; T reports, K reward areas."""

    evaluations: np.ndarray
    """float64 `(T,)`, ascending."""
    coverage: np.ndarray
    """float64 `(T,)`, share of the cells reached."""
    qd_score: np.ndarray
    best_fitness: np.ndarray
    area_best: np.ndarray
    """float64 `(K, T)`."""
    area_evaluations: np.ndarray
    """float64 `(K, T)`, evaluations spent in each area so far."""

    def __post_init__(self) -> None:
        count = len(self.evaluations)
        for name in ("coverage", "qd_score", "best_fitness", "area_best", "area_evaluations"):
            if getattr(self, name).shape[-1] != count:
                raise ValueError(f"Expected {name} at {count} reports, got {getattr(self, name).shape}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Averaged:
    """A statistic over seeds along evaluations."""

    evaluations: np.ndarray
    """float64 `(points,)`."""
    band: Band


def read_curves(folder: Path) -> Curves | None:
    """The curves in a run's `metrics.jsonl`; None where no line tells of coverage.

    Raises:
        RecordError: the file cannot be understood.
    """
    lines, _ = read_metrics(Path(folder) / "metrics.jsonl")
    found = {line["evaluations"]: line for line in lines if "coverage" in line and "evaluations" in line}
    if not found:
        return None
    rows = [found[key] for key in sorted(found)]
    areas = 1 + max((int(match[1]) for row in rows for name in row if (match := AREA.fullmatch(name))), default=-1)
    return Curves(
        evaluations=_column(rows, "evaluations"), coverage=_column(rows, "coverage"),
        qd_score=_column(rows, "qd_score"), best_fitness=_column(rows, "best_fitness"),
        area_best=_rows(rows, areas, "best"), area_evaluations=_rows(rows, areas, "evaluations"),
    )  # fmt: skip


def _rows(rows: Sequence[dict[str, Any]], areas: int, name: str) -> np.ndarray:
    return np.array([_column(rows, f"area_{k}/{name}") for k in range(areas)]).reshape(areas, len(rows))


def _column(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    values = (row.get(name) for row in rows)
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def read_saved(folder: Path) -> SavedArchive | None:
    """The archive of a run folder; None where it left none.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    path = Path(folder) / FILE
    return read_archive(path) if path.is_file() else None


def averaged(runs: Sequence[Curves], name: str, area: int | None = None, *, seed: int = 0) -> Averaged | None:
    """Interquartile mean over runs of one curve with its 95 % bootstrap band, as far as all of them got.

    Between two reports, what was known at the earlier one counts: a search does not find half a cell.

    Args:
        runs: one a seed.
        name: a field of `Curves`.
        area: which row of an area's curves.
        seed: of the bootstrap.

    Returns:
        None where no run has that curve, or they have no evaluations in common.
    """
    pairs = [(run.evaluations, _pick(run, name, area)) for run in runs]
    kept = [(x[np.isfinite(y)], y[np.isfinite(y)]) for x, y in pairs if y is not None and np.isfinite(y).any()]
    if not kept:
        return None
    start, end = max(x[0] for x, _ in kept), min(x[-1] for x, _ in kept)
    points = np.unique(np.concatenate([x for x, _ in kept]))
    points = points[(points >= start) & (points <= end)]
    if len(points) == 0:
        return None
    if len(points) > POINTS:
        points = points[np.linspace(0, len(points) - 1, POINTS).round().astype(int)]
    paths = np.stack([y[np.searchsorted(x, points, side="right") - 1] for x, y in kept])
    return Averaged(evaluations=points, band=bootstrap_curve([paths], seed=seed))


def _pick(run: Curves, name: str, area: int | None) -> np.ndarray | None:
    values: np.ndarray = getattr(run, name)
    if area is None:
        return values
    return values[area] if area < len(values) else None
