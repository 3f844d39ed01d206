import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.nn import functional

from cairngym.agents.critics import (
    DeterministicActor,
    EnsembleCritic,
    Features,
    SquashedGaussianActor,
    follow,
    frozen_copy,
    frozen_view,
    log_slope,
)
from cairngym.agents.inputs import InputEncoder


@pytest.fixture(autouse=True)
def same_draws():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(size=6, features=3, actions=2):
    return torch.randn(size, features), torch.rand(size, actions) * 2.0 - 1.0


def loop(critic, member, x):
    """What one critic alone says, layer by layer."""
    for layer in critic.layers:
        x = x @ layer.weight[member] + layer.bias[member]
        if critic.layer_norm:
            x = functional.layer_norm(x, x.shape[-1:])
        x = x.relu()
    return (x @ critic.head.weight[member] + critic.head.bias[member]).squeeze(1)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_ensemble_equals_a_loop_over_its_critics(layer_norm):
    critic = EnsembleCritic(5, (16, 8), 3, layer_norm=layer_norm)
    features, action = batch()
    alone = torch.stack([loop(critic, member, torch.cat((features, action), 1)) for member in range(3)])
    torch.testing.assert_close(critic(features, action), alone)
    torch.testing.assert_close(critic(features, action, torch.tensor([2, 0])), alone[[2, 0]])
    torch.testing.assert_close(critic(features, action, slice(0, 1)), alone[:1])
    assert not torch.allclose(alone[0], alone[1])


def test_critics_learn_apart():
    critic = EnsembleCritic(5, (16, 8), 3)
    critic(*batch())[1].sum().backward()
    for parameter in critic.parameters():
        assert not parameter.grad[[0, 2]].any()
    assert critic.layers[0].weight.grad[1].any()


def test_layers_begin_as_linear_layers_do():
    weight = EnsembleCritic(100, (400,), 2).layers[0].weight
    alike = nn.Linear(100, 400).weight
    assert weight.abs().max() <= 0.1
    torch.testing.assert_close(weight.std(), alike.std(), rtol=0.05, atol=0.0)


def test_a_frozen_view_passes_gradients_to_actions_only_and_follows_training():
    critic = EnsembleCritic(5, (16, 8), 2)
    view, (features, action) = frozen_view(critic), batch()
    expected = torch.autograd.grad(critic(features, action.requires_grad_()).sum(), action)[0]
    view(features, action).sum().backward()
    assert torch.equal(action.grad, expected)
    assert all(parameter.grad is None for module in (critic, view) for parameter in module.parameters())
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.1, fused=True)
    before = view(features, action).detach()
    critic(features, action).sum().backward()
    optimizer.step()
    assert torch.equal(view(features, action), critic(features, action))
    assert not torch.equal(view(features, action), before)
    critic.load_state_dict(EnsembleCritic(5, (16, 8), 2).state_dict())
    assert torch.equal(view(features, action), critic(features, action))


def test_targets_follow_by_their_share_exactly():
    source, target = (EnsembleCritic(5, (16,), 2) for _ in range(2))
    old = [parameter.detach().clone() for parameter in target.parameters()]
    lists = [[parameter.detach() for parameter in critic.parameters()] for critic in (target, source)]
    follow(*lists, 0.25)
    for now, before, goal in zip(target.parameters(), old, source.parameters(), strict=True):
        assert torch.equal(now, before + 0.25 * (goal - before))
    follow(*lists, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), source.parameters(), strict=True))


def test_a_frozen_copy_stays_where_it_was():
    critic = EnsembleCritic(5, (16,), 2)
    copy = frozen_copy(critic)
    with torch.no_grad():
        critic.head.bias.add_(1.0)
    features, action = batch()
    torch.testing.assert_close(copy(features, action) + 1.0, critic(features, action))
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_squashed_densities_equal_those_of_torch():
    actor = SquashedGaussianActor(3, 2, (16,))
    features, noise = torch.randn(5, 3), torch.randn(5, 2)
    action, log_prob = actor.sample(features, noise)
    mean, log_std = actor(features)
    oracle = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform(cache_size=1))
    torch.testing.assert_close(action, (mean + log_std.exp() * noise).tanh())
    torch.testing.assert_close(log_prob, oracle.log_prob(action).sum(1), rtol=1e-4, atol=1e-4)


def test_the_slope_of_tanh_survives_saturation():
    raw = torch.tensor([-60.0, -1.0, 0.0, 1.0, 60.0])
    exact = (1.0 - raw.double().tanh() ** 2).log()
    torch.testing.assert_close(log_slope(raw)[1:4], exact[1:4].float())
    torch.testing.assert_close(log_slope(raw)[[0, 4]], torch.tensor([2 * 0.6931472 - 120.0] * 2))


def test_deterministic_actions_are_squashed():
    actor = DeterministicActor(3, 2, (16,))
    features = 1000.0 * torch.randn(64, 3)
    assert actor(features).abs().max() <= 1.0
    assert actor(features).abs().max() > 0.9
    assert torch.equal(actor(torch.zeros(2, 3))[0], actor(torch.zeros(2, 3))[1])


def test_heads_speak_float32_under_autocast():
    features, action = batch()
    critic, actor, gaussian = (
        EnsembleCritic(5, (16,)),
        DeterministicActor(3, 2, (16,)),
        SquashedGaussianActor(3, 2, (8,)),
    )
    exact = critic(features, action)
    with torch.autocast("cpu", torch.bfloat16):
        value = critic(features, action)
        assert value.dtype == actor(features).dtype == gaussian(features)[0].dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=0.05, atol=0.02)
    assert not torch.equal(value, exact)  # the hidden layers were rounded


def test_features_join_symbols_and_normalised_numbers():
    space = spaces.Dict(code=spaces.Box(0, 2, (1,), int), place=spaces.Box(-9.0, 9.0, (2,)))
    features = Features(InputEncoder(space, {"code": ((0, 2),)}), clip=1.5, floor=1e-4)
    obs = {"code": torch.tensor([[0], [1], [2]]), "place": torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 9.0]])}
    assert features(obs).tolist() == [[1, 0, 0, 1], [0, 0, 1.5, 1], [0, 1, 1.5, 1.5]]
    features.update(obs)
    seen = features(obs)
    assert features.size == 4
    torch.testing.assert_close(seen[:, 2], torch.tensor([-1.2247449, 0.0, 1.2247449]))
    assert not Features(InputEncoder(space, {}), normalize=False).normalizer.active


def test_what_hardly_moves_is_not_blown_up():
    features = Features(InputEncoder(spaces.Box(-9.0, 9.0, (2,)), {}), floor=0.01)
    features.update(torch.tensor([[0.0, 1e-6], [6.0, 3e-6]]))
    seen = features(torch.tensor([[6.0, 3e-6]]))
    torch.testing.assert_close(seen, torch.tensor([[1.0, 1e-4]]))
