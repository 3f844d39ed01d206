"""The tables of a comparison's report, for pages (texts) and for CSV files (numbers)."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cairngym.experiments import statistics
from cairngym.experiments.analysis import (
    Cell,
    interval_text,
    reached_text,
    seconds_text,
    steps_text,
    time_to_level,
)
from cairngym.experiments.records import Experiment, Run
from cairngym.experiments.statistics import Interval, Reached
from cairngym.experiments.threshold import ALL_TASKS, LEVELS

Cells = Mapping[tuple[str, str], Cell]


@dataclass(frozen=True)
class Entry:
    """One field of a table."""

    text: str
    strong: bool = False
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header; the first `labels` columns are words, the others numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    labels: int = 1


def task_name(task: str) -> str:
    """A task id, or "all tasks"."""
    return "all tasks" if task == ALL_TASKS else task


def rows_of(experiment: Experiment) -> tuple[str, ...]:
    """Task ids, and "all" where there are several."""
    return (*experiment.tasks, *([ALL_TASKS] if len(experiment.tasks) > 1 else []))


def overview(experiment: Experiment, cells: Cells) -> Table:
    """One row per variant over all tasks."""
    return Table(
        header=(
            "variant", "runs", "final success", "greedy", f"P(better than {experiment.plan.baseline})",
            "steps to 80 %", "time to 80 %",
        ),
        rows=tuple(_overview_row(experiment, cells[ALL_TASKS, variant]) for variant in experiment.variants),
    )  # fmt: skip


def _overview_row(experiment: Experiment, cell: Cell) -> tuple[Entry, ...]:
    baseline = cell.variant == experiment.plan.baseline
    return (
        Entry(cell.variant + (" (baseline)" if baseline else "")),
        Entry(f"{cell.finished}/{cell.planned}"),
        Entry(interval_text(cell.success)),
        Entry(interval_text(cell.success_greedy)),
        Entry(interval_text(cell.improvement), strong=clearly_better(cell.improvement)),
        Entry(reached_text(cell.steps_to.get(80), "steps")),
        Entry(reached_text(cell.seconds_to.get(80), "seconds")),
    )


def clearly_better(improvement: Interval | None) -> bool:
    """Whether the whole interval of a probability of improvement lies above one half."""
    return improvement is not None and improvement.low > 0.5


def final_table(experiment: Experiment, cells: Cells) -> Table:
    """Final success, sampled and greedy, and the episodes it was counted on."""
    return Table(
        header=("task", "variant", "runs", "sampled", "greedy", "episodes won", "exact interval"),
        rows=tuple(
            (
                Entry(task_name(task)),
                Entry(variant),
                Entry(f"{cell.finished}/{cell.planned}"),
                Entry(interval_text(cell.success), strong=_best(cells, task, cell)),
                Entry(interval_text(cell.success_greedy)),
                Entry(f"{cell.episodes[0]}/{cell.episodes[1]}"),
                Entry(interval_text(cell.episode_interval)),
            )
            for task, variant, cell in _each(experiment, cells)
        ),
        labels=2,
    )


def _best(cells: Cells, task: str, cell: Cell) -> bool:
    rivals = [one.success.value for (name, _), one in cells.items() if name == task and one.success]
    return cell.success is not None and max(rivals) > min(rivals) and cell.success.value == max(rivals)


def time_table(experiment: Experiment, cells: Cells) -> Table:
    """Env steps and training time until 50, 80 and 95 % success."""
    return Table(
        header=("task", "variant", *(f"steps to {p} %" for p in LEVELS), *(f"time to {p} %" for p in LEVELS)),
        rows=tuple(
            (
                Entry(task_name(task)),
                Entry(variant),
                *(Entry(reached_text(cell.steps_to.get(level), "steps")) for level in LEVELS),
                *(Entry(reached_text(cell.seconds_to.get(level), "seconds")) for level in LEVELS),
            )
            for task, variant, cell in _each(experiment, cells)
            if task != ALL_TASKS
        ),
        labels=2,
    )


def improvement_table(experiment: Experiment, cells: Cells) -> Table:
    """Probability of improvement over the baseline: a row per task, a column per variant."""
    variants = [variant for variant in experiment.variants if variant != experiment.plan.baseline]
    return Table(
        header=("task", *variants),
        rows=tuple(
            (Entry(task_name(task)), *(_improvement_entry(cells[task, variant]) for variant in variants))
            for task in rows_of(experiment)
        ),
    )


def _improvement_entry(cell: Cell) -> Entry:
    return Entry(interval_text(cell.improvement), strong=clearly_better(cell.improvement))


def run_table(experiment: Experiment) -> Table:
    """One row per run folder, with links relative to the experiment folder."""
    return Table(
        header=("task", "variant", "run", "status", "steps", "training", "sampled", "greedy", "metrics", "log"),
        rows=tuple(_run_row(experiment, run) for run in experiment.runs),
        labels=4,
    )


def _run_row(experiment: Experiment, run: Run) -> tuple[Entry, ...]:
    final = run.final
    return (
        Entry(run.task),
        Entry(run.variant),
        Entry(f"seed {run.seed}", link=relative_link(experiment.folder, run.folder) + "/" if experiment.linked else ""),
        Entry(run.status),
        Entry(steps_text(run.last_step)),
        Entry(seconds_text(run.wall_s)),
        Entry(f"{final.success:.3f}" if final else "-"),
        Entry(f"{final.success_greedy:.3f}" if final else "-"),
        _file(experiment, run, "metrics.jsonl"),
        _file(experiment, run, "log.txt"),
    )


def _file(experiment: Experiment, run: Run, name: str) -> Entry:
    link = file_link(experiment, run, name)
    return Entry(name if link else "-", link=link)


def file_link(experiment: Experiment, run: Run, name: str) -> str:
    """A link from the experiment folder to a run's file; empty where there is none to link to."""
    path = run.folder / name
    return relative_link(experiment.folder, path) if experiment.linked and path.is_file() else ""


def relative_link(folder: Path, path: Path) -> str:
    """A link from a page in `folder` to `path`."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def run_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """results.csv: one row per run folder; what is not known is empty, a level never reached too."""
    return [
        {
            "experiment": experiment.plan.name, "task": run.task, "variant": run.variant, "seed": run.seed,
            "status": run.status, "steps": run.last_step, "wall_s": round(run.wall_s, 3), **_final_numbers(run),
            **{f"steps_to_{p}": _finite(time_to_level(run, p, "step")) for p in LEVELS},
            **{f"seconds_to_{p}": _finite(time_to_level(run, p, "wall_s")) for p in LEVELS},
            "resumes": run.summary.get("resumes"), "folder": relative_link(experiment.folder, run.folder),
            "command": run.summary.get("command") or run.config.get("command"), "notes": "; ".join(run.notes),
        }
        for run in experiment.runs
    ]  # fmt: skip


def _final_numbers(run: Run) -> dict[str, Any]:
    final = run.final
    exact = statistics.binomial_interval(final.successes, final.episodes) if final else None
    return {
        "final_success": final.success if final else None,
        "final_success_low": exact.low if exact else None,
        "final_success_high": exact.high if exact else None,
        "final_success_greedy": final.success_greedy if final else None,
        "final_episodes": final.episodes if final else None,
    }


def summary_rows(experiment: Experiment, cells: Cells) -> list[dict[str, Any]]:
    """summary.csv: one row per task (and all tasks) and variant; intervals are 95 %."""
    rows = []
    for task, variant, cell in _each(experiment, cells):
        row: dict[str, Any] = {"task": task, "variant": variant, "finished": cell.finished, "planned": cell.planned}
        row |= _interval_numbers("final_success", cell.success)
        row |= _interval_numbers("final_success_greedy", cell.success_greedy)
        row |= _interval_numbers("probability_of_improvement", cell.improvement)
        for unit, times in (("steps", cell.steps_to), ("seconds", cell.seconds_to)):
            for level in LEVELS:
                row |= _reached_numbers(f"{unit}_to_{level}", times.get(level))
        rows.append(row)
    return rows


def _interval_numbers(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _reached_numbers(name: str, reached: Reached | None) -> dict[str, float | None]:
    return {name: reached.median if reached else None, f"{name}_reached": reached.count if reached else None}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _each(experiment: Experiment, cells: Cells) -> Iterable[tuple[str, str, Cell]]:
    return ((task, v, cells[task, v]) for task in rows_of(experiment) for v in experiment.variants)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as CSV; None is an empty field."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
