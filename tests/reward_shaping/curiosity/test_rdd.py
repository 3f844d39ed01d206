import pytest
import torch
from torch import nn

from cairngym.envs.registry import make
from cairngym.reward_shaping.curiosity.rdd import RDDShaper
from cairngym.reward_shaping.curiosity.rnd import RNDShaper

STATES = 60


class Table(nn.Module):
    """The best predictor there is: an entry of its own for every state."""

    def __init__(self, outputs):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(STATES, outputs))

    def forward(self, inputs):
        return self.rows[inputs.argmax(dim=1)]


def tabular(build, visits, **options):
    """The bonus of every state after its table entry averaged the targets of so many visits."""
    shaper = build(minibatch=STATES, outputs=64, **options)
    shaper.bind(make("Chain-N10-v0", num_envs=2, length=STATES))
    table = shaper.networks["predictor"] = Table(64)
    states = torch.eye(STATES)
    for n in range(1, visits + 1):
        # The gradient of the mean squared error is 2 (f - y) / (STATES 64): a step that moves f by 1/n of the way to y.
        shaper._optimizer = torch.optim.SGD(table.parameters(), lr=STATES * 64 / (2 * n))
        shaper.train(states)
    with torch.no_grad():
        return shaper.measure(shaper.inputs(states), None), shaper


@pytest.mark.parametrize("sigma", [1.0, 0.5])
@pytest.mark.parametrize("visits", [1, 4, 25])
def test_in_a_table_the_bonus_is_sigma_squared_over_n(visits, sigma):
    bonus, shaper = tabular(RDDShaper, visits, sigma=sigma)
    expected = sigma**2 / visits
    # The mean of 60 x 64 squared normals: relative std (2 / 3840)^0.5 = 2.3 %; of one state's 64: 18 %.
    assert float(bonus.mean()) == pytest.approx(expected, rel=0.1)
    assert float(bonus.min()) > 0.4 * expected
    with torch.no_grad():  # what a predictor misses of the mean of its targets comes on top
        shaper.networks["predictor"].rows += 3.0
        worse = shaper.measure(shaper.inputs(torch.eye(STATES)), None)
    assert float(worse.mean()) == pytest.approx(expected + 9.0, rel=0.1)


def test_without_noise_one_visit_is_enough():
    assert float(tabular(RNDShaper, 1)[0].max()) < 1e-9


def test_targets_are_drawn_afresh_around_the_same_mean():
    shaper = RDDShaper(sigma=0.3)
    shaper.bind(make("Chain-N10-v0", num_envs=2))
    inputs = torch.randn(2000, 10, generator=torch.Generator().manual_seed(0))
    first, second = shaper.targets(inputs) - shaper.networks["target"](inputs), shaper.targets(inputs)
    assert float(first.std()) == pytest.approx(0.3, rel=0.02)
    assert abs(float(first.mean())) < 0.005
    assert not torch.equal(first + shaper.networks["target"](inputs), second)


def test_sigma_has_to_be_above_zero():
    with pytest.raises(ValueError, match="the shaper 'rnd'"):
        RDDShaper(sigma=0.0)
