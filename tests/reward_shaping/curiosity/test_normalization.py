import numpy as np
import pytest
import torch

from cairngym.reward_shaping.curiosity.normalization import ReturnScale, RunningMoments

CPU = torch.device("cpu")


def test_moments_equal_numpy_over_all_batches_and_features():
    draws = np.random.default_rng(0)
    batches = [draws.normal(5.0, [0.1, 3.0, 1000.0], size=(size, 3)).astype(np.float32) for size in (1, 7, 500, 2)]
    moments = RunningMoments(3, CPU)
    for batch in batches:
        moments.update(torch.from_numpy(batch))
    moments.update(torch.zeros(0, 3))
    everything = np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=1e-9)
    np.testing.assert_allclose(moments.variance, everything.var(0), rtol=1e-9)
    expected = np.clip((batches[2] - everything.mean(0)) / everything.std(0), -1.5, 1.5)
    np.testing.assert_allclose(moments.normalize(torch.from_numpy(batches[2]), 1.5), expected, atol=1e-4)


def test_normalising_leaves_its_input_alone_and_survives_constants():
    moments = RunningMoments(1, CPU)
    same = torch.full((10, 1), 3.0)
    moments.update(same)
    assert moments.normalize(same, 5.0).abs().max() == 0
    assert moments.normalize(torch.tensor([[4.0]]), 5.0).item() == 5.0, "a first change is as new as can be"
    assert same.unique().tolist() == [3.0]


def test_the_filter_runs_over_time_and_not_over_envs():
    rewards = np.random.default_rng(1).uniform(size=(20, 6)).astype(np.float32)
    scale = ReturnScale(6, 0.9, CPU)
    returns, every = np.zeros(6), []
    for row in rewards:
        scale.observe(torch.from_numpy(row))
        returns = 0.9 * returns + row
        every.append(returns.copy())
    np.testing.assert_allclose(scale.returns, returns, rtol=1e-5)
    assert scale.divisor.item() == 1.0, "until commit"
    scale.commit()
    assert scale.divisor.item() == pytest.approx(np.std(every), rel=1e-5)
    across = [np.std([sum(0.9**k * row[i - k] for k in range(i + 1)) for i in range(6)]) for row in rewards]
    assert abs(np.mean(across) - np.std(every)) > 0.5, "the wrong axis would give another divisor"


def test_envs_that_rest_stand_still():
    scale, alone = ReturnScale(2, 0.9, CPU), ReturnScale(1, 0.9, CPU)
    for step in range(9):
        scale.observe(torch.tensor([float(step), 7.0]), torch.tensor([True, False]))
        alone.observe(torch.tensor([float(step)]))
    scale.commit()
    alone.commit()
    assert scale.returns[1] == 0.0
    assert scale.divisor.item() == pytest.approx(alone.divisor.item())


def test_rewards_that_never_vary_are_not_divided_by_zero():
    scale = ReturnScale(3, 0.0, CPU)
    scale.commit()
    assert scale.divisor.item() == 1.0
    scale.observe(torch.full((3,), 0.25))
    scale.commit()
    assert scale.divisor.item() == 1.0


def test_snapshots():
    scale, moments = ReturnScale(2, 0.9, CPU), RunningMoments(2, CPU)
    scale.observe(torch.tensor([1.0, 2.0]))
    moments.update(torch.rand(5, 2))
    other_scale, other_moments = ReturnScale(2, 0.9, CPU), RunningMoments(2, CPU)
    other_scale.set_state(scale.get_state())
    other_moments.set_state(moments.get_state())
    for each in (scale, other_scale):
        each.observe(torch.tensor([3.0, 0.0]))
        each.commit()
    assert other_scale.divisor == scale.divisor
    assert other_scale.steps == 2
    more = torch.rand(3, 2)
    for each in (moments, other_moments):
        each.update(more)
    assert torch.equal(other_moments.variance, moments.variance)
    assert other_moments.count == 8
