import pytest
import torch

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.reward_shaping.composition import BlendShaper, GateShaper, ProductShaper, SumShaper
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term
from cairngym.reward_shaping.registry import shape

POTENTIAL = {"name": "potential", "gamma": 0.9}


class Fixed(Shaper):
    def __init__(self, values, stream="task"):
        self.values, self.stream = torch.tensor(values), stream

    def shape(self, transition):
        return self.values


def term(name, values, weight=1.0, **options):
    return Term(name=name, shaper=Fixed(values, **options), weight=weight)


def batch(size):
    zero = torch.zeros(size)
    no = zero.bool()
    return Transition(
        obs=zero, state={}, action=zero, next_obs=zero, next_state={}, reward=zero,
        terminated=no, truncated=no, success=no, env_id=None,
    )  # fmt: skip


def test_sum_product_and_gate_by_hand():
    a, b = term("a", [1.0, -2.0, 3.0], 2.0), term("b", [0.5, 4.0, 0.0], 10.0)
    assert SumShaper([a, b]).shape(batch(3)).tolist() == [7.0, 36.0, 6.0]
    assert ProductShaper([a, b]).shape(batch(3)).tolist() == [10.0, -160.0, 0.0]
    assert GateShaper([a, b]).shape(batch(3)).tolist() == [5.0, 0.0, 0.0], "b passes where a > 0"
    assert GateShaper([a, b], threshold=-2.5).shape(batch(3)).tolist() == [5.0, 40.0, 0.0]
    shut = term("c", [0.0, 1.0, 1.0])
    assert GateShaper([a, shut, b]).shape(batch(3)).tolist() == [0.0, 0.0, 0.0], "every gate must be open"


def test_a_closed_gate_keeps_infinities_out():
    gated = GateShaper([term("gate", [0.0]), term("x", [float("inf")])])
    assert gated.shape(batch(1)).tolist() == [0.0]


def test_blend_is_convex_and_moves_with_the_transitions_observed():
    blend = BlendShaper([term("a", [1.0, 1.0], 0.75), term("b", [5.0, -3.0], 0.25)], final=[0.0, 0.5], steps=8)
    assert blend.shape(batch(2)).tolist() == [2.0, 0.0]
    blend.observe(batch(2))
    assert blend.mixture == [0.5625, 0.3125]
    for _ in range(9):
        blend.observe(batch(2))
    assert blend.shape(batch(2)).tolist() == [2.5, -1.5], "the last mixture stays"


def test_blend_refuses_mixtures_that_are_not_convex():
    with pytest.raises(ValueError, match="sum to at most 1"):
        BlendShaper([term("a", [1.0], 0.75), term("b", [1.0], 0.5)])
    with pytest.raises(ValueError, match="sum to at most 1"):
        BlendShaper([term("a", [1.0], 0.75)], final=[-0.1], steps=5)
    with pytest.raises(ValueError, match="steps >= 1"):
        BlendShaper([term("a", [1.0], 0.75)], final=[0.0])
    with pytest.raises(ValueError, match="1 final weights"):
        BlendShaper([term("a", [1.0], 0.75)], final=[0.1, 0.2], steps=5)


def test_what_a_composition_declares_follows_from_its_terms():
    count = {"name": "count", "key": ["node"], "stream": "task"}
    mixed = SumShaper([POTENTIAL, count])
    assert (mixed.memory, mixed.gamma, mixed.stream, mixed.policy_invariant) == (True, 0.9, "task", False)
    both = SumShaper([POTENTIAL, {**POTENTIAL, "term": "again"}])
    assert (both.memory, both.gamma, both.policy_invariant) == (False, 0.9, True)
    assert mixed.requires == ("node",)
    gated = GateShaper([POTENTIAL, {"name": "count"}])
    assert (gated.stream, gated.policy_invariant, gated.memory) == ("intrinsic", False, True)
    assert not ProductShaper([POTENTIAL]).policy_invariant
    assert BlendShaper([POTENTIAL]).policy_invariant
    assert not BlendShaper([POTENTIAL], final=[0.5], steps=10).policy_invariant


def test_terms_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="one discount"):
        SumShaper([POTENTIAL, {**POTENTIAL, "term": "b", "gamma": 0.99}])
    with pytest.raises(ValueError, match="one stream"):
        SumShaper([POTENTIAL, {"name": "count"}])
    with pytest.raises(ValueError, match="different names"):
        SumShaper([POTENTIAL, POTENTIAL])
    with pytest.raises(ValueError, match="at least 2 terms, got 1"):
        GateShaper([POTENTIAL])


@pytest.mark.parametrize("name", ["sum", "product", "gate", "blend"])
def test_by_name_in_an_env_with_snapshots(name):
    terms = [{**POTENTIAL, "weight": 0.5, "offset": "zero"}, {"name": "count", "weight": 0.5, "stream": "task"}]

    def build():
        return shape(make("Chain-N10-v0", num_envs=4), name, terms=terms)

    env, other = build(), build()
    env.reset(seed=0)
    actions = torch.randint(2, (40, 4), generator=torch.Generator().manual_seed(0))
    for action in actions[:20]:
        env.step(action)
    other.set_state(env.get_state())
    for action in actions[20:]:
        reward = env.step(action)[1]
        assert torch.equal(other.step(action)[1], reward)
    assert env.update_shapers() == {}


def test_a_sum_pays_what_its_terms_pay_apart():
    options = {"potential": {"gamma": 0.9}, "count": {"stream": "task"}}
    apart = make("Chain-N10-v0", num_envs=4)
    for name, chosen in options.items():
        apart = shape(apart, name, 0.5, **chosen)
    terms = [{"name": name, "weight": 0.5, **chosen} for name, chosen in options.items()]
    together = shape(make("Chain-N10-v0", num_envs=4), "sum", terms=terms)
    apart.reset(seed=0)
    together.reset(seed=0)
    for action in torch.randint(2, (60, 4), generator=torch.Generator().manual_seed(0)):
        torch.testing.assert_close(together.step(action)[1], apart.step(action)[1])


def test_metrics_of_nested_terms_are_named_after_them():
    env = ShapedEnv(
        make("Chain-N10-v0", num_envs=4),
        [Term(name="all", shaper=SumShaper([{"name": "rnd"}, {"name": "count"}]))],
    )
    env.reset(seed=0)
    env.step([1, 1, 0, 0])
    assert sorted(env.update_shapers()) == ["all/rnd/loss", "all/rnd/return_std"]
