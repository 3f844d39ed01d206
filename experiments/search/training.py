"""Training with candidates: one rung of successive halving as runs of a comparison, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cairngym.experiments.compare import check_mixing, execute
from cairngym.experiments.config import Comparison
from cairngym.experiments.launcher import Launcher
from cairngym.experiments.matrix import expand
from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.records import COMPARISON_FILE, Run, read_metrics, read_run
from cairngym.experiments.resolve import resolve
from cairngym.experiments.runfolder import RunFolder, disk_full
from cairngym.experiments.search.config import TERM
from cairngym.experiments.search.fitness import Course, Trial, course, mean_fitness, run_fitness

PREFIX = f"shaper/{TERM}/"
COMPONENTS = f"{PREFIX}components/"
MAX_PROBLEM = 300
"""Characters of a log's last line."""


def train(comparison: Comparison, rung: int, root: Path, launcher: Launcher, console: Console) -> dict[str, Trial]:
    """Run what is missing of a rung, and read what came of every candidate.

    A run that fails is tried once more, from its checkpoint; whatever fails then counts as no success.

    Args:
        comparison: its variants are the candidates.
        rung: counted from zero.
        root: the folder that the comparison's lies in.
        launcher: what executes the runs.
        console: where to tell the progress.

    Returns:
        By candidate, in order.

    Raises:
        MixedRunsError: runs in the folder were made with other settings.
        KeyboardInterrupt: passed on after every run was stopped at a checkpoint.
    """
    folder = root / comparison.name
    configs = [resolve(config) for config in expand(comparison)]
    check_mixing(configs, root, fresh=False)
    with disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(folder / COMPARISON_FILE, comparison)
    runs = [(config, RunFolder(root / config.folder)) for config in configs]
    if execute(runs, launcher, console):
        execute(runs, launcher, console)
    found: dict[str, list[Run]] = {}
    for config, place in runs:
        found.setdefault(config.variant, []).append(read_run(place.path, config))
    return {name: assess(rung, comparison.steps, group) for name, group in found.items()}


def assess(rung: int, steps: int, runs: Sequence[Run]) -> Trial:
    """What the runs of one candidate came to.

    Args:
        rung: counted from zero.
        steps: env steps that each run was given.
        runs: one for each seed.
    """
    scores = {str(run.seed): _fitness(run) for run in runs}
    finished = [run for run in runs if scores[str(run.seed)] is not None]
    lines = [_train_lines(run) for run in finished]
    names = dict.fromkeys(key for run in lines for line in run for key in line if key.startswith(COMPONENTS))
    failed = [run for run in runs if run not in finished]
    return Trial(
        rung=rung, steps=steps, fitness=mean_fitness(scores), runs=scores,
        training_success=_training_success(lines), env_steps=sum(run.last_step for run in runs),
        switched_off=sum(any(line.get(f"{PREFIX}switched_off") for line in run) for run in lines),
        problem=_last_words(failed[0].folder / "log.txt") if failed else "",
        components={name.removeprefix(COMPONENTS): found for name in names if (found := _course(lines, name, steps))},
        total=_course(lines, f"{PREFIX}value", steps), success=_success(finished, steps),
    )  # fmt: skip


def _fitness(run: Run) -> float | None:
    if run.status != "finished" or not len(run.evaluations):
        return None
    return run_fitness(run.evaluations.success)


def _train_lines(run: Run) -> list[dict[str, Any]]:
    lines, _ = read_metrics(run.folder / "metrics.jsonl")
    return [line for line in lines if line["phase"] == "train"]


def _series(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Env steps and values of a metric where it is a number, float64 `(n,)` each."""
    pairs = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
    step, value = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return step, value


def _course(runs: Sequence[Sequence[Mapping[str, Any]]], name: str, steps: int) -> Course | None:
    series = [_series(lines, name) for lines in runs]
    return course(series, steps) if any(len(step) for step, _ in series) else None


def _success(runs: Sequence[Run], steps: int) -> Course | None:
    return course([(run.evaluations.step, run.evaluations.success) for run in runs], steps) if runs else None


def _training_success(runs: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    values = [value for lines in runs for value in _series(lines, "success_rate")[1]]
    return float(np.mean(values)) if values else 0.0


def _last_words(log: Path) -> str:
    """The last line of a log that says anything."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line.strip()[:MAX_PROBLEM] for line in reversed(lines) if line.strip()), "")
