from itertools import combinations

import pytest
import torch

from cairngym.reward_shaping.llm.lare.decomposition import (
    decomposition_error,
    draw_steps,
    masked_variance,
    subset_variance,
)
from cairngym.reward_shaping.llm.lare.episodes import Episodes


def rows(count, length, seed=0):
    return torch.randn(count, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_error_by_hand_and_beyond_the_end_nothing_counts():
    rewards = torch.tensor([[1.0, 2.0, 6.0], [4.0, 100.0, float("nan")]])
    lived = torch.tensor([[True, True, True], [True, False, False]])
    assert decomposition_error(rewards, lived, torch.tensor([2.0, 1.0])).tolist() == [1.0, 9.0]
    assert masked_variance(rewards, lived).tolist() == [7.0, 0.0]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_over_all_subsets_the_error_is_that_of_whole_episodes_plus_the_variance_of_the_mean(size):
    rewards, target = rows(1, 6), torch.tensor([0.3], dtype=torch.float64)
    whole = decomposition_error(rewards, torch.ones(1, 6, dtype=torch.bool), target)
    subsets = torch.stack([rewards[0, list(chosen)] for chosen in combinations(range(6), size)])
    full = torch.ones(subsets.shape, dtype=torch.bool)
    error = decomposition_error(subsets, full, target)
    spread = (1 - size / 6) / size * rewards.var()
    torch.testing.assert_close(error.mean(), whole[0] + spread)
    torch.testing.assert_close(error.mean(), whole[0] + subsets.mean(1).var(correction=0))
    if size > 1:
        correction = subset_variance(subsets, full, torch.full((len(subsets),), 6))
        torch.testing.assert_close((error - correction).mean(), whole[0], msg="unbiased")
        assert (correction > 0).all() or size == 6


def test_a_subset_of_a_short_episode_is_the_episode():
    lived = torch.tensor([[True, True, False, False]])
    assert subset_variance(rows(1, 4), lived, torch.tensor([2])).tolist() == [0.0]


def test_steps_are_drawn_without_replacement_and_evenly():
    length = torch.tensor([5, 2, 3]).repeat(2000)
    numbers = torch.arange(5.0).view(1, 5, 1).expand(6000, -1, -1)
    drawn, mask = draw_steps(Episodes(numbers, length, torch.zeros(6000)), 3, torch.Generator().manual_seed(0))
    assert drawn.shape == (6000, 3, 1)
    assert mask.sum(1).tolist() == length.clamp(max=3).tolist()
    steps = torch.where(mask, drawn.squeeze(-1), torch.tensor([-1.0, -2.0, -3.0]))
    assert (steps.sort(1).values.diff(dim=1) != 0).all(), "no step twice"
    assert (torch.where(mask, drawn.squeeze(-1), 0.0) < length.unsqueeze(1)).all(), "none beyond the end"
    pairs = {tuple(row) for row in steps[0::3].sort(1).values.tolist()}
    assert len(pairs) == 10, "every subset of three out of five"
    share = torch.bincount(steps[0::3].long().flatten(), minlength=5) / 2000
    torch.testing.assert_close(share, torch.full((5,), 0.6), atol=0.04, rtol=0)
