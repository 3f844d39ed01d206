import numpy as np
import pytest
import torch
from gymnasium import spaces

from cairngym.agents.distributions import Categorical, DiagonalGaussian, make_distribution


def test_categorical_agrees_with_torch():
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    action = torch.arange(50) % 5
    reference = torch.distributions.Categorical(logits=logits)
    log_prob, entropy = Categorical(spaces.Discrete(5)).evaluate(logits, action)
    torch.testing.assert_close(log_prob, reference.log_prob(action))
    torch.testing.assert_close(entropy, reference.entropy())


def test_categorical_samples_with_its_probabilities():
    distribution, generator = Categorical(spaces.Discrete(3)), torch.Generator().manual_seed(0)
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(40_000, 3)
    action, log_prob = distribution.sample(logits, distribution.noise((40_000,), generator))
    frequencies = torch.bincount(action, minlength=3) / 40_000
    np.testing.assert_allclose(frequencies, [0.2, 0.5, 0.3], atol=0.01)
    torch.testing.assert_close(log_prob, distribution.evaluate(logits, action)[0])


def test_categorical_never_leaves_its_range():
    distribution = Categorical(spaces.Discrete(3))
    logits = torch.tensor([[0.0, 0.0, -1e9]])
    assert distribution.sample(logits, torch.tensor([[1.0]]))[0].item() == 2
    assert distribution.sample(logits, torch.tensor([[0.0]]))[0].item() == 0


def test_discrete_actions_count_from_the_start_of_the_space():
    distribution = make_distribution(spaces.Discrete(3, start=-1))
    assert distribution.to_env(torch.tensor([0, 2])).tolist() == [-1, 1]


def test_gaussian_agrees_with_torch():
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    distribution = DiagonalGaussian(space, log_std=-0.5)
    mean, generator = torch.randn(20, 2), torch.Generator().manual_seed(0)
    action, sampled = distribution.sample(mean, distribution.noise((20,), generator))
    reference = torch.distributions.Independent(torch.distributions.Normal(mean, np.exp(-0.5)), 1)
    log_prob, entropy = distribution.evaluate(mean, action)
    torch.testing.assert_close(log_prob, reference.log_prob(action))
    torch.testing.assert_close(sampled, reference.log_prob(action), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy, reference.entropy())


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_bounded_actions_stay_in_their_box(squash):
    space = spaces.Box(np.array([-2.0, 0.1], np.float32), np.array([2.0, 0.7], np.float32))
    distribution = make_distribution(space, squash)
    actions = distribution.to_env(torch.randn(1000, 2) * 10)
    assert all(space.contains(action) for action in actions.numpy())
    torch.testing.assert_close(distribution.to_env(torch.zeros(1, 2)), torch.tensor([[0.0, 0.4]]))


def test_unbounded_actions_are_passed_on():
    distribution = make_distribution(spaces.Box(-np.inf, np.inf, (1,), np.float32))
    assert distribution.to_env(torch.tensor([[37.5]])).item() == 37.5


def test_other_action_spaces_are_refused():
    with pytest.raises(TypeError, match="Expected a Discrete or Box action space"):
        make_distribution(spaces.MultiDiscrete([2, 2]))
