"""The reward of a plan against its definition, and what it adds up to."""

import contract
import pytest
import torch
from plans import make_task

import cairngym
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.envs.wrappers import FrameStack
from cairngym.reward_shaping.temporal.stages import StagesShaper

TEXT = "F[0,6] a & F[0,9] b & G[0,12] c"
GOALS = torch.tensor([0.8, -0.8, 0.0])
WIDTHS = torch.tensor([0.25, 0.25, 0.4])


def make_shaped(num_envs=1, seed=0, *, weight=1.0, shaper=None, text=TEXT, **options):
    env = make_wrapper("temporal", make_task(text, num_envs=num_envs, seed=seed, **options))
    return cairngym.shape(env, "stages", weight, **(shaper or {}))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(make_shaped)


def phi(position, goal):
    return (WIDTHS[goal] - (position - GOALS[goal]).abs()).clamp(-1.0, 0.0)


def test_reward_by_definition():
    env = make_shaped(num_envs=40, shaper={"approach": 0.7, "hit": 1.1, "broken": 0.3, "success": 5.0})
    env.reset(seed=2)
    paid = 0
    for action in contract.actions_of(env, 26):
        before = {name: value.clone() for name, value in dict(env.state).items()}
        goal = before["plan_target"]
        there = (5.0 * (GOALS[goal] - before["position"])[:, None] + action).clamp(-1.0, 1.0)
        *_, info = env.step(there)
        after = info["final_state"]
        near = phi(after["position"], goal) - phi(before["position"], goal)
        hits = after["plan_hits"] - before["plan_hits"]
        expected = (0.7 * torch.where(goal >= 0, near, 0.0) + 1.1 * hits) / 2
        expected = expected - 0.3 * (after["plan_broken"] - before["plan_broken"]) + 5.0 * info["success"]
        torch.testing.assert_close(info["reward_terms"]["stages"], expected, rtol=0, atol=1e-6)
        paid += int(hits.sum())
    assert paid > 10


def test_a_plan_done_pays_the_same_whatever_its_length():
    """Two hits or three: half or a third of `hit` each."""
    totals = []
    for text in ("F[1,12] a & F[1,12] c", "F[1,12] a & F[1,12] c & F[1,12] d"):
        env = make_shaped(num_envs=32, text=text, shaper={"approach": 0.0, "success": 0.0})
        env.reset(seed=1)
        total = torch.zeros(32)
        for _ in range(12):
            *_, info = env.step(torch.ones(32, 1))
            total += info["reward_terms"]["stages"]
        final = info["final_state"]
        done = final["plan_hits"] == final["plan_size"]
        assert done.any()
        torch.testing.assert_close(total, final["plan_hits"] / len(env.task.formula.of))
        totals.append(float(total[done].mean()))
    assert totals == pytest.approx([1.0, 1.0])


def test_back_and_forth_earns_nothing():
    env = make_shaped(num_envs=8, text="F[11,12] a", spread=0.0, shaper={"hit": 0.0})
    env.reset(seed=1)
    start, total = env.state["position"].clone(), torch.zeros(8)
    for step in range(10):
        *_, info = env.step(torch.full((8, 1), 1.0 if step % 2 == 0 else -1.0))
        total += info["reward_terms"]["stages"]
    goal = torch.zeros(8, dtype=torch.int64)
    torch.testing.assert_close(total, phi(env.state["position"], goal) - phi(start, goal), rtol=0, atol=1e-6)
    assert float(total.abs().max()) < 0.3


def test_it_finds_the_plan_under_further_wrappers():
    env = FrameStack(make_wrapper("temporal", make_task(TEXT, num_envs=2)), frames=2)
    assert cairngym.shape(env, "stages").reset()[0].shape[0] == 2


def test_envs_without_a_plan_are_refused():
    with pytest.raises(TypeError, match='Expected an env in the wrapper "temporal"'):
        cairngym.shape(make_task(TEXT), "stages")
    with pytest.raises(ValueError, match="Expected a finite hit >= 0, got -1"):
        StagesShaper(hit=-1.0)
