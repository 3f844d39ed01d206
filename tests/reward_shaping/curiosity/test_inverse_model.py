import numpy as np
import pytest
import torch
from gymnasium import spaces
from toy_worlds import make_line

from cairngym.envs.registry import make
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.curiosity.e3b import E3BShaper
from cairngym.reward_shaping.curiosity.icm import ICMShaper
from cairngym.reward_shaping.curiosity.inverse_model import ActionCode

CPU = torch.device("cpu")


def test_choices_are_one_hot_from_their_start():
    code = ActionCode(spaces.MultiDiscrete([2, 3], start=[0, 5]), CPU)
    assert code(torch.tensor([[1, 5], [0, 7]])).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    logits = torch.tensor([[0.0, 2.0, 1.0, 0.0, -1.0]])
    first, second = logits[0, :2].softmax(0), logits[0, 2:].softmax(0)
    expected = -float(first[1].log() + second[0].log())
    assert code.loss(logits, code(torch.tensor([[1, 5]]))).tolist() == pytest.approx([expected])


def test_continuous_actions_are_brought_from_their_bounds_to_one():
    code = ActionCode(spaces.Box(np.float32([0, -np.inf]), np.float32([4, np.inf]), dtype=np.float32), CPU)
    assert code(torch.tensor([[0.0, 3.0], [3.0, -7.0]])).tolist() == [[-1.0, 3.0], [0.5, -7.0]]
    with pytest.raises(TypeError, match="Box, Discrete or MultiDiscrete"):
        ActionCode(spaces.MultiBinary(3), CPU)


@pytest.mark.parametrize("build", [E3BShaper, ICMShaper])
def test_the_inverse_model_learns_to_tell_the_actions(build):
    shaper = build(features=8, hidden=32, learning_rate=5e-3, update_proportion=1.0, minibatch=64, epochs=3)
    env = ShapedEnv(make("Chain-N10-v0", num_envs=32), [Term(name="bonus", shaper=shaper)])
    env.reset(seed=0)
    draws = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(12):
        for _ in range(10):
            env.step(torch.randint(2, (32,), generator=draws))
        rows = shaper._reservoir.rows().clone()
        losses.append(env.update_shapers()["bonus/loss"])
    before, after, action = shaper.parts(rows)
    moved = rows[:, : shaper.features].argmax(1) != rows[:, shaper.features : 2 * shaper.features].argmax(1)
    told = (shaper.inverse(before, after).argmax(1) == action.argmax(1))[moved]
    assert float(told.float().mean()) > 0.95
    assert losses[-1] < 0.5 * losses[0]


def test_the_forward_model_does_not_shape_the_features():
    shaper = ICMShaper(features=4, beta=1.0)
    shaper.bind(make_line(4))
    shaper.loss(torch.randn(6, shaper.row_width, generator=torch.Generator().manual_seed(0))).backward()
    assert all(p.grad is None or float(p.grad.abs().max()) == 0.0 for p in shaper.inverse.embed.parameters())
    assert all(float(p.grad.abs().max()) > 0.0 for p in shaper.networks["forward"].parameters())


def test_the_loss_of_both_models_by_hand():
    shaper = ICMShaper(features=4, beta=0.3)
    shaper.bind(make_line(4))
    rows = torch.randn(6, shaper.row_width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after, action = shaper.parts(rows)
        told = shaper.networks["inverse"].decode(torch.cat((before, after), 1))
        forward = shaper.networks["forward"](torch.cat((before, action), 1))
        inverse_loss = np.mean([(told[i] - action[i]).square().mean() for i in range(6)])
        forward_loss = np.mean([(forward[i] - after[i]).square().sum() / 2 for i in range(6)])
        assert float(shaper.loss(rows)) == pytest.approx(0.7 * inverse_loss + 0.3 * forward_loss, rel=1e-5)


def test_one_hot_features_pay_the_inverse_of_a_count():
    shaper = E3BShaper(features=10, ridge=0.5)
    env = ShapedEnv(make("Chain-N10-v0", num_envs=3), [Term(name="bonus", shaper=shaper)])
    env.reset(seed=0)
    env.step([0, 0, 0])
    env.update_shapers()
    shaper.inputs = lambda features: features
    shaper.networks["inverse"].embed = torch.nn.Identity()
    env.reset(seed=0)
    paid = [env.step([0, 1, 1 - t % 2])[4]["reward_terms"]["bonus"].tolist() for t in range(6)]
    expected = [[1 / (t + 0.5), 1 / 0.5, 1 / (t // 2 + 0.5)] for t in range(6)]
    np.testing.assert_allclose(paid, expected, rtol=1e-5)


def test_ellipsoids_are_of_the_running_episode():
    shaper = E3BShaper(features=4)
    env = ShapedEnv(make("Chain-N10-v0", num_envs=3), [Term(name="bonus", shaper=shaper)])
    env.reset(seed=0)
    for _ in range(3):
        env.step([1, 1, 0])
    env.update_shapers()
    for _ in range(3):
        env.step([1, 1, 0])
    alone = shaper._inverses.clone()
    env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    assert torch.equal(shaper._inverses[1], shaper._sphere)
    assert torch.equal(shaper._inverses[[0, 2]], alone[[0, 2]])
    assert not torch.equal(alone[0], shaper._sphere)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (E3BShaper, {"ridge": 0.0}, "ridge above zero"),
        (E3BShaper, {"features": 0}, "features.* above zero"),
        (ICMShaper, {"eta": -1.0}, "eta above zero"),
        (ICMShaper, {"beta": 1.5}, r"beta in \[0, 1\]"),
    ],
)
def test_options_out_of_range_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
