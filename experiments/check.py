"""The results of a comparison held against the thresholds that stand in its config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cairngym.envs.checks import unknown_name
from cairngym.experiments.analysis import Cell, analyse, measure
from cairngym.experiments.records import Experiment, read_experiment
from cairngym.experiments.threshold import ALL_TASKS, METRICS, RELATIVE, Threshold

__all__ = ["METRICS", "CheckResult", "Threshold", "check_comparison", "render_checks"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One thing that was held against the results."""

    name: str
    """What was looked at."""
    wanted: str
    """What it has to be, in words."""
    measured: str
    """What it is, in words, with its interval where it has one."""
    passed: bool


def check_comparison(comparison_thresholds: Sequence[Threshold], experiment_folder: Path) -> list[CheckResult]:
    """Hold the results in an experiment folder against thresholds; the first check is that every run has finished.

    A time that was never reached is known to be beyond the budget: it fails every maximum, and meets a minimum that
    the budget covers. A bound on something that no finished run measures fails.

    Args:
        comparison_thresholds: bounds, usually `Comparison.thresholds`.
        experiment_folder: as written by `cairn compare`.

    Raises:
        UnknownNameError: a threshold names a task or variant that the experiment does not have.
        FileNotFoundError: no experiment in the folder.
        RecordError: a file in it cannot be understood.
    """
    experiment = read_experiment(experiment_folder)
    for threshold in comparison_thresholds:
        _check_names(threshold, experiment)
    cells = analyse(experiment) if comparison_thresholds else {}
    return [
        _all_finished(experiment),
        *(_check(threshold, cells[threshold.task, threshold.variant]) for threshold in comparison_thresholds),
    ]


def _check_names(threshold: Threshold, experiment: Experiment) -> None:
    if threshold.task not in (ALL_TASKS, *experiment.tasks):
        raise unknown_name("task in a threshold:", threshold.task, (ALL_TASKS, *experiment.tasks))
    if threshold.variant not in experiment.variants:
        raise unknown_name("variant in a threshold:", threshold.variant, experiment.variants)
    if threshold.metric in RELATIVE and threshold.variant == experiment.plan.baseline:
        raise ValueError(
            f"Expected {threshold.metric} of a variant other than the baseline {threshold.variant!r}, which "
            "is what the others are held against."
        )


def _all_finished(experiment: Experiment) -> CheckResult:
    finished = sum(run.status == "finished" for run in experiment.runs)
    planned = len(experiment.runs) + len(experiment.missing)
    return CheckResult(
        name="finished runs", wanted=f"= {planned}", measured=f"{finished} of {planned}", passed=finished == planned
    )


def _check(threshold: Threshold, cell: Cell) -> CheckResult:
    task = "all tasks" if threshold.task == ALL_TASKS else threshold.task
    name = f"{threshold.metric} of {threshold.variant} on {task}"
    value = measure(cell, threshold.metric)
    if value is None:
        return CheckResult(name=name, wanted=threshold.wanted, measured="no finished run", passed=False)
    passed = (threshold.minimum is None or value.low >= threshold.minimum) and (
        threshold.maximum is None or value.high <= threshold.maximum
    )
    return CheckResult(name=name, wanted=threshold.wanted, measured=value.text, passed=passed)


def render_checks(results: Sequence[CheckResult]) -> str:
    """Lay checks out as a table of plain text, with a closing line that counts those passed."""
    rows = [("", "check", "wanted", "measured")]
    rows += [("pass" if r.passed else "FAIL", r.name, r.wanted, r.measured) for r in results]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    passed = sum(result.passed for result in results)
    return "\n".join([*lines, "", f"{passed} of {len(results)} checks passed."])
