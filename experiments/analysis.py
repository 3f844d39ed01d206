"""From run records to the numbers a comparison is judged by: one `Cell` per task and variant, and success curves.

Only finished runs count. A cell without any is empty, and every number says how many runs it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.experiments import statistics
from cairngym.experiments.records import Evaluations, Experiment, Run
from cairngym.experiments.statistics import Band, Interval, Reached
from cairngym.experiments.threshold import ALL_TASKS, LEVELS, METRICS

Axis = Literal["step", "wall_s"]
WALL_POINTS = 80
SHARE_POINTS = 51
PROFILE_POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one variant came to on one task, or on all tasks together."""

    task: str
    variant: str
    finished: int
    """Finished runs, which the numbers rest on."""
    planned: int
    success: Interval | None
    """Final success of the sampled policy, IQM over runs."""
    success_greedy: Interval | None
    """Final success of the greedy policy, IQM over runs."""
    episodes: tuple[int, int]
    """Final evaluation episodes won by the sampled policies, and all of them."""
    episode_interval: Interval | None
    """Exact binomial interval of those episodes: of these very policies, not of new seeds."""
    steps_to: Mapping[int, Reached]
    """By level in percent, in env steps; empty without finished runs."""
    seconds_to: Mapping[int, Reached]
    """By level in percent, in training seconds; empty without finished runs."""
    improvement: Interval | None
    """Probability of ending with higher success than the baseline; None for the baseline itself."""
    lead: float | None = None
    """Lower end of the interval of `success` minus the upper end of the baseline's; None for the baseline itself."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Success of one variant while training: IQM over runs, with its band."""

    x: np.ndarray
    band: Band
    runs: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One metric of one cell; `low` and `high` are equal unless the value is only known to be beyond a budget."""

    text: str
    low: float
    high: float


def analyse(experiment: Experiment, *, seed: int = 0) -> dict[tuple[str, str], Cell]:
    """Compute every cell, by (task id or "all", variant); `seed` is the bootstrap's."""
    cells: dict[tuple[str, str], Cell] = {}
    for task in (ALL_TASKS, *experiment.tasks):
        row = {variant: _cell(experiment, task, variant, seed) for variant in experiment.variants}
        baseline = row[experiment.plan.baseline]
        cells |= {(task, variant): replace(cell, lead=_lead(cell, baseline)) for variant, cell in row.items()}
    return cells


def _cell(experiment: Experiment, task: str, variant: str, seed: int) -> Cell:
    tasks = experiment.tasks if task == ALL_TASKS else (task,)
    groups = {task: experiment.select(task, variant) for task in tasks}
    groups = {task: runs for task, runs in groups.items() if runs}
    runs = [run for group in groups.values() for run in group]
    won = sum(run.final.successes for run in runs if run.final)
    played = sum(run.final.episodes for run in runs if run.final)
    intervals = [
        statistics.bootstrap([scores(group, read) for group in groups.values()], seed=seed) if groups else None
        for read in (final_success, final_greedy)
    ]
    return Cell(
        task=task, variant=variant, finished=len(runs), planned=len(tasks) * len(experiment.plan.seeds),
        success=intervals[0], success_greedy=intervals[1], episodes=(won, played),
        episode_interval=statistics.binomial_interval(won, played) if played else None,
        steps_to={level: _reached(runs, level, "step") for level in LEVELS if runs},
        seconds_to={level: _reached(runs, level, "wall_s") for level in LEVELS if runs},
        improvement=_improvement(experiment, groups, variant, seed),
    )  # fmt: skip


def _improvement(
    experiment: Experiment, groups: Mapping[str, tuple[Run, ...]], variant: str, seed: int
) -> Interval | None:
    baseline = experiment.plan.baseline
    pairs = [(runs, experiment.select(task, baseline)) for task, runs in groups.items()]
    pairs = [(ours, theirs) for ours, theirs in pairs if theirs]
    if variant == baseline or not pairs:
        return None
    ours, theirs = ([scores(group, final_success) for group in side] for side in zip(*pairs, strict=True))
    return statistics.probability_of_improvement(ours, theirs, seed=seed)


def _lead(cell: Cell, baseline: Cell) -> float | None:
    if cell is baseline or cell.success is None or baseline.success is None:
        return None
    return cell.success.low - baseline.success.high


def scores(runs: tuple[Run, ...], read: Callable[[Run], float]) -> np.ndarray:
    """One score per run, `(runs,)`."""
    return np.array([read(run) for run in runs])


def final_success(run: Run) -> float:
    """Final success of the sampled policy; NaN unless finished."""
    return run.final.success if run.final else math.nan


def final_greedy(run: Run) -> float:
    """Final success of the greedy policy; NaN unless finished."""
    return run.final.success_greedy if run.final else math.nan


def time_to_level(run: Run, level: int, axis: Axis) -> float:
    """Env steps or training seconds of a run until its success first reaches `level` percent; infinity if never."""
    # Rates are k / n in floating point: 0.95 must count as 95 %.
    bar = level / 100 - 1e-9
    time = statistics.time_to(getattr(run.evaluations, axis), run.evaluations.success, bar)
    return _budget(run, axis) if math.isinf(time) and final_success(run) >= bar else time


def _budget(run: Run, axis: Axis) -> float:
    return float(max(run.last_step, run.steps) if axis == "step" else run.wall_s)


def _reached(runs: list[Run], level: int, axis: Axis) -> Reached:
    times = [time_to_level(run, level, axis) for run in runs]
    return statistics.censored_median(times, [_budget(run, axis) for run in runs])


def curve(experiment: Experiment, task: str, variant: str, axis: Axis, *, seed: int = 0) -> Curve | None:
    """Success of a variant on one task over env steps or training seconds; None without evaluations.

    Curves over steps end where the first run does; over seconds, a run that ends early keeps its last value. While no
    run of the cell has finished, the unfinished ones are drawn as far as all of them got.
    """
    runs = experiment.select(task, variant) or experiment.select(task, variant, finished=False)
    found = [run.evaluations for run in runs if len(run.evaluations)]
    if not found:
        return None
    times = [getattr(evaluations, axis) for evaluations in found]
    start = max(time[0] for time in times)
    if axis == "step":
        grid = np.unique(np.concatenate(times))
        grid = grid[(grid >= start) & (grid <= min(time[-1] for time in times))]
    else:
        grid = np.linspace(start, max(time[-1] for time in times), WALL_POINTS)
    if len(grid) == 0:
        return None
    paths = _interpolate(grid, times, found)
    return Curve(x=grid, band=statistics.bootstrap_curve([paths], seed=seed), runs=len(found))


def overall_curve(experiment: Experiment, variant: str, *, seed: int = 0) -> Curve | None:
    """Success of a variant over all tasks against the share of each task's step budget; None unless all have runs."""
    strata = []
    start = 0.0
    for task in experiment.tasks:
        runs = [run for run in experiment.select(task, variant) if len(run.evaluations)]
        if not runs:
            return None
        strata.append(runs)
        start = max(start, *(run.evaluations.step[0] / _budget(run, "step") for run in runs))
    grid = np.linspace(start, 1, SHARE_POINTS)
    paths = [
        _interpolate(grid, [run.evaluations.step / _budget(run, "step") for run in runs], [r.evaluations for r in runs])
        for runs in strata
    ]
    return Curve(x=grid, band=statistics.bootstrap_curve(paths, seed=seed), runs=sum(map(len, strata)))


def _interpolate(grid: np.ndarray, times: list[np.ndarray], found: list[Evaluations]) -> np.ndarray:
    return np.stack([np.interp(grid, time, one.success) for time, one in zip(times, found, strict=True)])


def profile(experiment: Experiment, variant: str, *, seed: int = 0) -> Band | None:
    """Fraction of finished runs of all tasks whose final success exceeds each of `PROFILE_POINTS`."""
    groups = [experiment.select(task, variant) for task in experiment.tasks]
    strata = [scores(group, final_success) for group in groups if group]
    return statistics.performance_profile(strata, PROFILE_POINTS, seed=seed) if strata else None


def measure(cell: Cell, metric: str) -> Measurement | None:
    """Read one metric of a cell; None where it has no finished run (or, for the improvement, is the baseline).

    Raises:
        UnknownNameError: no such metric; `METRICS` lists them.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    if metric in ("final_success", "final_success_greedy", "probability_of_improvement"):
        interval = {
            "final_success": cell.success,
            "final_success_greedy": cell.success_greedy,
            "probability_of_improvement": cell.improvement,
        }[metric]
        return Measurement(text=interval_text(interval), low=interval.value, high=interval.value) if interval else None
    if metric == "lead":
        return None if cell.lead is None else Measurement(text=f"{cell.lead:+.2f}", low=cell.lead, high=cell.lead)
    unit, _, level = metric.partition("_to_")
    reached = (cell.steps_to if unit == "steps" else cell.seconds_to).get(int(level))
    if reached is None:
        return None
    high = math.inf if reached.median is None else reached.median
    return Measurement(text=reached_text(reached, unit), low=reached.bound if math.isinf(high) else high, high=high)


def interval_text(interval: Interval | None) -> str:
    """For example "0.93 [0.88, 0.97]"; a dash for None."""
    return "-" if interval is None else f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def reached_text(reached: Reached | None, unit: str) -> str:
    """For example "1.2 M (3/3)" or "> 2.0 M (1/3)"; `unit` is "steps" or "seconds", and a dash stands for None."""
    if reached is None:
        return "-"
    number = steps_text if unit == "steps" else seconds_text
    time = f"> {number(reached.bound)}" if reached.median is None else number(reached.median)
    return f"{time} ({reached.count}/{reached.total})"


def steps_text(steps: float) -> str:
    """A number of env steps, for example "820 k" or "1.25 M"."""
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if steps >= size:
            return f"{steps / size:.3g}{suffix}" if steps / size < 999.5 else f"{steps / size:.0f}{suffix}"
    return f"{steps:.0f}"


def seconds_text(seconds: float) -> str:
    """A duration, for example "7.4 s", "2m 05s" or "3h 20m"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"
