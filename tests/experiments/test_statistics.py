import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from cairngym.experiments import statistics as s


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 13, 100])
def test_iqm_is_the_quarter_trimmed_mean(count):
    scores = np.random.default_rng(count).normal(size=(count, 6))
    np.testing.assert_allclose(s.iqm(scores), stats.trim_mean(scores, 0.25, axis=0), rtol=1e-12)


def test_iqm_of_a_known_array():
    assert s.iqm(np.array([100.0, 3, 1, 2, 4, -100, 5, 6])) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_bootstrap_of_the_mean_matches_an_explicit_loop():
    strata = [np.array([0.0, 1.0, 2.0]), np.array([5.0, 7.0])]
    rows = s.resample([3, 2], 500, 3)
    pooled = np.concatenate(strata)
    means = [np.mean([pooled[i] for i in row]) for row in rows]
    interval = s.bootstrap(strata, s.mean, draws=500, seed=3)
    assert interval.value == pytest.approx(3.0)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))))


def test_resampling_stays_within_strata_and_reaches_every_run():
    rows = s.resample([3, 5, 1], 1000, 0)
    assert rows.shape == (1000, 9)
    assert set(rows[:, :3].ravel()) == {0, 1, 2}
    assert set(rows[:, 3:8].ravel()) == {3, 4, 5, 6, 7}
    assert set(rows[:, 8]) == {8}


def test_stratified_spread_of_the_mean_matches_its_closed_form():
    strata = [np.array([0.0, 1.0]), np.array([10.0, 12.0, 14.0])]
    pooled = np.concatenate(strata)[s.resample([2, 3], 200_000, 0)].mean(axis=1)
    # The variance of a mean of n draws with replacement is the population variance over n; strata add up.
    expected = (2 * strata[0].var() + 3 * strata[1].var()) / 25
    assert pooled.var() == pytest.approx(expected, rel=0.02)


def test_interval_of_a_gaussian_mean_covers_it_about_as_often_as_promised():
    rng = np.random.default_rng(0)
    intervals = [s.bootstrap([rng.normal(size=40)], s.mean, draws=400, seed=i) for i in range(400)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    # The percentile bootstrap of 40 values covers a little less than 95 %; the margin is three standard errors.
    assert 0.935 - 0.035 < covered < 0.935 + 0.035


def test_same_seed_same_interval_and_another_seed_another():
    scores = [np.random.default_rng(1).random(9)]
    assert s.bootstrap(scores, seed=5) == s.bootstrap(scores, seed=5)
    assert s.bootstrap(scores, seed=5) != s.bootstrap(scores, seed=6)


def test_global_random_state_is_neither_used_nor_changed():
    before = np.random.get_state()[1].copy()
    s.bootstrap([np.arange(5.0)])
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_a_single_seed_and_equal_scores_give_intervals_of_zero_width():
    assert s.bootstrap([np.array([0.3])]) == s.Interval(0.3, 0.3, 0.3)
    assert s.bootstrap([np.ones(4), np.ones(7)]) == s.Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match=r"Expected finite scores, got 1 NaN or infinite values in stratum 1"):
        s.bootstrap([np.ones(2), np.array([1.0, bad])])


@pytest.mark.parametrize("strata", [[], [np.ones(2), np.array([])]])
def test_tasks_without_runs_are_refused(strata):
    with pytest.raises(ValueError, match="at least one run in every task"):
        s.bootstrap(strata)


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"\(runs,\) per task, got shapes \[\(2, 2\)\]"):
        s.bootstrap([np.ones((2, 2))])
    with pytest.raises(ValueError, match="with the same points"):
        s.bootstrap_curve([np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ValueError, match="draws >= 1, got 0"):
        s.bootstrap([np.ones(2)], draws=0)
    with pytest.raises(ValueError, match="got 95"):
        s.bootstrap([np.ones(2)], confidence=95)


def test_a_curve_is_the_bootstrap_of_each_of_its_points(monkeypatch):
    rng = np.random.default_rng(2)
    strata = [rng.random((5, 7)), rng.random((3, 7))]
    band = s.bootstrap_curve(strata, seed=4)
    monkeypatch.setattr(s, "CHUNK_BYTES", 1)  # one point at a time
    np.testing.assert_array_equal(s.bootstrap_curve(strata, seed=4).low, band.low)
    for point in range(7):
        alone = s.bootstrap([group[:, point] for group in strata], seed=4)
        assert (band.value[point], band.low[point], band.high[point]) == (alone.value, alone.low, alone.high)


def test_improvement_equals_brute_force_and_mann_whitney():
    rng = np.random.default_rng(3)
    ours, theirs = rng.integers(0, 4, 6).astype(float), rng.integers(0, 4, 9).astype(float)
    pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(ours, theirs)]
    assert s.improvement(ours, theirs) == pytest.approx(np.mean(pairs))
    assert s.improvement(ours, theirs) == pytest.approx(stats.mannwhitneyu(ours, theirs).statistic / 54)


def test_probability_of_improvement_averages_tasks_and_is_antisymmetric():
    ours = [np.array([1.0, 2.0]), np.array([0.0, 0.0, 5.0])]
    theirs = [np.array([0.0, 0.5]), np.array([0.0, 9.0])]
    found = s.probability_of_improvement(ours, theirs)
    assert found.value == pytest.approx((1 + (0.5 * 2 + 1) / 6) / 2)
    assert found.low < found.value < found.high
    assert s.probability_of_improvement(theirs, ours).value == pytest.approx(1 - found.value)
    assert s.probability_of_improvement(ours, ours).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="same tasks on both sides, got 2 and 1"):
        s.probability_of_improvement(ours, theirs[:1])


def test_profile_counts_runs_strictly_above():
    band = s.performance_profile([np.array([0.0, 0.5]), np.array([0.5, 1.0])], np.array([0.0, 0.4, 0.5, 1.0]))
    np.testing.assert_allclose(band.value, [0.75, 0.75, 0.25, 0.0])
    assert (band.low <= band.value).all()
    assert (band.value <= band.high).all()
    assert band.low[0] == 0.5  # the second task's runs are above zero in every draw


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (250, 256), (1, 1)])
def test_binomial_interval_is_clopper_pearson(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    found = s.binomial_interval(successes, trials)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_binomial_interval_refuses_impossible_counts():
    for successes, trials in ((3, 2), (-1, 4), (0, 0)):
        with pytest.raises(ValueError, match="0 <= successes <= trials"):
            s.binomial_interval(successes, trials)


def test_time_to_takes_the_first_evaluation_that_reaches_the_threshold():
    steps, success = np.array([10, 20, 30, 40]), np.array([0.1, 0.8, 0.3, 0.9])
    assert s.time_to(steps, success, 0.8) == 20
    assert s.time_to(steps, success, 0.81) == 40
    assert s.time_to(steps, success, 0.95) == math.inf
    assert s.time_to(np.array([]), np.array([]), 0.5) == math.inf


def test_censored_median():
    inf = math.inf
    assert s.censored_median([3, 1, inf], [9, 9, 9]) == s.Reached(3.0, 3.0, 2, 3)
    assert s.censored_median([3, inf, inf], [9, 8, 9]) == s.Reached(None, 8.0, 1, 3)
    assert s.censored_median([2, 4, inf, inf], [9, 9, 9, 9]) == s.Reached(None, 6.5, 2, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert s.censored_median([inf] * 4, [5] * 4) == s.Reached(None, 5.0, 0, 4)
    with pytest.raises(ValueError, match="without NaN"):
        s.censored_median([math.nan], [1])
    with pytest.raises(ValueError, match="one time and one budget"):
        s.censored_median([], [])
