"""How sure one can be of agreement between simulation and reality: policies and episodes are both samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cairngym.sim2real.statistics.binomial import CONFIDENCE, Interval, check_confidence, check_counts
from cairngym.sim2real.statistics.correlation import pearson
from cairngym.sim2real.statistics.rank_violation import mean_maximum_rank_violation

DRAWS = 10_000


class PairStatistic(Protocol):
    """Reduces success rates `(..., P)` of policies in simulation and in reality to `(...)`."""

    def __call__(self, *, sim: np.ndarray, real: np.ndarray) -> np.ndarray:
        """The statistic."""
        ...


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Successes of P policies, each over its own number of episodes."""

    successes: np.ndarray
    """Whole numbers `(P,)`."""
    trials: np.ndarray
    """Whole numbers `(P,)`."""

    def __post_init__(self) -> None:
        if self.successes.shape != self.trials.shape or self.successes.ndim != 1:
            raise ValueError(
                f"Expected successes and trials of shape (policies,), got {self.successes.shape} and "
                f"{self.trials.shape}."
            )
        check_counts(self.successes, self.trials)

    @property
    def rates(self) -> np.ndarray:
        """Success rates `(P,)`."""
        return self.successes / self.trials


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well simulation predicts reality over policies."""

    policies: int
    mmrv: Interval
    """Mean maximum rank violation, in units of real success."""
    pearson: Interval
    undefined: float
    """Share of bootstrap samples without a correlation, because all drawn policies were equally good on one side."""


def agreement(
    *, sim: Counts, real: Counts, draws: int = DRAWS, confidence: float = CONFIDENCE, seed: int = 0
) -> Agreement:
    """MMRV and Pearson's correlation with percentile intervals from a bootstrap over policies and episodes.

    Every draw takes as many policies as there are, with replacement, and then new episodes for each of them from the
    binomial distribution of its rate. With three or four policies the intervals are wide: so few say little.

    Args:
        sim: what was counted in simulation.
        real: what was counted in reality, of the same policies.
        draws: bootstrap samples.
        confidence: of the intervals.
        seed: of the bootstrap's random numbers.

    Raises:
        ValueError: counts of different policies or of fewer than two, `draws` below one, or a confidence out of range.
    """
    rates = _resample(sim, real, draws, np.random.default_rng(seed))
    check_confidence(confidence)
    violation = _interval(mean_maximum_rank_violation, sim, real, rates, confidence)
    correlation = _interval(pearson, sim, real, rates, confidence)
    undefined = float(np.isnan(pearson(sim=rates[0], real=rates[1])).mean())
    return Agreement(policies=len(sim.trials), mmrv=violation, pearson=correlation, undefined=undefined)


def _resample(sim: Counts, real: Counts, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Success rates `(draws, P)` of drawn policies in drawn episodes, in simulation and in reality."""
    if sim.trials.shape != real.trials.shape:
        raise ValueError(
            f"Expected counts of the same policies, got {len(sim.trials)} (sim) and {len(real.trials)} (real)."
        )
    if draws < 1:
        raise ValueError(f"Expected draws >= 1, got {draws}.")
    count = len(sim.trials)
    chosen = rng.integers(0, count, size=(draws, count))
    drawn = [rng.binomial(side.trials[chosen], side.rates[chosen]) / side.trials[chosen] for side in (sim, real)]
    return drawn[0], drawn[1]


def _interval(
    statistic: PairStatistic, sim: Counts, real: Counts, rates: tuple[np.ndarray, np.ndarray], confidence: float
) -> Interval:
    values = statistic(sim=rates[0], real=rates[1])
    values = values[~np.isnan(values)]
    value = float(statistic(sim=sim.rates, real=real.rates))
    if not len(values):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def cluster_interval(
    counts: np.ndarray,
    *,
    statistic: Callable[[np.ndarray], np.ndarray] = lambda rates: rates.mean(axis=(-2, -1)),
    trials: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """A rate over robots and runs that are themselves samples, with a percentile interval.

    Exact binomial intervals speak of *these* robots and *these* runs; this one of others like them: whole runs and
    whole robots are drawn with replacement, then the episodes of each pair.

    Args:
        counts: successes `(runs, robots)`.
        statistic: reduces rates `(..., runs, robots)` to `(...)`; the mean by default.
        trials: episodes of each run on each robot.
        draws: bootstrap samples.
        confidence: of the interval.
        seed: of the bootstrap's random numbers.

    Raises:
        ValueError: counts that cannot be or of another shape, `draws` below one, or a confidence out of range.
    """
    won = np.asarray(counts)
    if won.ndim != 2 or draws < 1:
        raise ValueError(f"Expected counts (runs, robots) and draws >= 1, got shape {won.shape} and {draws}.")
    check_counts(won, np.full_like(won, trials))
    check_confidence(confidence)
    rng = np.random.default_rng(seed)
    runs = rng.integers(0, won.shape[0], size=(draws, won.shape[0], 1))
    robots = rng.integers(0, won.shape[1], size=(draws, 1, won.shape[1]))
    drawn = statistic(rng.binomial(trials, won[runs, robots] / trials) / trials)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(won / trials)), float(low), float(high))
