import pytest
import torch

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.reward_shaping.combiners import AccumulateShaper, CountDividedShaper, SignShaper, TaskRewardShaper
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


def batch(size, **values):
    zero = torch.zeros(size)
    no = zero.bool()
    fields = {
        "obs": zero, "state": {}, "action": zero, "next_obs": zero, "next_state": {}, "reward": zero,
        "terminated": no, "truncated": no, "success": no, "env_id": None, **values,
    }  # fmt: skip
    return Transition(**fields)


class Script(Shaper):
    """Pays what is written, step after step."""

    def __init__(self, *rows):
        self.rows, self.step = torch.tensor(rows), 0

    def shape(self, transition):
        return self.rows[self.step]

    def observe(self, transition):
        self.step += 1


def script(name, *rows, weight=1.0):
    return Term(name=name, shaper=Script(*rows), weight=weight)


def played(shaper, steps, begin=None, node=None, valid=None, reward=None):
    """What a shaper pays two envs in each step; `begin` says where new episodes start after a step."""
    shaper.bind(make("Chain-N10-v0", num_envs=2))
    paid = []
    for t in range(steps):
        transition = batch(
            2, env_id=torch.arange(2), next_state={"node": torch.tensor(node[t] if node else [0, 0])},
            valid=torch.tensor(valid[t]) if valid else None, reward=torch.tensor(reward[t] if reward else [0.0, 0.0]),
        )  # fmt: skip
        paid.append(shaper.shape(transition).tolist())
        assert shaper.shape(transition).tolist() == paid[-1], "asking twice changes nothing"
        shaper.observe(transition)
        shaper.begin(torch.tensor(begin[t] if begin else [False, False]))
    return paid


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


def test_signs_by_hand():
    sparse, dense = term("sparse", [1.0, 0.0, -1.0, 0.5, 0.0]), term("dense", [-7.0, 0.01, 3.0, 4.0, 0.0], weight=0.1)
    paid = SignShaper([sparse, dense]).shape(batch(5))
    torch.testing.assert_close(paid, torch.tensor([0.9, 0.1, -0.9, 1.1, 0.0]))


def test_auto_mc_reward_of_a_task():
    """1.0 sgn(sparse) + 0.1 sgn(dense), in place of the task's reward."""
    sparse = Term(name="task", shaper=TaskRewardShaper())
    combined = SignShaper([sparse, term("dense", [2.0, -3.0, 0.0], weight=0.1)], keep_task=False)
    transition = batch(3, reward=torch.tensor([0.37, 0.0, -1.0]))
    torch.testing.assert_close(transition.reward + combined.shape(transition), torch.tensor([1.1, -0.1, -1.0]))


def test_a_gate_per_episode_stays_open_once_enough_is_earned():
    gate = script("gate", [1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0])
    shaper = GateShaper([gate, script("x", *[[1.0, 5.0]] * 4, weight=2.0)], threshold=0.5, per="episode")
    begin = [[False, False], [False, False], [False, True], [False, False]]
    assert played(shaper, 4, begin) == [[2.0, 0.0], [2.0, 10.0], [0.0, 10.0], [0.0, 0.0]]
    assert shaper.memory


def test_accumulation_over_three_levels_per_step():
    """A level counts where all before it exceed their own thresholds; weights do not count in the comparison."""
    high = term("outcome", [1.0, 0.2, 1.0, 0.0], weight=10.0)
    middle = term("stage", [1.0, 5.0, -1.0, 9.0], weight=2.0)
    low = term("style", [0.25, 0.25, 0.25, 0.25])
    shaper = AccumulateShaper([high, middle, low], threshold=[0.5, 0.0])
    assert shaper.shape(batch(4)).tolist() == [12.25, 2.0, 8.0, 0.0]
    everything = AccumulateShaper([high, middle, low], threshold=-2.0)
    assert everything.shape(batch(4)).tolist() == [12.25, 12.25, 8.25, 18.25]
    assert not everything.memory


def test_accumulation_per_episode_in_place_of_the_task():
    """In the last level nothing counts before both above it have been earned in this episode."""
    reward = [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    stage = script("stage", [3.0, 0.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0])
    style = script("style", *[[0.5, 0.5]] * 4)
    levels = [Term(name="task", shaper=TaskRewardShaper()), stage, style]
    shaper = AccumulateShaper(levels, threshold=[0.5, 2.0], per="episode", keep_task=False)
    begin = [[False, False], [False, False], [True, False], [False, False]]
    paid = torch.tensor(played(shaper, 4, begin, reward=reward)) + torch.tensor(reward)
    assert paid.tolist() == [[0.0, 1.0], [1.5, 3.5], [0.5, 0.5], [0.0, 0.5]]


def test_steps_that_were_not_made_earn_and_count_nothing():
    valid = [[True, False], [True, True]]
    gated = GateShaper([script("gate", [1.0, 1.0], [0.0, 0.0]), script("x", *[[1.0, 1.0]] * 2)], per="episode")
    assert played(gated, 2, valid=valid)[1] == [1.0, 0.0]
    divided = CountDividedShaper([script("x", *[[6.0, 6.0]] * 2)], exponent=1.0)
    assert played(divided, 2, valid=valid)[1] == [3.0, 6.0]
    visits = CountDividedShaper([script("x", *[[6.0, 6.0]] * 2)], exponent=1.0, key="node")
    assert played(visits, 2, valid=valid)[1] == [3.0, 6.0]


def test_each_terms_own_events_are_counted():
    often = script("often", [12.0, 0.0], [12.0, 12.0], [0.0, 12.0], [12.0, -12.0])
    once = script("once", [0.0, 0.0], [0.0, 5.0], [0.0, 0.0], [3.0, 0.0], weight=2.0)
    begin = [[False, False], [False, False], [False, True], [False, False]]
    paid = played(CountDividedShaper([often, once], exponent=1.0), 4, begin)
    assert paid == [[12.0, 0.0], [6.0, 22.0], [0.0, 6.0], [10.0, -12.0]]
    halves = played(CountDividedShaper([script("x", *[[2.0, 0.0]] * 4)], exponent=0.5), 4)
    torch.testing.assert_close(torch.tensor(halves)[:, 0], 2.0 / torch.tensor([1.0, 2.0, 3.0, 4.0]).sqrt())


def test_arrivals_are_counted_by_key():
    shaper = CountDividedShaper([script("x", *[[6.0, -6.0]] * 4)], key=["node"], exponent=1.0)
    assert shaper.requires == ("node",)
    node = [[1, 4], [2, 4], [1, 4], [1, 4]]
    begin = [[False, False], [False, True], [False, False], [False, False]]
    assert played(shaper, 4, begin, node) == [[6.0, -6.0], [6.0, -3.0], [3.0, -6.0], [2.0, -3.0]]


def test_what_remembers_the_episode_refuses_transitions_without_one():
    gated = GateShaper([term("a", [1.0]), term("b", [1.0])], per="episode")
    divided = CountDividedShaper([term("a", [1.0])])
    for shaper in (gated, divided):
        shaper.bind(make("Chain-N10-v0", num_envs=1))
        assert shaper.memory
        with pytest.raises(ValueError, match="keep the value that was collected"):
            shaper.shape(batch(1))


def test_options_that_make_no_sense_are_refused():
    two = [term("a", [1.0]), term("b", [1.0])]
    with pytest.raises(ValueError, match="1 thresholds"):
        AccumulateShaper(two, threshold=[0.0, 1.0])
    with pytest.raises(ValueError, match="'step' or 'episode'"):
        GateShaper(two, per="run")
    with pytest.raises(ValueError, match="at least 2 terms"):
        AccumulateShaper(two[:1])
    with pytest.raises(ValueError, match="exponent >= 0"):
        CountDividedShaper(two, exponent=-1.0)
    with pytest.raises(ValueError, match="at least one state field"):
        CountDividedShaper(two, key=())


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


@pytest.mark.parametrize(
    ("composition", "options"),
    [
        (SumShaper, {}), (ProductShaper, {}), (GateShaper, {}), (BlendShaper, {}), (SignShaper, {}),
        (GateShaper, {"per": "episode", "threshold": 0.05}), (AccumulateShaper, {}),
        (AccumulateShaper, {"per": "episode", "threshold": 0.05, "keep_task": False}),
        (CountDividedShaper, {}), (CountDividedShaper, {"key": ["node"], "exponent": 1.0}),
    ],
)  # fmt: skip
def test_in_an_env_with_snapshots(composition, options):
    terms = [{**POTENTIAL, "weight": 0.5, "offset": "zero"}, {"name": "count", "weight": 0.5, "stream": "task"}]

    def build():
        made = Term(name="made", shaper=composition(terms, **options))
        return ShapedEnv(make("Chain-N10-v0", num_envs=4), [made])

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


@pytest.mark.parametrize("name", ["sum", "product", "gate", "blend"])
def test_by_name(name):
    terms = [{**POTENTIAL, "weight": 0.5}, {"name": "count", "weight": 0.5, "stream": "task"}]
    env = shape(make("Chain-N10-v0", num_envs=2), name, terms=terms)
    env.reset(seed=0)
    assert list(env.step([1, 1])[4]["reward_terms"]) == [name]
