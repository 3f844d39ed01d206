"""Robustness at the horizon against that of the recorded trace."""

import contract
import pytest
import torch
from plans import make_task

import cairngym
from cairngym.envs.stl.robustness import robustness
from cairngym.reward_shaping.temporal.robustness import RobustnessShaper

TEXT = "F[0,6] a & F[0,8] G[0,2] c & G[0,12] d"


def make_shaped(num_envs=1, seed=0, *, scale=None, **options):
    return cairngym.shape(make_task(TEXT, num_envs=num_envs, seed=seed, **options), "robustness", scale=scale)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(make_shaped)


@pytest.mark.parametrize("scale", [None, 0.25])
def test_pays_the_exact_robustness_once(scale):
    env = make_shaped(32, scale=scale)
    env.reset(seed=3)
    trace = [env.state["stl_margins"].clone()]
    for step, action in enumerate(contract.actions_of(env, 12)):
        *_, info = env.step(action)
        trace.append(info["final_state"]["stl_margins"].clone())
        term = info["reward_terms"]["robustness"]
        assert step == 11 or not term.any()
    margins = torch.stack(trace, dim=1)
    exact = robustness(env.task.formula, {n: margins[..., i] for i, n in enumerate(env.task.formula.predicates)})[:, 0]
    torch.testing.assert_close(term, (exact / (scale or env.task.scale)).clamp(-1.0, 1.0))
    assert len(term.unique()) > 5
    assert torch.equal(info["success"], exact >= 0)


def test_a_trace_cut_short_pays_nothing():
    env = make_shaped(8)
    env.reset(seed=3)
    contract.hasten(env)
    ended = 0
    for action in contract.actions_of(env, 5):
        *_, info = env.step(action)
        ended += int(info["_episode"].sum())
        assert not info["reward_terms"]["robustness"].any()
    assert ended > 0


def test_bad_input():
    with pytest.raises(ValueError, match="Expected a finite scale > 0, got 0"):
        RobustnessShaper(scale=0.0)
    with pytest.raises(TypeError, match="Expected a task with a formula"):
        cairngym.shape(cairngym.make("Chain-N10-v0"), "robustness")
