"""Flags against their definition on recorded traces."""

from functools import partial

import contract
import pytest
from plans import make_task

import cairngym
from cairngym.envs.stl.parser import parse
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.reward_shaping.temporal.flags import windows

TEXT = "F[0,6] a & F[0,8] G[0,2] c & (d U[1,5] b)"


def make_flags(text=TEXT, **options):
    return make_wrapper("flags", make_task(text, **options))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("dict_obs", [False, True])
def test_contract(dict_obs, check):
    check(partial(make_flags, dict_obs=dict_obs))


def shown(text, horizon=12):
    return [(str(one.body), one.length, one.always) for one in windows(parse(text), horizon)]


def test_operators_over_predicates_have_flags():
    assert shown(TEXT) == [("a", 7, False), ("c", 3, True), ("d", 5, True), ("b", 5, False)]
    assert shown("G (a & !b) & F[3,inf) c") == [("a & !b", 13, True), ("c", 10, False)]
    assert shown("F[0,4](a & F[0,2] b)") == [("b", 3, False)]
    assert shown("F[0,4] a & G[0,6](c -> F[0,4] a)") == [("a", 5, False)]
    assert shown("a R[0,4] b") == [("a", 5, False), ("b", 5, True)]
    assert shown("!(F[0,4] a)") == [("!a", 5, True)]
    assert shown("a W[0,4] b") == [("a", 5, True), ("b", 5, False)]
    assert shown("F[0,4] true & F[2,2] a") == [("a", 1, False)]


def test_flags_by_definition():
    """F: one less a step's share for every step since the body held; G: the share of its length it has held."""
    env = make_flags("F[0,3] c & G[0,4] (c | a)", num_envs=24)
    obs, _ = env.reset(seed=1)
    since, held = [10] * 24, [0] * 24
    margins, met = env.state["stl_margins"], 0
    actions = contract.actions_of(env, 30)
    for t in range(31):
        for i in range(24):
            since[i] = 0 if margins[i, 0] >= 0 else since[i] + 1
            held[i] = held[i] + 1 if margins[i].max() >= 0 else 0
            expected = [max(0.0, 1 - since[i] / 4), min(1.0, held[i] / 5)]
            assert obs[i, -2:].tolist() == pytest.approx(expected, abs=1e-6)
            met += 0 < expected[0] < 1
        if t == 30:
            break
        obs, *_, info = env.step(actions[t])
        margins = env.state["stl_margins"]
        for i in info["_episode"].nonzero()[:, 0].tolist():
            since[i], held[i] = 10, 0
    assert met > 50


def test_bad_input():
    with pytest.raises(TypeError, match="Expected a task with a formula"):
        make_wrapper("flags", cairngym.make("Chain-N10-v0"))
    with pytest.raises(ValueError, match="Expected a formula with a temporal operator over predicates, got a & b"):
        make_flags("a & b")
    with pytest.raises(ValueError, match="without an entry 'flags'"):
        make_wrapper("flags", make_flags(dict_obs=True))
