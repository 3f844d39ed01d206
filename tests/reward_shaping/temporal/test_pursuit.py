"""Plans followed sample by sample, against exact robustness and against schedules judged in hindsight."""

import pytest
import torch
from plans import cases, done, followed

from cairngym.envs.stl.parser import parse
from cairngym.envs.stl.robustness import robustness
from cairngym.reward_shaping.temporal.domains import encode
from cairngym.reward_shaping.temporal.grounding import ground
from cairngym.reward_shaping.temporal.pursuit import Pursuer


@pytest.mark.parametrize("seed", range(4))
def test_plans_done_satisfy_the_formula_and_plans_that_satisfy_it_are_done(seed):
    complete = early = 0
    for formula, grounding, branch, times, traces in cases(seed, 150):
        if not grounding.predicates:
            continue
        table, count = encode(grounding), len(traces)
        columns = {name: traces[..., i] for i, name in enumerate(grounding.predicates)}
        satisfied = robustness(formula, columns, tail="strong")[:, 0] >= 0
        pursuit = followed(grounding, branch, times, traces)
        ok = done(grounding, pursuit)
        repeated = grounding.target_margins(traces).repeat_interleave(len(branch), 0)

        # done => the times as they were taken are times of the domain at which all holds, so the formula does
        assert bool(table.valid(pursuit.branch, pursuit.times).all()), str(formula)
        hindsight = table.resolve(pursuit.branch, pursuit.times).value(repeated) >= 0
        assert bool((hindsight | ~ok).all()), f"{formula}\n{grounding}"
        assert bool((satisfied.repeat_interleave(len(branch)) | ~ok).all()), f"{formula}\n{grounding}"

        # a plan at whose times all holds is done; and every satisfying trace has one
        chosen = table.resolve(branch.repeat(count), times.repeat(count, 1)).value(repeated) >= 0
        assert bool((ok | ~chosen).all()), f"{formula}\n{grounding}"
        assert torch.equal(ok.view(count, -1).any(1), satisfied), f"{formula}\n{grounding}"

        complete += int(chosen.sum())
        early += int((ok & ~chosen).sum())
    assert complete > 3_000
    assert early > 300, "hits that come early save plans whose own times fail"


def play(text, horizon, times, **traces):
    """The pursuits, step by step, of one plan of a formula with one branch on one trace of truth values."""
    grounding = ground(parse(text), horizon)
    pursuer = Pursuer(encode(grounding))
    margins = torch.tensor([[1.0 if held else -1.0 for held in traces[name]] for name in grounding.predicates]).T
    targets = grounding.target_margins(margins)
    pursuit = pursuer.begin(torch.zeros(1, dtype=torch.int64), torch.tensor([times]).view(1, -1))
    for step in range(len(margins)):
        pursuit = pursuer.follow(pursuit, torch.tensor([step]), targets[step : step + 1])
        yield pursuit


def test_a_subgoal_reached_early_takes_that_step():
    first, second, *_ = play("F[0,6] a & F[0,6] b", 6, [4, 5], a=[0, 1, 0, 0, 0, 0, 0], b=[0, 0, 1, 0, 0, 0, 0])
    assert (int(first.stage), int(second.stage)) == (0, 1)
    assert second.times.tolist() == [[1, 5]]
    assert second.due.tolist() == [[1, 5]]
    *_, last = play("F[0,6] a & F[0,6] b", 6, [4, 5], a=[0, 1, 0, 0, 0, 0, 0], b=[0, 0, 1, 0, 0, 0, 0])
    assert last.times.tolist() == [[1, 2]]
    assert last.hits.tolist() == [[True, True]]


def test_only_the_subgoal_pursued_is_hit_early():
    *_, last = play("F[0,6] a & F[0,6] b", 6, [4, 5], a=[0, 0, 0, 0, 1, 0, 0], b=[0, 1, 0, 0, 0, 0, 0])
    assert last.hits.tolist() == [[True, False]]
    assert int(last.stage) == 2


def test_a_subgoal_missed_is_left_behind():
    states = list(play("F[0,6] a & F[0,6] b", 6, [2, 5], a=[0] * 7, b=[0, 0, 0, 1, 0, 0, 0]))
    assert [int(state.stage) for state in states] == [0, 0, 1, 2, 2, 2, 2]
    assert states[-1].hits.tolist() == [[False, True]]


def test_three_subgoals_due_at_once_are_hit_at_once():
    states = list(play("F[0,3] a & F[0,3] b & F[0,3] c", 3, [2, 2, 2], a=[0, 0, 1, 0], b=[0, 0, 1, 0], c=[0, 0, 1, 0]))
    assert [int(state.stage) for state in states] == [0, 0, 3, 3]
    assert states[-1].hits.all()


def test_what_must_stay_is_not_begun_early():
    """A passage at step 1 would else begin the two steps in b, and break them."""
    *_, last = play("F[0,4] G[0,1] b", 5, [3], b=[0, 1, 0, 1, 1, 0])
    assert last.times.tolist() == [[3]]
    assert last.hits.all()
    assert not last.broken.any()


def test_an_early_hit_waits_for_its_gap():
    """b has to follow a within two steps: a counts from two steps before b's time."""
    *_, last = play("F[0,6](a & F[1,2] b)", 8, [6, 8], a=[1, 1, 1, 1, 1, 1, 1, 1, 1], b=[0] * 8 + [1])
    assert last.times.tolist() == [[6, 8]]
    states = list(play("F[0,6](a & F[1,2] b)", 8, [6, 7], a=[1] * 9, b=[0] * 7 + [1, 0]))
    assert [state.times.tolist()[0] for state in states[4:]] == [[6, 7], [5, 7], [5, 7], [5, 7], [5, 7]]


def test_an_until_that_ends_early_asks_for_less():
    states = list(play("a U[0,5] b", 5, [4], a=[1, 1, 0, 0, 0, 0], b=[0, 0, 1, 0, 0, 0]))
    assert states[1].last.tolist() == [[3]]
    assert states[2].last.tolist() == [[1]]
    assert states[-1].hits.all()
    assert not states[-1].broken.any()
    *_, broken = play("a U[0,5] b", 5, [4], a=[1, 0, 0, 0, 0, 0], b=[0, 0, 1, 0, 0, 0])
    assert broken.broken.tolist() == [[True]]


def test_rows_are_put_and_chosen():
    grounding = ground(parse("F[0,4] a & G[0,4] b"), 4)
    pursuer = Pursuer(encode(grounding))
    none = torch.zeros(3, dtype=torch.int64)
    old, new = pursuer.begin(none, torch.tensor([[1], [2], [3]])), pursuer.begin(none[:1], torch.tensor([[4]]))
    put = old.put(torch.tensor([1]), new)
    assert put.times.tolist() == [[1], [4], [3]]
    assert old.where(torch.tensor([False, True, True]), put).due.tolist() == [[1], [4], [3]]
    assert old.where(torch.tensor([True, False, True]), put).due.tolist() == [[1], [2], [3]]
    assert old.points.tolist() == [[0, 1], [0, 2], [0, 3]]
