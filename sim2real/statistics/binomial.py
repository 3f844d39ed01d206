"""Intervals of success rates and of their differences, from counted episodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """For example "0.93 [0.88, 0.97]"; a dash where the number is not defined."""
        return "-" if math.isnan(self.value) else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def apart(self, other: Interval) -> bool:
        """Whether the intervals do not overlap."""
        return self.low > other.high or other.low > self.high


def check_counts(successes: np.ndarray, trials: np.ndarray) -> None:
    """Raise `ValueError` unless 0 <= successes <= trials and trials >= 1, everywhere."""
    wrong = (trials < 1) | (successes < 0) | (successes > trials)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(np.atleast_1d(wrong))[0])
        pair = (np.atleast_1d(successes)[at], np.atleast_1d(trials)[at])
        raise ValueError(f"Expected 0 <= successes <= trials and trials >= 1, got {pair[0]} of {pair[1]} at {at}.")


def check_confidence(confidence: float) -> None:
    """Raise `ValueError` unless the level lies between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Expected a confidence between 0 and 1, got {confidence}.")


def clopper_pearson(
    successes: np.ndarray, trials: np.ndarray, *, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Exact bounds of success probabilities: each holds the truth with at least the confidence, whatever it is.

    Source: Clopper and Pearson, Biometrika 26 (1934), by quantiles of the beta distribution.

    Args:
        successes: of any shape.
        trials: of a shape that fits it.
        confidence: of each interval, two-sided.

    Returns:
        Lower and upper bounds of the joint shape.

    Raises:
        ValueError: counts that cannot be, or a confidence out of range.
    """
    check_confidence(confidence)
    won, played = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    check_counts(won, played)
    tail = (1.0 - confidence) / 2.0
    low = np.where(won == 0, 0.0, special.betaincinv(np.maximum(won, 1), played - won + 1, tail))
    high = np.where(won == played, 1.0, special.betaincinv(won + 1, np.maximum(played - won, 1), 1.0 - tail))
    return low, high


def binomial_interval(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """A success rate with its exact interval.

    Raises:
        ValueError: counts that cannot be, or a confidence out of range.

    Example:
        >>> binomial_interval(20, 20).text
        '1.00 [0.83, 1.00]'
    """
    low, high = clopper_pearson(np.array(successes), np.array(trials), confidence=confidence)
    return Interval(successes / trials, float(low), float(high))


def wilson(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """A success rate with Wilson's score interval, which is right on average rather than at worst.

    Source: Wilson, JASA 22 (1927).

    Raises:
        ValueError: counts that cannot be, or a confidence out of range.
    """
    check_confidence(confidence)
    check_counts(np.array(successes), np.array(trials))
    z = float(special.ndtri(0.5 + confidence / 2.0))
    rate = successes / trials
    center = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Rounding must not push a bound beyond the rate it belongs to, where that is 0 or 1.
    return Interval(rate, min(rate, (center - spread) / scale), max(rate, (center + spread) / scale))


def difference_interval(first: tuple[int, int], second: tuple[int, int], *, confidence: float = CONFIDENCE) -> Interval:
    """How much higher the first success rate is than the second, from independent episodes.

    Source: Newcombe, Statistics in Medicine 17 (1998), method 10: the score intervals of both rates joined.

    Args:
        first: successes and trials, e.g. in simulation.
        second: the same, e.g. on twins.
        confidence: of the interval, two-sided; its coverage is approximate.

    Raises:
        ValueError: counts that cannot be, or a confidence out of range.

    Example:
        >>> difference_interval((56, 70), (48, 80)).text
        '0.20 [0.05, 0.33]'
    """
    a, b = (wilson(*counts, confidence=confidence) for counts in (first, second))
    value = a.value - b.value
    down = math.hypot(a.value - a.low, b.high - b.value)
    up = math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, value - down, value + up)
