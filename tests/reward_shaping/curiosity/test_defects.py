"""Defects known from other libraries of exploration bonuses, each held against every bonus here.

The numbers are those of a list kept of one such library: D1 rewards overwritten by their discounted sums, D2 a
constructor that steps the env, D3 learning outside the update and on other observations than those paid for, D4 loops
over envs, D5 a loss of continuous actions of the wrong shape, D6 division by zero for constants, D7 lists that grow
for ever, D8 methods that are not there and values of the wrong kind, D9 nothing said about optimal policies.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy_worlds import make_line

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.reward_shaping.composition import SumShaper
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.curiosity.count import CountShaper
from cairngym.reward_shaping.curiosity.e3b import E3BShaper
from cairngym.reward_shaping.curiosity.icm import ICMShaper
from cairngym.reward_shaping.curiosity.inverse_model import ActionCode
from cairngym.reward_shaping.curiosity.rdd import RDDShaper
from cairngym.reward_shaping.curiosity.rnd import RNDShaper
from cairngym.reward_shaping.invariant_bonus import InvariantBonusShaper

SMALL = {"hidden": 8, "update_proportion": 1.0, "warmup": 1, "max_batch": 64, "minibatch": 32}
NARROW = {**SMALL, "features": 4}
BONUSES = {
    "count": (CountShaper, {}),
    "lifelong": (CountShaper, {"mode": "lifelong"}),
    "rnd": (RNDShaper, SMALL),
    "rdd": (RDDShaper, SMALL),
    "e3b": (E3BShaper, NARROW),
    "e3b divided": (E3BShaper, {**NARROW, "normalize": True}),
    "icm": (ICMShaper, NARROW),
    "icm divided": (ICMShaper, {**NARROW, "normalize": True}),
}
every_bonus = pytest.mark.parametrize("name", BONUSES)
learning = pytest.mark.parametrize("name", [name for name in BONUSES if name not in ("count", "lifelong")])
divided = pytest.mark.parametrize("name", ["rnd", "rdd", "e3b divided", "icm divided"])


def bonus(name, **options):
    build, own = BONUSES[name]
    return build(**{**own, **options})


def shaped(env, *shapers):
    return ShapedEnv(env, [Term(name=f"term{i}", shaper=shaper) for i, shaper in enumerate(shapers)])


def walk(env, steps, seed=0):
    """What the first term pays in every step of a random walk."""
    env.action_space.seed(seed)
    return torch.stack([env.step(env.action_space.sample())[4]["reward_terms"]["term0"] for _ in range(steps)])


def warm(env):
    """Through the statistics and the warm-up of the returns."""
    env.reset(seed=0)
    for _ in range(3):
        walk(env, 8)
        env.update_shapers()
    return env


@divided
def test_d1_discounted_sums_serve_the_divisor_and_never_replace_the_bonus(name):
    shaper = bonus(name)
    env = warm(shaped(make("Chain-N10-v0", num_envs=4), shaper))
    raw = []
    measure = shaper.measure
    shaper.measure = lambda *args: raw.append(measure(*args)) or raw[-1]
    paid = walk(env, 12)
    np.testing.assert_allclose(paid, torch.stack(raw) / shaper._scale.divisor, rtol=1e-5)
    sums, every = torch.zeros(4), []
    for row in raw:
        sums = shaper.discount * sums + row
        every.append(sums)
    assert not np.allclose(paid[-1], every[-1] / shaper._scale.divisor, rtol=0.1), "the sums would be seen"


@every_bonus
def test_d2_making_and_binding_step_nothing_and_draw_nothing_global(name):
    env = make_line(3)
    env.reset(seed=0)
    env.step = lambda actions: pytest.fail("the env was stepped")
    env.reset = lambda **options: pytest.fail("the env was reset")
    before = torch.get_rng_state()
    first, second = bonus(name), bonus(name)
    first.bind(env)
    torch.manual_seed(1)
    second.bind(env)
    torch.set_rng_state(before)
    for mine, other in zip(leaves(first.get_state()), leaves(second.get_state()), strict=True):
        assert torch.equal(mine, other)


def leaves(state):
    """Every tensor of a snapshot."""
    if isinstance(state, Mapping):
        return [leaf for value in state.values() for leaf in leaves(value)]
    return [state] if isinstance(state, torch.Tensor) else []


@learning
def test_d3_only_update_learns_and_it_learns_from_what_is_paid(name):
    env = warm(shaped(make("Chain-N10-v0", num_envs=4), shaper := bonus(name)))
    weights = [leaf.clone() for network in shaper.networks.values() for leaf in network.state_dict().values()]
    divisor = shaper._scale.divisor.clone()
    met = []
    for _ in range(8):
        met.append(env.step(torch.ones(4, dtype=torch.int64))[4]["final_obs"])
    now = [leaf for network in shaper.networks.values() for leaf in network.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(weights, now, strict=True))
    assert torch.equal(divisor, shaper._scale.divisor)
    rows = shaper._reservoir.rows()[:, : shaper.features]
    assert {tuple(row) for row in rows.tolist()} <= {tuple(row) for row in torch.cat(met).tolist()}
    assert rows[:, 0].max() == 0.0, "nobody arrives at the state that episodes start from, though all act there"
    env.update_shapers()
    now = [leaf for network in shaper.networks.values() for leaf in network.state_dict().values()]
    assert not all(torch.equal(a, b) for a, b in zip(weights, now, strict=True))


class Operations(TorchDispatchMode):
    """Counts what is asked of torch."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@every_bonus
def test_d4_a_step_asks_for_as_many_operations_whatever_the_number_of_envs(name):
    counts = []
    for num_envs in (4, 64):
        shaper = bonus(name)
        warm(shaped(make("Chain-N10-v0", num_envs=num_envs), shaper))
        transition = example(num_envs)
        with Operations() as operations:
            shaper.shape(transition)
            shaper.observe(transition)
            shaper.begin(torch.ones(num_envs, dtype=torch.bool))
        counts.append(operations.count)
    assert counts[0] == counts[1]


def example(num_envs, **changes):
    state = {"node": torch.zeros(num_envs, dtype=torch.int64)}
    obs, zero = torch.eye(10)[state["node"]], torch.zeros(num_envs)
    no = zero.bool()
    made = Transition(
        obs=obs, state=state, action=state["node"], next_obs=obs, next_state=state, reward=zero, terminated=no,
        truncated=no, success=no, env_id=torch.arange(num_envs),
    )  # fmt: skip
    return replace(made, **changes)


def test_d5_every_row_of_continuous_actions_has_its_own_loss():
    space = make_line(1).single_action_space
    wide = type(space)(-1.0, 1.0, (3,), np.float32)
    draws = torch.Generator().manual_seed(0)
    prediction, action = torch.randn(5, 3, generator=draws), torch.rand(5, 3, generator=draws)
    code = ActionCode(wide, torch.device("cpu"))
    loss = code.loss(prediction, code(action))
    expected = [np.mean((prediction[i].numpy() - action[i].numpy()) ** 2) for i in range(5)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("num_envs", [1, 5])
@every_bonus
def test_d5_continuous_actions_go_all_the_way(name, num_envs):
    env = warm(shaped(make_line(num_envs), bonus(name)))
    paid = walk(env, 5)
    assert paid.shape == (5, num_envs)
    assert float(paid.abs().sum()) > 0


@pytest.mark.parametrize("num_envs", [1, 4])
@every_bonus
def test_d6_constant_observations_and_rewards_stay_finite(name, num_envs):
    shaper = bonus(name)
    shaper.bind(make("Chain-N10-v0", num_envs=num_envs))
    transition = example(num_envs)
    for t in range(24):
        value = shaper.shape(replace(transition))
        assert torch.isfinite(value).all()
        assert float(value.abs().max()) < 1e4
        shaper.observe(replace(transition))
        shaper.begin(torch.ones(num_envs, dtype=torch.bool))  # episodes of one step
        if t % 6 == 5:
            assert all(math.isfinite(metric) for metric in shaper.update().values())


def held(value, seen):
    """How many numbers and items an object holds."""
    if id(value) in seen or isinstance(value, type | str):
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, Mapping):
        return len(value) + sum(held(item, seen) for item in value.values())
    if isinstance(value, list | tuple | set):
        return len(value) + sum(held(item, seen) for item in value)
    return held(vars(value), seen) if hasattr(value, "__dict__") else 0


@every_bonus
def test_d7_nothing_grows_with_the_steps(name):
    shaper = bonus(name)
    env = warm(shaped(make("Chain-N10-v0", num_envs=4), shaper))
    sizes = []
    for _ in range(3):
        for _ in range(2):
            walk(env, 10)
            metrics = env.update_shapers()
        sizes.append((held(vars(shaper), set()), len(metrics)))
    assert sizes[0] == sizes[1] == sizes[2]


@every_bonus
def test_d8_every_method_does_its_work_and_sums_are_tensors(name):
    both = SumShaper([Term(name="a", shaper=bonus(name), weight=0.5), Term(name="b", shaper=bonus(name), weight=0.25)])
    alone = bonus(name)
    env = warm(shaped(make("Chain-N10-v0", num_envs=4), both, alone))
    env.action_space.seed(1)
    for _ in range(6):
        terms = env.step(env.action_space.sample())[4]["reward_terms"]
        assert terms["term0"].dtype is torch.float32
        torch.testing.assert_close(terms["term0"], 0.75 * terms["term1"])
    metrics = env.update_shapers()
    learns = name not in ("count", "lifelong")
    assert {f"term0/{part}/loss" for part in "ab"} <= set(metrics) or not learns
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    assert env.update_shapers() == {}, "nothing was observed since"


@every_bonus
def test_d9_every_bonus_can_be_made_to_leave_optimal_policies_as_they_are(name):
    assert not bonus(name).policy_invariant
    wrapped = InvariantBonusShaper([Term(name="bonus", shaper=bonus(name))], gamma=0.9)
    env = warm(shaped(make_line(6), wrapped))
    env.reset(seed=1)
    sums, factor, bonuses, ended = torch.zeros(6), torch.ones(6), torch.zeros(6), 0
    env.action_space.seed(2)
    for _ in range(30):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        paid = info["reward_terms"]["term0"]
        sums, bonuses, factor = sums + factor * paid, bonuses + paid.abs(), 0.9 * factor
        done = terminated | truncated
        torch.testing.assert_close(sums[done], torch.zeros_like(sums[done]), atol=1e-4, rtol=0)
        ended += int(done.sum())
        sums, factor = sums.masked_fill(done, 0.0), factor.masked_fill(done, 1.0)
    assert ended > 10
    assert float(bonuses.min()) > 0


@every_bonus
def test_a_resumed_bonus_pays_and_learns_the_same(name):
    def build():
        return shaped(make_line(4), bonus(name))

    env, other = warm(build()), build()
    walk(env, 5)
    other.set_state(env.get_state())
    for _ in range(2):
        assert torch.equal(walk(env, 6, seed=4), walk(other, 6, seed=4))
        assert env.update_shapers() == other.update_shapers()
