"""Intervals of success rates against textbook values and exact enumeration."""

import numpy as np
import pytest
from scipy import stats

from cairngym.sim2real.statistics.binomial import (
    Interval,
    binomial_interval,
    clopper_pearson,
    difference_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("trials", "low", "high"),
    [(20, 0.27, 0.73), (50, 0.36, 0.65), (100, 0.40, 0.60), (200, 0.43, 0.57), (500, 0.46, 0.55)],
)
def test_half_of_the_episodes(trials, low, high):
    found = binomial_interval(trials // 2, trials)
    assert found.low == pytest.approx(low, abs=0.006)
    assert found.high == pytest.approx(high, abs=0.006)
    assert found.value == 0.5


@pytest.mark.parametrize(("trials", "low"), [(20, 0.83), (50, 0.93), (100, 0.96), (200, 0.98)])
def test_all_of_the_episodes(trials, low):
    found = binomial_interval(trials, trials)
    assert round(found.low, 2) == low
    assert found.low == pytest.approx(0.025 ** (1 / trials))  # closed form
    assert found.high == 1.0


def test_bounds_agree_with_scipy_for_all_counts():
    won, played = np.arange(13), 12
    low, high = clopper_pearson(won, np.array(played), confidence=0.9)
    expected = [stats.binomtest(int(k), played).proportion_ci(0.9, method="exact") for k in won]
    np.testing.assert_allclose(low, [e.low for e in expected], atol=1e-12)
    np.testing.assert_allclose(high, [e.high for e in expected], atol=1e-12)


def test_intervals_cover_at_least_as_often_as_they_claim():
    played = 25
    low, high = clopper_pearson(np.arange(played + 1), np.array(played))
    for rate in np.linspace(0.01, 0.99, 37):
        inside = (low <= rate) & (rate <= high)
        assert stats.binom.pmf(np.arange(played + 1), played, rate)[inside].sum() >= 0.95


def test_differences_are_those_of_newcombe():
    # Newcombe 1998, table II, method 10: 56/70 against 48/80, 9/10 against 3/10, 10/10 against 0/10
    for first, second, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ):
        found = difference_interval(first, second)
        assert found.low == pytest.approx(low, abs=5e-5)
        assert found.high == pytest.approx(high, abs=5e-5)


def test_wilson_agrees_with_scipy():
    for won in (0, 3, 10):
        expected = stats.binomtest(won, 10).proportion_ci(method="wilson")
        found = wilson(won, 10)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_intervals_tell_whether_they_overlap():
    assert Interval(0.2, 0.1, 0.3).apart(Interval(0.5, 0.4, 0.6))
    assert Interval(0.5, 0.4, 0.6).apart(Interval(0.2, 0.1, 0.3))
    assert not Interval(0.2, 0.1, 0.4).apart(Interval(0.5, 0.4, 0.6))
    assert Interval(float("nan"), 0.0, 1.0).text == "-"


@pytest.mark.parametrize("counts", [(3, 2), (-1, 5), (0, 0)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match="0 <= successes <= trials"):
        binomial_interval(*counts)
    with pytest.raises(ValueError, match="confidence"):
        binomial_interval(1, 2, confidence=95.0)
