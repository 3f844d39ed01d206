"""The sequential test: its error by exact enumeration on a finer grid, its power and savings against Barnard's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cairngym.sim2real.statistics.sequential import barnard, design_test, fixed_trials, scores


@pytest.mark.parametrize("trials", [12, 44])
def test_equally_good_policies_get_a_verdict_no_more_often_than_allowed(trials):
    test = design_test(trials)
    sizes = []
    for rate in np.linspace(0.005, 0.5, 25):  # not the grid the bounds were found on
        found = test.characteristics(rate, rate)
        assert found.first == pytest.approx(found.second, abs=1e-12)
        sizes.append(found.first + found.second)
    assert max(sizes) <= 0.0502
    assert max(sizes) > 0.035  # most of the allowance is used


def test_probabilities_are_those_of_all_outcomes_counted():
    test, rates = design_test(4, error=0.4), (0.7, 0.2)
    expected = {"first": 0.0, "second": 0.0, None: 0.0}
    trials = 0.0
    outcomes = list(itertools.product((0, 1), repeat=4))
    for first, second in itertools.product(outcomes, outcomes):
        chance = np.prod([r if y else 1 - r for r, ys in zip(rates, (first, second), strict=True) for y in ys])
        verdict = test.decide(first, second)
        expected[verdict.better] += chance
        trials += chance * verdict.trials
    found = test.characteristics(*rates)
    assert found.first == pytest.approx(expected["first"])
    assert found.first > 0
    assert found.second == pytest.approx(expected["second"])
    assert found.second > 0
    assert found.trials == pytest.approx(trials)
    assert found.trials < 4


def test_simulated_trials_agree_with_the_exact_numbers():
    test = design_test(40)
    rng = np.random.default_rng(0)
    verdicts = [test.decide(rng.random(40) < 0.8, rng.random(40) < 0.5) for _ in range(2000)]
    found = test.characteristics(0.8, 0.5)
    share = np.mean([verdict.better == "first" for verdict in verdicts])
    assert share == pytest.approx(found.first, abs=4 * np.sqrt(0.25 / 2000))
    assert np.mean([verdict.trials for verdict in verdicts]) == pytest.approx(found.trials, abs=1.0)


@pytest.mark.parametrize(("first", "second", "trials", "most"), [(0.8, 0.5, 40, 44), (0.9, 0.5, 20, 21)])
def test_a_quarter_of_the_trials_is_saved_at_equal_power(first, second, trials, most):
    assert fixed_trials(first, second) == trials
    found = design_test(most).characteristics(first, second)
    assert found.first >= 0.8
    assert found.trials <= 0.75 * trials
    assert found.second < 0.002


def test_clearer_differences_end_earlier():
    test = design_test(50)
    used = [test.characteristics(0.5 + gap, 0.5).trials for gap in (0.0, 0.2, 0.4)]
    assert used[0] > used[1] > used[2]
    assert used[0] > 48


def test_a_single_look_is_barnards_test():
    trials = 15
    bound = design_test(trials, looks=(trials,)).bounds[0]
    for a, b in ((12, 4), (11, 4), (10, 5), (15, 10), (15, 11), (8, 7)):
        found = stats.barnard_exact([[a, b], [trials - a, trials - b]], n=64)
        assert abs(scores(trials)[a, b]) == pytest.approx(abs(found.statistic), abs=1e-6)
        assert (abs(scores(trials)[a, b]) >= bound) == (found.pvalue <= 0.05)
        assert barnard((a, trials), (b, trials)) == pytest.approx(found.pvalue, abs=2e-3)


def test_verdicts_name_the_better_policy_and_stop():
    test = design_test(30)
    good, bad = np.ones(30, dtype=bool), np.zeros(30, dtype=bool)
    early = test.decide(good, bad)
    assert early.better == "first"
    assert early.trials < 8
    assert early.successes == (early.trials, 0)
    assert test.decide(bad, good).better == "second"
    assert test.decide(good, good) == test.decide(good[:30], good[:30])
    undecided = test.decide(good, good)
    assert undecided.better is None
    assert undecided.trials == 30
    assert test.decide(good[:5], good[:5]).trials == 5


def test_many_trials_are_looked_at_in_groups():
    test = design_test(100)
    assert len(test.looks) == 64
    assert test.looks[-1] == 100
    found = test.characteristics(0.3, 0.3)
    assert found.first + found.second <= 0.0502


def test_designs_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="ascend"):
        design_test(10, looks=(5, 5, 10))
    with pytest.raises(ValueError, match="ascend"):
        design_test(10, looks=(5, 9))
    with pytest.raises(ValueError, match="error"):
        design_test(10, error=5.0)
    with pytest.raises(ValueError, match="as many trials"):
        design_test(10).decide([True], [True, False])
    with pytest.raises(ValueError, match="tell apart"):
        fixed_trials(0.5, 0.5, most=5)
