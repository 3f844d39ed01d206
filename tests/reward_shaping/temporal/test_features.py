"""What is shown of a plan, number by number."""

import pytest
import torch
from plans import make_task, near

from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.parser import parse
from cairngym.reward_shaping.temporal.domains import encode
from cairngym.reward_shaping.temporal.features import PlanFeatures
from cairngym.reward_shaping.temporal.grounding import ground
from cairngym.reward_shaping.temporal.pursuit import Pursuer

MEASURES = {
    "a": Measure(
        margin=lambda state: state["x"], unit="m", scale=2.0, description="A.", target_size=2,
        target=lambda state: torch.stack((state["x"], -state["x"]), 1),
    ),
    "b": Measure(
        margin=lambda state: -state["x"], unit="m", description="B.", target_size=1,
        target=lambda state: 10.0 * state["x"][:, None],
    ),
    "c": Measure(margin=lambda state: state["x"] + 1.0, unit="m", scale=4.0, description="C."),
}  # fmt: skip


def prepared(text, horizon=10):
    grounding = ground(parse(text), horizon)
    table = encode(grounding)
    return Pursuer(table), PlanFeatures(grounding, table, MEASURES)


def state_of(*margins):
    return {"x": torch.arange(1.0, 1.0 + len(margins)), "stl_margins": torch.tensor(margins)}


def described(text, times, step, margins, horizon=10):
    pursuer, features = prepared(text, horizon)
    sight = features.look(state_of(margins))
    pursuit = pursuer.begin(torch.zeros(1, dtype=torch.int64), torch.tensor([times]))
    pursuit = pursuer.follow(pursuit, torch.tensor([step]), sight.margins)
    shown = features(pursuit, torch.tensor([step]), sight)
    assert shown.shape == (1, features.size)
    return shown[0].tolist()


def test_every_number_by_hand():
    """Targets a, b, c; a due at 6, b at 4; c kept from 0 to 8; at step 2 with margins -1, -3 and 1."""
    shown = described("F[0,9] a & F[0,9] b & G[0,8] c", [6, 4], 2, [-1.0, -3.0, 1.0])
    pursued = [0, 1, 0, -2.0, 0.2, 10.0, 0.0]  # b: its margin clipped to two scales, its lead padded
    following = [1, 0, 0, -0.5, 0.4, 1.0, -1.0]
    subgoals = [0, 1, 0, 0.2, 0, 1, 0, 0, 0.4, 0]
    invariant = [0, 0, 1, 0.25, 1, 0, -0.2, 0.6, 0.0, 0.0]  # c leads nowhere
    assert shown == pytest.approx([*pursued, *following, *subgoals, *invariant])


def test_after_the_last_subgoal_and_a_broken_invariant():
    """At step 4 b is due and hit, a was never; c is broken."""
    shown = described("F[0,9] a & F[0,9] b & G[0,3] c", [3, 4], 4, [-1.0, 3.0, -1.0])
    assert shown[:14] == [0.0] * 14
    assert shown[14:24] == pytest.approx([1, 0, 0, -0.1, 0, 0, 1, 0, 0.0, 1])
    assert shown[24:] == pytest.approx([0, 0, 1, -0.25, 0, 0, -0.4, -0.1, 0, 0])
    broken = described("F[0,9] a & F[0,9] b & G[0,4] c", [3, 4], 4, [-1.0, 3.0, -1.0])
    assert broken[24:] == pytest.approx([0, 0, 1, -0.25, 1, 1, -0.4, 0.0, 0, 0])


def test_what_is_to_be_avoided_shows_where_it_is():
    shown = described("F[0,9] a & G[0,8] !b", [6], 2, [-1.0, -3.0])
    assert shown[-2:] == [10.0, 0.0]


def test_absent_parts_are_zero():
    pursuer, features = prepared("F[0,9] a | (F[0,9] b & F[0,9] c & G[0,4] a)")
    branch, times = torch.tensor([0, 1]), torch.tensor([[5, 0], [5, 7]])
    sight = features.look(state_of([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]))
    shown = features(pursuer.begin(branch, times), torch.tensor([0, 0]), sight)
    ahead, goals = 2 * (3 + 2 + 2), 2 * (3 + 2)
    assert not shown[0, 7:ahead].any()
    assert not shown[0, ahead + 5 :].any()
    assert shown[1, ahead + 5 : ahead + goals].any()
    assert shown[1, ahead + goals :].any()


def test_the_deciding_predicate_leads():
    """Of a conjunction the one with the least margin, of a disjunction the greatest; without a target, zeros."""
    _, features = prepared("F[0,9](a & !b & c) & F[0,9](a | b)")
    sight = features.look(state_of([1.0, 3.0, 2.0], [1.0, -3.0, 0.5], [1.0, 0.0, 4.0]))
    both, either = sight.leads.unbind(1)
    assert both.tolist() == [[10.0, 0.0], [0.0, 0.0], [30.0, 0.0]]
    assert either.tolist() == [[10.0, 0.0], [2.0, -2.0], [3.0, -3.0]]
    assert sight.margins.tolist() == [[-3.0, 3.0], [0.5, 1.0], [0.0, 1.0]]
    torch.testing.assert_close(sight.scaled, torch.tensor([[-0.75, 1.5], [0.125, 0.5], [0.0, 0.5]]))


def test_a_world_without_targets_leads_nowhere():
    grounding = ground(parse("F[0,9] c"), 10)
    features = PlanFeatures(grounding, encode(grounding), MEASURES)
    assert features.look({"stl_margins": torch.ones(2, 1)}).leads.shape == (2, 1, 0)


def test_nothing_to_reach():
    """F true has no target at all: one column of infinity, shown clipped."""
    grounding = ground(parse("F[0,3] true & G[0,2] (c | true)"), 4)
    table = encode(grounding)
    features, pursuer = PlanFeatures(grounding, table, MEASURES), Pursuer(table)
    sight = features.look({"stl_margins": torch.ones(2, len(grounding.predicates))})
    begun = pursuer.begin(torch.zeros(2).long(), torch.zeros(2, table.num_variables).long())
    shown = features(begun, torch.zeros(2).long(), sight)
    assert shown.shape == (2, features.size)
    assert not shown.any()


def test_rows_stand_alone_and_repeat():
    pursuer, features = prepared("F[0,9] a & F[0,9] b & G[0,8] c")
    sight = features.look(state_of([1.0, 2.0, 3.0], [-1.0, 0.5, -0.5]))
    again = sight.repeat(3)
    assert [part.shape[0] for part in again] == [6, 6, 6]
    assert torch.equal(again.leads[3:], sight.leads[1:].expand(3, -1, -1))
    times, step = torch.tensor([[1, 2], [8, 3]]), torch.tensor([0, 2])
    both = features(pursuer.begin(torch.zeros(2).long(), times), step, sight)
    second = features.look({name: value[1:] for name, value in state_of([1.0, 2.0, 3.0], [-1.0, 0.5, -0.5]).items()})
    alone = features(pursuer.begin(torch.zeros(1).long(), times[1:]), step[1:], second)
    assert torch.equal(both[1:], alone)


def test_measures_of_a_world_are_read_from_its_state():
    env = make_task("F[0,6] a & F[0,8] d", num_envs=4)
    env.reset(seed=0)
    grounding = ground(env.task.formula, env.task.horizon)
    features = PlanFeatures(grounding, encode(grounding), env.task.measures)
    sight, position = features.look(env.state), env.state["position"]
    assert torch.equal(sight.leads[:, 0, 0], 0.8 - position)
    torch.testing.assert_close(sight.scaled[:, 0], near(0.8).margin(env.state))
    torch.testing.assert_close(sight.scaled[:, 1], ((1.2 - position.abs()) / 0.5).clamp(max=2.0))
