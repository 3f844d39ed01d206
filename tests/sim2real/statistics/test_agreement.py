"""Rank violation, correlation and their bootstrap, against what SIMPLER publishes, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats
from simpler_results import EXPECTED, REAL, SIM

from cairngym.sim2real.statistics.bootstrap import Counts, agreement, cluster_interval
from cairngym.sim2real.statistics.correlation import pearson
from cairngym.sim2real.statistics.rank_violation import mean_maximum_rank_violation, rank_violations


@pytest.mark.parametrize("task", EXPECTED)
def test_simplers_arrays_give_simplers_numbers(task):
    sim, real = np.array(SIM[task]), np.array(REAL[task])
    mmrv, swapped, correlation = EXPECTED[task]
    assert mean_maximum_rank_violation(sim=sim, real=real) == pytest.approx(mmrv, abs=5.1e-4)
    assert mean_maximum_rank_violation(sim=real, real=sim) == pytest.approx(swapped, abs=5.1e-4)
    assert pearson(sim=sim, real=real) == pytest.approx(correlation, abs=5.1e-4)


def test_simplers_means():
    mmrv = [mean_maximum_rank_violation(sim=np.array(SIM[t]), real=np.array(REAL[t])) for t in SIM]
    correlation = [pearson(sim=np.array(SIM[t]), real=np.array(REAL[t])) for t in SIM]
    assert np.mean(mmrv) == pytest.approx(0.042, abs=5e-4)
    assert np.mean(correlation) == pytest.approx(0.88, abs=5e-3)


def test_the_roles_can_only_be_given_by_name():
    with pytest.raises(TypeError):
        mean_maximum_rank_violation(np.zeros(3), np.zeros(3))
    with pytest.raises(TypeError):
        pearson(np.zeros(3), np.zeros(3))


def test_violations_by_hand():
    # Simulation swaps the first two policies, which are 0.3 apart in reality; the third is ordered rightly.
    violations = rank_violations(sim=np.array([0.4, 0.5, 0.9]), real=np.array([0.6, 0.3, 0.8]))
    np.testing.assert_allclose(violations, [0.3, 0.3, 0.0])


def test_ties_in_simulation_count_for_the_better_policy():
    violations = rank_violations(sim=np.array([0.5, 0.5]), real=np.array([0.2, 0.6]))
    np.testing.assert_allclose(violations, [0.0, 0.4])


def test_batches_are_rows_by_themselves():
    rng = np.random.default_rng(0)
    sim, real = rng.random((2, 5, 4, 6))
    for statistic in (mean_maximum_rank_violation, pearson):
        rows = [[statistic(sim=sim[i, j], real=real[i, j]) for j in range(4)] for i in range(5)]
        np.testing.assert_allclose(statistic(sim=sim, real=real), rows)
    expected = stats.pearsonr(sim[0, 0], real[0, 0]).statistic
    assert pearson(sim=sim[0, 0], real=real[0, 0]) == pytest.approx(expected)


def test_a_correlation_with_equally_good_policies_is_not_defined():
    assert np.isnan(pearson(sim=np.array([0.3, 0.3]), real=np.array([0.1, 0.9])))


@pytest.mark.parametrize(
    ("sim", "real", "said"),
    [([0.1], [0.2], "two policies"), ([0.1, 0.2], [0.3], "same policies"), ([0.1, np.nan], [0.1, 0.2], "finite")],
)
def test_arrays_that_do_not_belong_together_are_refused(sim, real, said):
    with pytest.raises(ValueError, match=said):
        pearson(sim=np.array(sim), real=np.array(real))


def counts(successes, trials):
    return Counts(successes=np.array(successes), trials=np.full(len(successes), trials))


def test_agreement_repeats_and_surrounds_its_value():
    sim, real = counts([90, 70, 30, 50, 10], 100), counts([40, 35, 20, 18, 2], 50)
    found = agreement(sim=sim, real=real, draws=4000, seed=3)
    assert found == agreement(sim=sim, real=real, draws=4000, seed=3)
    assert found != agreement(sim=sim, real=real, draws=4000, seed=4)
    assert found.mmrv.low <= found.mmrv.value <= found.mmrv.high
    assert found.pearson.low < found.pearson.value < found.pearson.high
    assert found.pearson.value == pytest.approx(pearson(sim=sim.rates, real=real.rates))


def test_more_policies_and_more_episodes_narrow_the_interval():
    rng = np.random.default_rng(0)

    def width(policies, trials):
        truth = np.linspace(0.1, 0.9, policies)
        sides = [counts(rng.binomial(trials, truth), trials) for _ in range(2)]
        found = agreement(sim=sides[0], real=sides[1], draws=2000)
        return found.pearson.high - found.pearson.low

    assert width(5, 20) > width(5, 2000) > 0.0
    assert width(4, 50) > width(40, 50)


def test_three_policies_say_little():
    found = agreement(sim=counts([0, 20, 25], 50), real=counts([1, 6, 9], 24))
    assert found.pearson.value > 0.9
    assert found.undefined > 0.03  # one in 27 draws takes the policy that never succeeds in simulation three times
    assert found.mmrv.value == 0.0 < found.mmrv.high


def test_robots_are_a_sample_too():
    # Half of the robots always succeed, half never: 8 robots say far less than 8 x 100 episodes.
    won = np.tile([100, 0] * 4, (5, 1))
    found = cluster_interval(won, trials=100, draws=4000)
    assert found.value == 0.5
    # the mean of 8 fair coins
    expected = stats.binom.ppf([0.025, 0.975], 8, 0.5) / 8
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.13)
    same = cluster_interval(np.full((5, 8), 50), trials=100, draws=4000)
    assert same.high - same.low < 0.06 < found.high - found.low


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="0 <= successes"):
        counts([60], 50)
    with pytest.raises(ValueError, match="same policies"):
        agreement(sim=counts([1, 2], 5), real=counts([1, 2, 3], 5))
    with pytest.raises(ValueError, match="draws"):
        agreement(sim=counts([1, 2], 5), real=counts([1, 2], 5), draws=0)
    with pytest.raises(ValueError, match="runs, robots"):
        cluster_interval(np.array([1, 2]), trials=5)
