import numpy as np
import pytest
import torch
from gymnasium import spaces

import cairngym
from cairngym.agents.inputs import InputEncoder, Inputs, make_encoder
from cairngym.agents.networks import InputLayer
from cairngym.envs.wrappers import FrameStack

CATEGORIES = {"image": ((1, 4, 9), (), (0, 1)), "mission": ((3,), (5, 7))}
SPACE = spaces.Dict(
    image=spaces.Box(0, 255, (2, 2, 3), np.uint8),
    mission=spaces.Box(0, 20, (2,), np.int64),
    speed=spaces.Box(-np.inf, np.inf, (2,), np.float32),
    age=spaces.Box(0, 10, (1,), np.int64),
    constant=spaces.Box(3, 3, (4,), np.int64),
)


def sample(batch=5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": torch.as_tensor(rng.integers(0, 11, (batch, 2, 2, 3)), dtype=torch.uint8),
        "mission": torch.as_tensor(rng.integers(0, 20, (batch, 2))),
        "speed": torch.as_tensor(rng.normal(size=(batch, 2)), dtype=torch.float32),
        "age": torch.as_tensor(rng.integers(0, 11, (batch, 1))),
        "constant": torch.full((batch, 4), 3),
    }


def one_hot(obs):
    """What the symbols stand for, written with comparisons; a code that is not listed gives zeros."""
    columns = [obs["image"][..., 0].flatten(1).unsqueeze(-1) == torch.tensor([1, 4, 9])]
    columns += [obs["image"][..., 2].flatten(1).unsqueeze(-1) == torch.tensor([0, 1])]
    columns += [obs["mission"][:, 1:].unsqueeze(-1) == torch.tensor([5, 7])]
    return torch.cat([column.flatten(1) for column in columns], dim=1).float()


def test_symbols_and_features_are_what_the_entries_say():
    obs = sample()
    encoder = InputEncoder(SPACE, CATEGORIES)
    inputs = encoder(obs)
    assert (encoder.num_symbols, encoder.num_sites, encoder.num_features) == (4 * 3 + 4 * 2 + 2, 9, 3)
    dense = torch.zeros(5, encoder.num_symbols + 1).scatter_(1, inputs.symbols.long(), 1.0)[:, :-1]
    assert torch.equal(dense, one_hot(obs))
    torch.testing.assert_close(inputs.features, torch.cat((obs["speed"], obs["age"] / 5.0 - 1.0), dim=1))
    assert encoder.normalized.tolist() == [True, True, False]


def test_the_first_layer_equals_the_dense_product_forward_and_backward():
    torch.manual_seed(0)
    encoder = InputEncoder(SPACE, CATEGORIES)
    obs = sample(batch=32)
    layer = InputLayer(encoder.num_symbols, encoder.num_sites, encoder.num_features, 8, 1.0)
    inputs = encoder(obs)
    out = layer(inputs)
    weight = torch.cat((layer.symbol_weight[:-1], layer.feature_weight)).detach().requires_grad_()
    expected = torch.cat((one_hot(obs), inputs.features), dim=1) @ weight + layer.bias
    torch.testing.assert_close(out, expected)
    target = torch.randn(32, 8)
    ((out - target) ** 2).sum().backward()
    ((expected - target) ** 2).sum().backward()
    torch.testing.assert_close(layer.symbol_weight.grad[:-1], weight.grad[:-3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.feature_weight.grad, weight.grad[-3:], rtol=1e-4, atol=1e-4)
    assert not layer.symbol_weight.grad[-1].any()


def test_codes_out_of_the_table_have_no_symbol():
    encoder = InputEncoder(spaces.Dict(mission=spaces.Box(-5, 99, (1,), np.int64)), {"mission": ((2, 3),)})
    symbols = encoder({"mission": torch.tensor([[2], [3], [4], [99], [0], [-5]])}).symbols
    assert symbols.flatten().tolist() == [0, 1, 2, 2, 2, 2]


def test_constant_entries_cost_nothing():
    encoder = InputEncoder(spaces.Dict(mission=spaces.Box(0, 9, (7,), np.int64)), {"mission": ((4,),) * 7})
    assert (encoder.num_symbols, encoder.num_sites, encoder.num_features) == (0, 0, 0)
    assert InputLayer(0, 0, 0, 8, 1.0)(encoder({"mission": torch.full((3, 7), 4)})).shape == (3, 8)


def test_a_lone_box_needs_no_dict():
    encoder = InputEncoder(spaces.Box(-1.0, 1.0, (2, 3), np.float32), {})
    value = torch.rand(4, 2, 3)
    assert torch.equal(encoder(value).features, value.flatten(1))


def test_rows():
    inputs = Inputs(torch.arange(6).view(3, 2), torch.arange(3.0).view(3, 1))
    assert inputs.rows(torch.tensor([2, 0])).features.flatten().tolist() == [2.0, 0.0]


def test_categories_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"Expected categories of 'image' for the 3 channels.*got 2"):
        InputEncoder(SPACE, {"image": ((0, 1), ())})


def test_a_nested_space_is_refused():
    with pytest.raises(TypeError, match="Expected a Box or a flat Dict of boxes"):
        InputEncoder(spaces.Dict(a=spaces.Dict(b=SPACE["speed"])), {})


def test_encoder_takes_the_codes_of_the_outermost_wrapper():
    bare = cairngym.make("MiniGrid-DoorKey-5x5-v0", num_envs=2, bank_size=64)
    stacked = FrameStack(bare, frames=3)
    single, triple = make_encoder(bare), make_encoder(stacked)
    assert (triple.num_sites, triple.num_symbols) == (3 * single.num_sites, 3 * single.num_symbols)
    assert triple(stacked.reset(seed=0)[0]).symbols.shape[0] == 2
