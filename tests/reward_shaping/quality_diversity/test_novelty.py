"""Novelty against all pairs in numpy, by the tree and by comparison in parts."""

import numpy as np
import pytest
import torch

from cairngym.reward_shaping.quality_diversity import novelty as module
from cairngym.reward_shaping.quality_diversity.novelty import Neighbors, novelty


def slow(asked, known, k, *, member):
    """Mean of the k smallest distances in float64; of members, after one smallest."""
    apart = np.sort(np.linalg.norm(asked[:, None].astype(np.float64) - known[None], axis=2), axis=1)
    kept = apart[:, int(member) :][:, :k]
    return kept.mean(1) if kept.shape[1] else np.full(len(asked), np.inf)


@pytest.mark.parametrize("numbers", [1, 2, 4, 7])
@pytest.mark.parametrize("tree", [True, False])
@pytest.mark.parametrize("member", [True, False])
def test_novelty_equals_all_pairs(monkeypatch, numbers, tree, member):
    monkeypatch.setattr(module, "TREE_NUMBERS", 8 if tree else 0)
    monkeypatch.setattr(module, "CHUNK", 1000)  # several parts
    rng = np.random.default_rng([numbers, tree, member])
    for known_count, asked_count, k in [(300, 40, 15), (7, 40, 15), (16, 16, 15), (15, 15, 15), (1, 3, 2), (3, 1, 1)]:
        known = rng.normal(3, 1, (known_count, numbers)).astype(np.float32)
        known[rng.integers(0, known_count, known_count // 3)] = known[0]  # duplicates
        asked = known[rng.integers(0, known_count, asked_count)] if member else rng.normal(3, 2, (asked_count, numbers))
        asked = asked.astype(np.float32)
        found = novelty(torch.from_numpy(asked), torch.from_numpy(known), k, member=member)
        assert found.dtype is torch.float32
        np.testing.assert_allclose(found, slow(asked, known, k, member=member), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("tree", [True, False])
def test_what_is_said_of_one_does_not_depend_on_the_others(monkeypatch, tree):
    monkeypatch.setattr(module, "TREE_NUMBERS", 8 if tree else 0)
    draws = torch.Generator().manual_seed(0)
    asked, known = torch.randn(33, 3, generator=draws), torch.randn(500, 3, generator=draws)
    together = Neighbors(known).novelty(asked)
    monkeypatch.setattr(module, "CHUNK", 1)
    assert torch.equal(torch.cat([Neighbors(known).novelty(row[None]) for row in asked]), together)
    assert torch.equal(Neighbors(known).novelty(asked), together)


@pytest.mark.parametrize("tree", [True, False])
def test_ends_of_the_scale(monkeypatch, tree):
    monkeypatch.setattr(module, "TREE_NUMBERS", 8 if tree else 0)
    one = torch.tensor([[2.0, 3.0]])
    assert novelty(one, one[:0]).tolist() == [np.inf], "nothing known"
    assert novelty(one, one, member=True).tolist() == [np.inf], "nothing known but itself"
    assert novelty(one, one).tolist() == [0.0]
    assert novelty(one[:0], one).shape == (0,)
    same = one.expand(40, 2)
    assert novelty(same, same, member=True).tolist() == [0.0] * 40, "duplicates count, with distance zero"
    far = torch.tensor([[4096.0, 4096.0]])  # a product of coordinates would have lost the small distance
    assert novelty(far + torch.tensor([[0.0, 1 / 512]]), far).tolist() == [1 / 512]
    assert Neighbors(far).distances(one, 5).shape == (1, 1)
    before, known = Neighbors(far), far
    known += 1.0
    assert before.distances(far - 1.0, 1).tolist() == [[0.0]], "what is known is a copy"


def test_bad_input():
    two = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"shape \(M, D\), got \(4,\)"):
        Neighbors(two[:, 0])
    with pytest.raises(ValueError, match=r"shape \(B, 2\) like the known ones, got \(4, 1\)"):
        novelty(two[:, :1], two)
    with pytest.raises(ValueError, match="k >= 1"):
        novelty(two, two, 0)
