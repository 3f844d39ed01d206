import numpy as np
import pytest
import torch
from agent_toys import ToyTask, ToyWorld, draw_integer, identity
from gymnasium import spaces
from torch.nn import functional

import cairngym
from cairngym.agents.evolution.population import PolicyActor, PolicyShape, play_episodes, worlds_per_policy
from cairngym.agents.inputs import InputEncoder, Inputs, make_encoder
from cairngym.envs.core import TensorEnv

SPACES = {
    "symbols": (spaces.Dict(code=spaces.Box(0, 3, (2,), np.int64)), {"code": ((0, 1, 2, 3), (1, 3))}),
    "features": (spaces.Box(-np.inf, np.inf, (3,), np.float32), {}),
    "both": (
        spaces.Dict(code=spaces.Box(0, 3, (2,), np.int64), x=spaces.Box(-np.inf, np.inf, (3,), np.float32)),
        {"code": ((0, 1, 2, 3), (1, 3))},
    ),
    "nothing": (spaces.Box(1.0, 1.0, (1,), np.float32), {}),
}


def encoded(name, batch):
    generator = torch.Generator().manual_seed(0)
    space, categories = SPACES[name]
    code = torch.randint(0, 4, (batch, 2), generator=generator)
    x = torch.randn(batch, 3, generator=generator)
    entries = {
        "symbols": {"code": code},
        "features": x,
        "both": {"code": code, "x": x},
        "nothing": torch.ones(batch, 1),
    }
    encoder = InputEncoder(space, categories)
    return encoder, encoder(entries[name])


def one_by_one(shape, parameters, inputs):
    """Every policy by itself, on a dense one-hot code."""
    hot = torch.zeros(len(inputs.symbols), shape.num_symbols + 1)
    hot.scatter_(1, inputs.symbols.long(), 1.0)
    dense = torch.cat((hot[:, :-1], inputs.features), 1)
    outputs = []
    for vector, rows in zip(parameters, dense.chunk(len(parameters)), strict=True):
        place = 0
        for index, (width, scale) in enumerate(zip(shape.widths[1:], shape.scales, strict=True)):
            block = vector[place : place + (rows.shape[1] + 1) * width].view(-1, width) * scale
            place += block.numel()
            rows = functional.linear(rows if index == 0 else rows.tanh(), block[:-1].t(), block[-1])
        assert place == shape.size
        outputs.append(rows)
    return torch.cat(outputs)


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
@pytest.mark.parametrize("name", list(SPACES))
def test_a_population_answers_as_its_policies_do_one_by_one(name, hidden):
    encoder, inputs = encoded(name, batch=12)
    shape = PolicyShape(encoder, 2, hidden)
    parameters = torch.randn(4, shape.size, generator=torch.Generator().manual_seed(1))
    together = shape.stack(parameters)(inputs)
    assert together.shape == (12, 2)
    torch.testing.assert_close(together, one_by_one(shape, parameters, inputs))
    if name != "nothing":
        assert together[:3].std() > 0.0


def test_a_policy_answers_the_same_alone_as_among_others():
    encoder, inputs = encoded("both", batch=12)
    shape = PolicyShape(encoder, 2, (8,))
    parameters = torch.randn(4, shape.size, generator=torch.Generator().manual_seed(1))
    alone = shape.stack(parameters[2:3])(Inputs(inputs.symbols[6:9], inputs.features[6:9]))
    torch.testing.assert_close(shape.stack(parameters)(inputs)[6:9], alone)


def test_outputs_of_random_policies_are_of_order_one_whatever_the_widths():
    encoder, inputs = encoded("both", batch=256)
    for hidden in ((), (4,), (128, 64)):
        shape = PolicyShape(encoder, 1, hidden)
        parameters = torch.randn(256, shape.size, generator=torch.Generator().manual_seed(1))
        assert 0.4 < shape.stack(parameters)(inputs).std() < 1.6


def test_gradients_reach_the_parameters():
    encoder, inputs = encoded("both", batch=4)
    shape = PolicyShape(encoder, 2, (3,))
    parameters = torch.randn(2, shape.size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    shape.stack(parameters)(inputs).sum().backward()
    assert (parameters.grad != 0).any(1).all()


def test_shares_that_do_not_fit_are_refused():
    assert worlds_per_policy(12, 4) == 3
    with pytest.raises(ValueError, match=r"the 64 policies .* got 1000. Make the env with num_envs=1024"):
        worlds_per_policy(1000, 64)
    with pytest.raises(ValueError, match=r"got 1. Make the env with num_envs=64"):
        worlds_per_policy(1, 64)
    encoder, inputs = encoded("features", batch=5)
    shape = PolicyShape(encoder, 1)
    with pytest.raises(ValueError, match=r"the 2 policies .* got 5"):
        shape.stack(torch.zeros(2, shape.size))(inputs)
    with pytest.raises(ValueError, match=r"Expected parameters of shape \(P, 4\).*got \(2, 5\)"):
        shape.stack(torch.zeros(2, 5))


# Episodes ------------------------------------------------------------------------------------------------------------


class Lengths(TensorEnv):
    """Env i succeeds, and ends, after i + 1 steps, and each step of the last pays; others are cut after `horizon`."""

    def __init__(self, num_envs=4, horizon=3):
        world = ToyWorld(num_envs, spaces.Discrete(2), draw_integer(2))
        last = torch.arange(num_envs) + 1
        task = ToyTask(
            spaces.Box(0.0, 9.0, (1,)), lambda s: s["age"].float().unsqueeze(1), lambda s: s["age"] >= last, horizon
        )
        task.terminate_on_success = True
        super().__init__(world, task)


def nothing(obs):
    return torch.zeros(len(obs), dtype=torch.int64)


def test_every_world_plays_its_episodes_and_no_more():
    env, seen = Lengths(), []
    returns, steps = play_episodes(env, nothing, episodes=2, gamma=0.5, watch=lambda i: seen.append(i["_episode"]))
    # Lengths 1, 2, 3, and a fourth that is cut after 3 steps; the last step pays 1, discounted by those before it.
    assert returns.tolist() == [1.0, 0.5, 0.25, 0.0]
    assert steps == 6 * 4
    assert torch.stack(seen).sum(0).tolist() == [2, 2, 2, 2]
    assert torch.stack(seen).nonzero().tolist() == [[0, 0], [1, 0], [1, 1], [2, 2], [2, 3], [3, 1], [5, 2], [5, 3]]


def test_a_generation_of_short_episodes_ends_early():
    env = Lengths(num_envs=2, horizon=1000)
    assert play_episodes(env, nothing)[1] == 16 * 2


def test_every_call_plays_other_episodes():
    env = identity(num_envs=4)
    shown = []

    def act(obs):
        shown.append(obs["code"].clone())
        return torch.zeros(4, dtype=torch.int64)

    play_episodes(env, act)
    play_episodes(env, act)
    assert len(shown) == 32
    assert not torch.equal(torch.stack(shown[:16]), torch.stack(shown[16:]))


def test_a_policy_of_a_function_plays():
    env = cairngym.make("Chain-N10-v0", num_envs=3)
    encoder = make_encoder(env)
    shape = PolicyShape(encoder, 2, (4,))
    stack = shape.stack(torch.ones(1, shape.size, requires_grad=True))
    obs, _ = env.reset(seed=0)
    action = PolicyActor(lambda o: stack(encoder(o))).act(obs)
    assert action.shape == (3, 2)
    assert not action.requires_grad
