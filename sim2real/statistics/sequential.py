"""Which of two policies is better, with as few trials as that takes: an exact test that may stop early.

Both policies play alternately. After every trial of each, or after every so many, the difference of their successes is
held against a bound; the bounds are such that two equally good policies, whatever their success rate is, ever cross one
with at most the probability `error`. So one may look as often as the test does and stop where it says so, or earlier
without a verdict.

The bounds spend the error along the way (Lan and DeMets, Biometrika 70, 1983), with the largest rejection region that
fits at each look, found from the exact joint distribution of both counts at every success rate of a grid. A single look
at the end makes it a test of Barnard's kind (Nature 156, 1945) with the score statistic.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import stats

from cairngym.sim2real.statistics.binomial import check_counts

POWER = 1.5
"""Exponent of the spent error over the share of trials; 1 to 2 save the most at equal power."""
GRID = np.sin(np.linspace(np.arcsin(np.sqrt(0.01)), np.pi / 4, 33)) ** 2
"""Success rates at which the error is controlled; those above one half mirror them."""
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a comparison of two policies ended."""

    better: Literal["first", "second"] | None
    """Which policy is better; None where the trials did not show it."""
    trials: int
    """Trials of each policy that were used."""
    successes: tuple[int, int]
    """Of the first and the second policy, in these trials."""


@dataclass(frozen=True, kw_only=True)
class Characteristics:
    """What a test does with two policies of known success rates; exact."""

    first: float
    """Probability that it finds the first one better."""
    second: float
    """Probability that it finds the second one better."""
    trials: float
    """Expected trials of each policy."""


@dataclass(frozen=True, kw_only=True)
class SequentialTest:
    """Looks at two policies' successes, and the bounds they are held against; made by `design_test`."""

    looks: tuple[int, ...]
    """After how many trials of each policy it looks; the last is where it ends without a verdict."""
    bounds: tuple[float, ...]
    """At each look, the least |score| that gives a verdict; infinite where none can."""
    error: float
    """Probability of a verdict on equally good policies is at most this."""

    def decide(self, first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> Verdict:
        """Go through trials in their order and stop where the test does.

        Args:
            first: successes of the first policy's trials, the earliest first.
            second: the same of the second policy.

        Raises:
            ValueError: different numbers of trials, or none.
        """
        won = np.cumsum(np.stack([_flags(first), _flags(second)]), axis=1) if len(first) == len(second) else None
        if won is None or not won.size:
            raise ValueError(
                f"Expected as many trials of both policies, at least one, got {len(first)}, {len(second)}."
            )
        for look, bound in zip(self.looks, self.bounds, strict=True):
            if look > won.shape[1]:
                break
            a, b = int(won[0, look - 1]), int(won[1, look - 1])
            score = float(scores(look)[a, b])
            if abs(score) >= bound - _SLACK:
                return Verdict(better="first" if score > 0 else "second", trials=look, successes=(a, b))
        used = min(won.shape[1], self.looks[-1])
        return Verdict(better=None, trials=used, successes=(int(won[0, used - 1]), int(won[1, used - 1])))

    def characteristics(self, first: float, second: float) -> Characteristics:
        """Exact probabilities of the verdicts and the expected trials for policies of these success rates."""
        mass, done = np.ones((1, 1, 1)), 0
        found, trials = np.zeros(2), 0.0
        for look, bound in zip(self.looks, self.bounds, strict=True):
            mass, done = _grow(mass, look - done, np.array([first]), np.array([second])), look
            score = scores(look)
            above, below = score >= bound - _SLACK, score <= -bound + _SLACK
            ended = np.array([mass[0][above].sum(), mass[0][below].sum()])
            found, trials = found + ended, trials + look * ended.sum()
            mass = np.where(above | below, 0.0, mass)
        return Characteristics(first=found[0], second=found[1], trials=trials + done * mass.sum())


def _flags(trials: Sequence[bool] | np.ndarray) -> np.ndarray:
    return np.asarray(trials, dtype=bool).astype(np.int64)


@lru_cache(maxsize=512)
def scores(trials: int) -> np.ndarray:
    """Score statistic of the difference of two rates for all counts, `(trials + 1, trials + 1)`.

    The difference of the counts over its standard deviation at the pooled rate; 0 where both failed or succeeded in
    all trials.
    """
    first, second = np.meshgrid(np.arange(trials + 1), np.arange(trials + 1), indexing="ij")
    total = first + second
    variance = total * (2 * trials - total) / (2 * trials)
    values = np.where(variance == 0, 0.0, (first - second) / np.sqrt(np.where(variance == 0, 1.0, variance)))
    return np.round(values, 9)  # counts that differ in rounding alone must share a bound


@lru_cache(maxsize=64)
def design_test(
    trials: int, *, error: float = 0.05, looks: tuple[int, ...] | None = None, power: float = POWER
) -> SequentialTest:
    """The test with at most so many trials of each policy.

    Args:
        trials: the most that each policy plays.
        error: probability of a verdict on equally good policies, at most.
        looks: after how many trials of each it looks, ascending up to `trials`; None: after each one, or after about
            64 evenly spread ones where there are more.
        power: the error spent by n trials is `error * (n / trials) ** power`.

    Raises:
        ValueError: no trials, an error out of range, or looks that do not ascend to `trials`.
    """
    looks = looks or tuple(sorted({round(trials * (i + 1) / min(trials, 64)) for i in range(min(trials, 64))}))
    if not 0.0 < error < 1.0:
        raise ValueError(f"Expected an error between 0 and 1, got {error}.")
    if trials < 1 or looks[0] < 1 or looks[-1] != trials or any(b <= a for a, b in itertools.pairwise(looks)):
        raise ValueError(f"Expected looks that ascend from 1 or more to trials = {trials}, got {looks}.")
    mass, spent, done = np.ones((len(GRID), 1, 1)), np.zeros(len(GRID)), 0
    bounds = []
    for look in looks:
        mass, done = _grow(mass, look - done, GRID, GRID), look
        size = np.abs(scores(look))
        bound = _least_bound(size, mass, error * (look / trials) ** power - spent)
        rejected = size >= bound - _SLACK
        spent = spent + np.where(rejected, mass, 0.0).sum((1, 2))
        mass = np.where(rejected, 0.0, mass)
        bounds.append(bound)
    return SequentialTest(looks=looks, bounds=tuple(bounds), error=error)


def _least_bound(size: np.ndarray, mass: np.ndarray, left: np.ndarray) -> float:
    """The least |score| whose region has at most the mass `left` `(G,)` at every rate; infinite where none has."""
    values, place = np.unique(-size.ravel(), return_inverse=True)
    weights = np.stack([np.bincount(place, row.ravel(), len(values)) for row in mass])
    fits = (np.cumsum(weights, axis=1) <= left[:, None] + 1e-12).all(axis=0) & (values < 0.0)
    count = int(fits.argmin()) if not fits.all() else len(values)
    return float(-values[count - 1]) if count else float("inf")


def _grow(mass: np.ndarray, trials: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distribution `(G, n + 1, n + 1)` of both counts after so many more trials at the rates `(G,)`."""
    held = mass.shape[1]
    return _transitions(held, trials, first) @ mass @ _transitions(held, trials, second).transpose(0, 2, 1)


def _transitions(held: int, trials: int, rates: np.ndarray) -> np.ndarray:
    """Probabilities `(G, held + trials, held)` to come from one count to another."""
    gained = np.arange(held + trials)[:, None] - np.arange(held)
    chances = stats.binom.pmf(np.arange(trials + 1), trials, rates[:, None])
    return np.where((gained >= 0) & (gained <= trials), chances[:, np.clip(gained, 0, trials)], 0.0)


def barnard(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p-value of Barnard's exact test that two success rates are equal, for a fixed number of trials.

    Args:
        first: successes and trials of one policy.
        second: the same of the other.

    Raises:
        ValueError: counts that cannot be.
    """
    check_counts(np.array([first[0], second[0]]), np.array([first[1], second[1]]))
    table = [[first[0], second[0]], [first[1] - first[0], second[1] - second[0]]]
    return float(stats.barnard_exact(table).pvalue)


def fixed_trials(first: float, second: float, *, chance: float = 0.8, error: float = 0.05, most: int = 400) -> int:
    """Trials of each policy after which a single look tells policies of these success rates apart with that chance.

    Raises:
        ValueError: more than `most` trials would be needed.
    """
    for trials in range(2, most + 1):
        found = design_test(trials, error=error, looks=(trials,)).characteristics(first, second)
        if max(found.first, found.second) >= chance:
            return trials
    raise ValueError(f"Expected rates that {most} trials tell apart with chance {chance}, got {first} and {second}.")
