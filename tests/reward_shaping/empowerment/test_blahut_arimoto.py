"""Capacities against closed forms, a loop by the book, and the bounds they must keep."""

import math

import numpy as np
import pytest
import torch
from empowerment_toys import numpy_capacity

from cairngym.reward_shaping.empowerment.blahut_arimoto import channel_capacity


def entropy(p):
    return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)


def typewriter(letters, stay=0.5):
    return stay * torch.eye(letters) + (1 - stay) * torch.eye(letters).roll(1, 1)


CLOSED_FORMS = {
    "four outcomes": (torch.eye(4), math.log(4)),
    "four actions, two outcomes": (torch.eye(2).repeat(2, 1), math.log(2)),
    "one outcome": (torch.ones(3, 1), 0.0),
    "actions that do the same": (torch.tensor([[0.2, 0.8]] * 3), 0.0),
    "binary symmetric": (torch.tensor([[0.89, 0.11], [0.11, 0.89]]), math.log(2) - entropy(0.11)),
    "binary erasure": (torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.3, 0.7]]), 0.7 * math.log(2)),
    "Z": (torch.tensor([[1.0, 0.0], [0.5, 0.5]]), math.log(1.25)),
    "noisy typewriter": (typewriter(26), math.log(13)),
    "noiseless typewriter": (typewriter(26, 1.0), math.log(26)),
    "typewriter that errs seldom": (typewriter(7, 0.9), math.log(7) - entropy(0.1)),
}


@pytest.mark.parametrize(("channel", "capacity"), CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_closed_forms_lie_between_the_bounds(channel, capacity):
    found = channel_capacity(channel.unsqueeze(0))
    assert found.lower[0] - 1e-7 <= capacity <= found.upper[0] + 1e-7
    assert found.gap[0] <= 1e-6
    assert found.source.sum(1).item() == pytest.approx(1.0)


def test_random_channels_with_zeros_equal_a_loop_and_no_channel_depends_on_the_others():
    draws = torch.Generator().manual_seed(0)
    channels = torch.rand(6, 5, 4, generator=draws) * (torch.rand(6, 5, 4, generator=draws) > 0.4)
    channels[..., 0] += 1e-3
    channels = channels / channels.sum(-1, keepdim=True)
    together = channel_capacity(channels, tolerance=1e-5)
    for i, channel in enumerate(channels.double()):
        by_loop = numpy_capacity(channel / channel.sum(-1, keepdim=True), 100)
        assert together.lower[i] - 2e-3 <= by_loop <= together.upper[i] + 1e-6, "the loop comes from below"
        alone = channel_capacity(channels[i : i + 1], tolerance=1e-5)
        assert alone.lower[0].item() == pytest.approx(together.lower[i].item(), abs=1e-12)
        assert torch.allclose(alone.source[0], together.source[i], atol=1e-10)
    assert (together.gap <= 1e-5).all()


def test_the_bounds_hold_after_any_number_of_iterations():
    channel = torch.tensor([[[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.3, 0.3, 0.4]]])
    exact = channel_capacity(channel, tolerance=1e-9).lower[0]
    for iterations in (1, 2, 5, 20):
        rough = channel_capacity(channel, tolerance=1e-9, max_iterations=iterations)
        assert rough.lower[0] <= exact + 1e-9
        assert rough.upper[0] >= exact - 1e-9
        assert rough.iterations == iterations


@pytest.mark.parametrize(
    "channel",
    [
        torch.ones(2, 2),
        torch.ones(1, 0, 2),
        torch.full((1, 2, 2), np.nan),
        torch.tensor([[[1.5, -0.5]]]),
        torch.ones(1, 2, 2),
    ],
)
def test_what_is_no_channel_is_refused(channel):
    with pytest.raises(ValueError, match="Expected"):
        channel_capacity(channel)
