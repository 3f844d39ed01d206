import numpy as np
import torch

from cairngym.agents.normalization import RunningNormalizer


def test_agrees_with_numpy_over_everything_seen():
    rng = np.random.default_rng(0)
    batches = [rng.normal(5.0, 3.0, (size, 4)).astype(np.float32) for size in (7, 1, 64)]
    normalizer = RunningNormalizer(torch.ones(4, dtype=torch.bool), clip=2.0)
    for batch in batches:
        normalizer.update(torch.from_numpy(batch))
    seen = np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(normalizer.mean, seen.mean(0), rtol=1e-6)
    np.testing.assert_allclose(normalizer.variance, seen.var(0), rtol=1e-6)
    expected = np.clip((batches[0] - seen.mean(0)) / np.sqrt(seen.var(0) + 1e-8), -2.0, 2.0)
    np.testing.assert_allclose(normalizer(torch.from_numpy(batches[0])), expected, rtol=1e-4, atol=1e-5)


def test_stays_exact_far_from_zero():
    values = torch.tensor([[1e4], [1e4 + 1], [1e4 + 2]])
    normalizer = RunningNormalizer(torch.ones(1, dtype=torch.bool))
    for _ in range(100):
        normalizer.update(values)
    np.testing.assert_allclose(normalizer.variance, [2.0 / 3.0], rtol=1e-6)


def test_leaves_unselected_features_alone():
    normalizer = RunningNormalizer(torch.tensor([True, False]))
    normalizer.update(torch.tensor([[0.0, 0.0], [2.0, 2.0]]))
    assert normalizer(torch.tensor([[2.0, 2.0]])).tolist() == [[1.0, 2.0]]


def test_changes_nothing_before_the_first_update():
    features = torch.tensor([[0.5, -3.0]])
    assert torch.equal(RunningNormalizer(torch.tensor([True, True]))(features), features)
