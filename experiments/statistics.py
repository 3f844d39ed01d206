"""Statistics of comparisons over few runs, in vectorised numpy.

Runs are grouped in *strata*: one array per task whose first axis counts runs (seeds). Groups may have different sizes,
since runs may be missing. Every interval comes from a bootstrap that resamples runs within each task.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

Strata = Sequence[np.ndarray]
Statistic = Callable[[np.ndarray], np.ndarray]
DRAWS = 2000
CONFIDENCE = 0.95
CHUNK_BYTES = 2**26
"""Resampled curves are built in blocks of about this size."""


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Band:
    """A curve with its pointwise confidence band; all of shape `(points,)`."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Reached:
    """When runs reached a threshold; runs that never did are right-censored at the end of their budget."""

    median: float | None
    """Median over runs; None when too few reached it for a median to exist."""
    bound: float
    """What the median is at least: censored runs count as their budget."""
    count: int
    """Runs that reached the threshold."""
    total: int
    """All runs."""


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the first axis."""
    return scores.mean(axis=0)


def median(scores: np.ndarray) -> np.ndarray:
    """Median over the first axis."""
    return np.median(scores, axis=0)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over the first axis: the mean without the lowest and highest `floor(n / 4)` values.

    Example:
        >>> float(iqm(np.array([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0])))
        1.0
    """
    count = len(scores)
    cut = count // 4
    if cut == 0:
        return scores.mean(axis=0)
    return np.partition(scores, (cut, count - cut - 1), axis=0)[cut : count - cut].mean(axis=0)


def bootstrap(
    strata: Strata,
    statistic: Statistic = iqm,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Apply `statistic` to all runs pooled, with a percentile interval from the stratified bootstrap.

    Args:
        strata: one array `(runs,)` per task.
        statistic: reduces the first axis, whatever follows it.
        draws: bootstrap replicates.
        confidence: level of the interval.
        seed: of `np.random.default_rng`.

    Raises:
        ValueError: no runs, wrong shape, values that are not finite, or `draws`, `confidence` out of range.
    """
    groups = check_strata(strata, ndim=1)
    band = bootstrap_curve(
        [group[:, None] for group in groups], statistic, draws=draws, confidence=confidence, seed=seed
    )
    return Interval(float(band.value[0]), float(band.low[0]), float(band.high[0]))


def bootstrap_curve(
    strata: Strata,
    statistic: Statistic = iqm,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Band:
    """Apply `statistic` at every point of a curve, with a pointwise band; whole runs are resampled.

    Args:
        strata: one array `(runs, points)` per task, all with the same points.
        statistic: reduces the first axis, whatever follows it.
        draws: bootstrap replicates.
        confidence: level of the band.
        seed: of `np.random.default_rng`.

    Raises:
        ValueError: as `bootstrap`.
    """
    groups = check_strata(strata, ndim=2)
    tail = _tail(confidence)
    rows = resample([len(group) for group in groups], draws, seed)
    runs = np.concatenate(groups)
    low, high = np.empty((2, runs.shape[1]))
    for block in _blocks(runs.shape[1], rows.size):
        replicates = statistic(runs[:, block][rows.T])
        low[block], high[block] = np.quantile(replicates, (tail, 1 - tail), axis=0)
    return Band(statistic(runs), low, high)


def resample(sizes: Sequence[int], draws: int, seed: int) -> np.ndarray:
    """Draw rows of the concatenated strata with replacement within each stratum, int64 `(draws, sum(sizes))`.

    Raises:
        ValueError: if `draws` is below one.
    """
    if draws < 1:
        raise ValueError(f"Expected draws >= 1, got {draws}; 2000 gives stable 95 % intervals.")
    rng = np.random.default_rng(seed)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.concatenate(
        [start + rng.integers(0, size, (draws, size)) for start, size in zip(starts, sizes, strict=True)], axis=1
    )


def improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2 over all pairs of the last axes, i.e. Mann-Whitney's U / (n m).

    Args:
        ours: `(..., n)`.
        theirs: `(..., m)`.
    """
    difference = ours[..., :, None] - theirs[..., None, :]
    return (0.5 * (1 + np.sign(difference))).mean(axis=(-2, -1))


def probability_of_improvement(
    ours: Strata, theirs: Strata, *, draws: int = DRAWS, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Probability that a run of ours beats a run of theirs on the same task, averaged over tasks; ties count half.

    Args:
        ours: one array `(runs,)` of scores per task.
        theirs: the same tasks in the same order; numbers of runs may differ.
        draws: bootstrap replicates; both sides are resampled.
        confidence: level of the interval.
        seed: of `np.random.default_rng`.

    Raises:
        ValueError: different numbers of tasks, or as `bootstrap`.
    """
    ours, theirs = check_strata(ours, ndim=1), check_strata(theirs, ndim=1)
    if len(ours) != len(theirs):
        raise ValueError(f"Expected the same tasks on both sides, got {len(ours)} and {len(theirs)}.")
    tail = _tail(confidence)
    value = np.mean([improvement(x, y) for x, y in zip(ours, theirs, strict=True)])
    rows = resample([len(group) for group in (*ours, *theirs)], draws, seed)
    drawn = np.split(np.concatenate((*ours, *theirs))[rows], np.cumsum([len(g) for g in (*ours, *theirs)])[:-1], axis=1)
    pairs = zip(drawn[: len(ours)], drawn[len(ours) :], strict=True)
    low, high = np.quantile(np.mean([improvement(x, y) for x, y in pairs], axis=0), (tail, 1 - tail))
    return Interval(float(value), float(low), float(high))


def performance_profile(
    strata: Strata, thresholds: np.ndarray, *, draws: int = DRAWS, confidence: float = CONFIDENCE, seed: int = 0
) -> Band:
    """Fraction of all runs whose score exceeds each threshold, with a pointwise band.

    Args:
        strata: one array `(runs,)` of scores per task.
        thresholds: `(points,)`.
        draws: bootstrap replicates.
        confidence: level of the band.
        seed: of `np.random.default_rng`.

    Raises:
        ValueError: as `bootstrap`.
    """
    above = [(group[:, None] > thresholds).astype(np.float64) for group in check_strata(strata, ndim=1)]
    return bootstrap_curve(above, mean, draws=draws, confidence=confidence, seed=seed)


def binomial_interval(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Exact (Clopper-Pearson) interval of a success probability.

    Raises:
        ValueError: unless 0 <= successes <= trials and trials >= 1.

    Example:
        >>> round(binomial_interval(20, 20).low, 2)
        0.83
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"Expected 0 <= successes <= trials and trials >= 1, got {successes} of {trials}.")
    tail = _tail(confidence)
    low = 0.0 if successes == 0 else special.betaincinv(successes, trials - successes + 1, tail)
    high = 1.0 if successes == trials else special.betaincinv(successes + 1, trials - successes, 1 - tail)
    return Interval(successes / trials, float(low), float(high))


def time_to(times: np.ndarray, success: np.ndarray, threshold: float) -> float:
    """First entry of `times` `(evaluations,)` at which `success` is at least `threshold`; infinity if never."""
    reached = np.flatnonzero(success >= threshold)
    return float(times[reached[0]]) if len(reached) else math.inf


def censored_median(times: Sequence[float], budgets: Sequence[float]) -> Reached:
    """Median of times of which some are infinite, i.e. beyond the run's budget.

    Args:
        times: one per run; infinity where the threshold was never reached.
        budgets: what each run was given, in the same unit.

    Raises:
        ValueError: no runs, different lengths, or NaN.
    """
    values, limits = np.asarray(times, dtype=np.float64), np.asarray(budgets, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or values.shape != limits.shape:
        raise ValueError(f"Expected one time and one budget per run, got {values.shape} and {limits.shape}.")
    if np.isnan(values).any() or np.isnan(limits).any():
        raise ValueError("Expected times and budgets without NaN; a threshold never reached is infinity.")
    reached = np.isfinite(values)
    centre = float(np.median(values))
    return Reached(
        centre if math.isfinite(centre) else None,
        float(np.median(np.where(reached, values, limits))),
        int(reached.sum()),
        len(values),
    )


def check_strata(strata: Strata, ndim: int) -> list[np.ndarray]:
    """Return the strata as float64 arrays.

    Raises:
        ValueError: no strata, an empty one, a wrong number of axes, or values that are not finite.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in strata]
    if not groups or any(len(group) == 0 for group in groups if group.ndim):
        raise ValueError(f"Expected at least one run in every task, got {[len(g) for g in groups if g.ndim]} runs.")
    for index, group in enumerate(groups):
        if group.ndim != ndim or group.shape[1:] != groups[0].shape[1:]:
            axes = "(runs,)" if ndim == 1 else "(runs, points) with the same points"
            raise ValueError(f"Expected an array {axes} per task, got shapes {[g.shape for g in groups]}.")
        if not np.isfinite(group).all():
            bad = int((~np.isfinite(group)).sum())
            raise ValueError(
                f"Expected finite scores, got {bad} NaN or infinite values in stratum {index} (shape {group.shape}). "
                "Leave unfinished runs out, or give them the score they deserve."
            )
    return groups


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"Expected a confidence between 0 and 1, got {confidence}; 0.95 means 95 %.")
    return (1 - confidence) / 2


def _blocks(points: int, rows: int) -> Iterator[slice]:
    width = max(1, CHUNK_BYTES // (8 * rows))
    return (slice(start, start + width) for start in range(0, points, width))
