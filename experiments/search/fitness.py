"""What a candidate is worth, who goes on to the next rung, and how its training went, from numbers alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

TAIL = 0.1
"""The share of a run's evaluations, at its end, that its fitness is the mean of."""
POINTS = 10
"""Moments of training that a course is told at."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a quantity developed over training, over all seeds."""

    values: tuple[float, ...]
    """Means of up to `POINTS` equal parts of training, in order; parts without a value are left out."""
    least: float
    mean: float
    greatest: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of training with a candidate on one rung."""

    rung: int
    """Counted from zero."""
    steps: int
    """Env steps that each run was given."""
    fitness: float | None
    """Mean over seeds of `run_fitness`, a failed run counting zero; None where every run failed."""
    runs: Mapping[str, float | None] = field(default_factory=dict)
    """Fitness by seed; None for a run that failed."""
    training_success: float = 0.0
    """Mean success of the episodes met while training; only decides between candidates of equal fitness."""
    env_steps: int = 0
    """Env steps trained by all runs together."""
    switched_off: int = 0
    """Runs whose program was switched off, for a reward that was not finite or exploded."""
    problem: str = ""
    """What the log of a failed run ends with."""
    promoted: bool = False
    """Whether it went on to the next rung, or stood on the last."""
    components: Mapping[str, Course] = field(default_factory=dict)
    """The program's components, unweighted means of a step."""
    total: Course | None = None
    """The program's value."""
    success: Course | None = None
    """Success at the evaluations."""


def run_fitness(success: Sequence[float] | np.ndarray) -> float:
    """Mean success over the last tenth of a run's evaluations, one at least; never the best of them.

    Args:
        success: of every evaluation in order, `(evaluations,)`.

    Raises:
        ValueError: there is no evaluation.

    Example:
        >>> run_fitness([0.0, 0.9, 0.4]), run_fitness([0.0] * 18 + [0.2, 0.4])
        (0.4, 0.30000000000000004)
    """
    if len(success) == 0:
        raise ValueError("Expected at least one evaluation, got none.")
    count = max(1, math.ceil(TAIL * len(success) - 1e-9))
    return float(np.mean(np.asarray(success, dtype=np.float64)[-count:]))


def mean_fitness(runs: Mapping[str, float | None]) -> float | None:
    """Mean over seeds, in which a run that failed counts zero; None where all of them failed."""
    if all(fitness is None for fitness in runs.values()):
        return None
    return sum(fitness or 0.0 for fitness in runs.values()) / len(runs)


def promoted(trials: Mapping[str, Trial], keep: float) -> list[str]:
    """The share of the candidates that goes on to the next rung, best first.

    Candidates whose runs all failed never do. Of equal fitness, the one with more success while training goes before,
    then the earlier one.

    Args:
        trials: by candidate, in order.
        keep: the share, rounded up.
    """
    alive = {name: trial for name, trial in trials.items() if trial.fitness is not None}
    if not alive:
        return []
    ranked = sorted(alive, key=lambda name: (-(alive[name].fitness or 0.0), -alive[name].training_success))
    return ranked[: max(1, math.ceil(keep * len(alive) - 1e-9))]


def course(series: Iterable[tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]], steps: int) -> Course:
    """The course of a quantity, every run weighing as much as it has values.

    Args:
        series: env steps and values of every run, `(n,)` each, finite.
        steps: env steps of a run, which are cut into `POINTS` equal parts.

    Raises:
        ValueError: no value at all.
    """
    pairs = [np.asarray(pair, dtype=np.float64).reshape(2, -1) for pair in series]
    step, value = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0))
    if not len(value):
        raise ValueError("Expected at least one value, got none.")
    # The value at a step describes the training up to it.
    part = np.clip(np.ceil(step / steps * POINTS).astype(int) - 1, 0, POINTS - 1)
    means = [float(value[part == index].mean()) for index in range(POINTS) if (part == index).any()]
    return Course(values=tuple(means), least=float(value.min()), mean=float(value.mean()), greatest=float(value.max()))
