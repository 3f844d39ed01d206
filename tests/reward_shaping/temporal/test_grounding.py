"""Groundings against brute force: formulas evaluated over all steps, plans over all times of all branches."""

import doctest
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from cairngym.envs.stl.formula import (
    Always,
    And,
    Constant,
    Eventually,
    Interval,
    Not,
    Or,
    Predicate,
    Release,
    Until,
    WeakUntil,
    always,
    eventually,
    until,
)
from cairngym.reward_shaping.temporal.domains import encode, holds, robustness
from cairngym.reward_shaping.temporal.grounding import GroundingError, ground, most_hits
from cairngym.reward_shaping.temporal.plan import Invariant, Point, StateFormula, Subgoal

A, B, C = (Predicate(name) for name in "abc")
NAMES = ("a", "b", "c")


# --- the oracle: quantitative semantics read off its definition; what lies beyond the last sample is -inf ---


def exact(formula, margins, step=0):
    """Robustness (B,) at `step` of a formula in negation normal form, from margins (B, T + 1, 3)."""
    last = margins.shape[1] - 1
    missing = np.full(len(margins), -np.inf)
    match formula:
        case Predicate(name):
            return missing if step > last else margins[:, step, NAMES.index(name)]
        case Not(Predicate(name)):
            return missing if step > last else -margins[:, step, NAMES.index(name)]
        case And(of):
            return np.min([exact(part, margins, step) for part in of], axis=0)
        case Or(of):
            return np.max([exact(part, margins, step) for part in of], axis=0)
    low, high = formula.interval.low, formula.interval.high
    end = max(last, step + low) if high is None else step + high
    window = range(step + low, end + 1)
    match formula:
        case Eventually(of):
            return np.max([exact(of, margins, k) for k in window], axis=0)
        case Always(of):
            return np.min([exact(of, margins, k) for k in window], axis=0)
    left = {k: exact(formula.left, margins, k) for k in range(step, end + 1)}
    right = {k: exact(formula.right, margins, k) for k in window}
    stops = {k: k + 1 if formula.inclusive else k for k in window}
    if isinstance(formula, Until):
        return np.max([np.min([right[k], *(left[j] for j in range(step, stops[k]))], axis=0) for k in window], axis=0)
    assert isinstance(formula, Release)
    return np.min([np.max([right[k], *(left[j] for j in range(step, stops[k]))], axis=0) for k in window], axis=0)


def all_times(branch):
    """Every assignment of a branch's variables, (M, V), from its bounds alone."""
    rows = [()]
    for i in range(len(branch.variables)):
        grown = []
        for row in rows:
            points = (0, *row)
            low = max(p - branch.gaps[v][i + 1] for v, p in enumerate(points))
            high = min(p + branch.gaps[i + 1][v] for v, p in enumerate(points))
            grown += [(*row, t) for t in range(low, high + 1)]
        rows = grown
    return torch.tensor(rows, dtype=torch.int64).view(len(rows), len(branch.variables))


def best(grounding, margins):
    """Greatest value (B,) over all branches and times, for margins (B, T + 1, P)."""
    traces = torch.as_tensor(margins)
    columns = [NAMES.index(name) for name in grounding.predicates]
    targets = grounding.target_margins(traces[..., columns])
    table, result = encode(grounding), torch.full((len(traces),), -torch.inf, dtype=traces.dtype)
    for index, branch in enumerate(grounding.branches):
        times = all_times(branch)
        assert len(times) > 0
        padded = torch.zeros(len(times), table.num_variables, dtype=torch.int64)
        padded[:, : times.shape[1]] = times
        for rows in padded.split(4096):
            schedule = table.resolve(torch.full((len(rows),), index), rows)
            repeated = targets.repeat_interleave(len(rows), 0)
            many = type(schedule)(**{k: v.repeat(len(traces), *[1] * (v.ndim - 1)) for k, v in vars(schedule).items()})
            result = torch.maximum(result, many.value(repeated).view(len(traces), len(rows)).amax(1))
    return result.numpy()


# --- random formulas of the fragment ---


def interval(rng, longest=4):
    low = rng.choice((0, 0, 0, 1, 2))
    return Interval(low, None) if rng.random() < 0.12 else Interval(low, low + rng.randint(0, longest))


def state(rng, depth=1):
    if depth == 0 or rng.random() < 0.6:
        literal = Predicate(rng.choice(NAMES))
        return Not(literal) if rng.random() < 0.3 else literal
    return rng.choice((And, Or))((state(rng, depth - 1), state(rng, depth - 1)))


def throughout(rng, depth):
    """What can hold at every step of a window."""
    kind = rng.choice(("state", "state", "and", "always", "hits", "shift"))
    if depth == 0 or kind == "state":
        return state(rng)
    if kind == "and":
        return And((throughout(rng, depth - 1), throughout(rng, depth - 1)))
    if kind == "always":
        return Always(throughout(rng, depth - 1), interval(rng, 2))
    if kind == "shift":
        return Eventually(throughout(rng, depth - 1), Interval(1, 1))
    return Eventually(state(rng), interval(rng, 3))


def formula(rng, depth):
    kind = rng.choice(("state", "and", "or", "F", "F", "G", "U", "W", "R", "not"))
    if depth == 0 or kind == "state":
        return state(rng)
    if kind in ("and", "or"):
        return (And if kind == "and" else Or)((formula(rng, depth - 1), formula(rng, depth - 1)))
    if kind == "F":
        return Eventually(formula(rng, depth - 1), interval(rng))
    if kind == "G":
        return Always(throughout(rng, depth), interval(rng))
    if kind == "not":
        return Not(Always(state(rng) >> state(rng), interval(rng)))
    if kind == "R":
        return Release(formula(rng, depth - 1), throughout(rng, depth - 1), interval(rng), rng.random() < 0.5)
    if kind == "W":
        return WeakUntil(throughout(rng, depth - 1), formula(rng, depth - 1), interval(rng), rng.random() < 0.5)
    return Until(throughout(rng, depth - 1), formula(rng, depth - 1), interval(rng), rng.random() < 0.5)


def size(grounding):
    """An upper bound on the number of assignments."""
    total = 0
    for branch in grounding.branches:
        spans = [high - low + 1 for low, high in map(branch.span, range(len(branch.variables)))]
        total += int(np.prod([1, *spans]))
    return total


def cases(seed, count, horizon=6, most=3000, slack=None):
    """Random formulas with their groundings (None: no branch fits), and traces of few levels, so that ties are met."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    while count:
        wanted = formula(rng, rng.choice((1, 2, 2, 3)))
        margins = draw.integers(-3, 4, (8, horizon + 1, 3)).astype(np.float32) + 0.5 * (draw.random() < 0.5)
        try:
            grounding = ground(wanted, horizon, slack=slack)
        except GroundingError as error:
            if "branches for" in str(error):  # more than the cap
                continue
            if "no branch has times" not in str(error):
                raise
            grounding = None
        if grounding is None or size(grounding) <= most:
            count -= 1
            yield wanted, grounding, margins


@pytest.mark.parametrize("seed", range(5))
def test_the_best_times_reach_the_exact_robustness(seed):
    fitted = 0
    for wanted, grounding, margins in cases(seed, 300):
        expected = exact(wanted.nnf(), margins)
        if grounding is None:
            np.testing.assert_array_equal(expected, -np.inf, err_msg=str(wanted))
            continue
        np.testing.assert_array_equal(best(grounding, margins), expected, err_msg=f"{wanted}\n{grounding}")
        fitted += 1
    assert fitted > 200


@pytest.mark.parametrize("slack", [0, 1])
def test_any_times_bound_the_robustness_from_below(slack):
    compared = 0
    for wanted, grounding, margins in cases(50 + slack, 250, slack=slack):
        if grounding is None:
            continue
        expected = exact(wanted.nnf(), margins)
        assert (best(grounding, margins) <= expected).all(), f"{wanted}\n{grounding}"
        compared += 1
    assert compared > 150


def test_signs_agree_with_booleans():
    """Traces of -1 and 1: holds() at some times iff the formula is true."""
    rng = np.random.default_rng(0)
    for wanted, grounding, margins in cases(80, 100, most=400):
        if grounding is None:
            continue
        signs = np.where(rng.random(margins[:1].shape) < 0.5, -1.0, 1.0).astype(np.float32)
        columns = [NAMES.index(name) for name in grounding.predicates]
        found = False
        for index, branch in enumerate(grounding.branches):
            times = all_times(branch)
            traces = torch.as_tensor(signs[..., columns]).expand(len(times), -1, -1)
            found |= bool(holds(grounding, index, times, traces).any())
            assert torch.equal(
                robustness(grounding, branch, times, traces) >= 0, holds(grounding, index, times, traces)
            )
        assert found == (exact(wanted.nnf(), signs)[0] >= 0), str(wanted)


# --- hit chains ---


def chained(hits, counts, length, low, high):
    """Whether some of the hits form a chain for windows [t + low, t + high], t < length, with so many of them."""
    reach = {hit: {1} for hit in hits if low <= hit <= high}
    for hit in hits:
        for before in hits:
            if 1 <= hit - before <= high - low + 1:
                reach.setdefault(hit, set()).update(n + 1 for n in reach.get(before, ()))
    return any(counts & found for hit, found in reach.items() if hit >= length - 1 + low)


@pytest.mark.parametrize(("b", "low", "high"), [(4, 0, 2), (5, 1, 3), (6, 0, 1), (3, 2, 3), (0, 1, 3)])
def test_chains_hold_exactly_where_so_many_hits_can_do(b, low, high):
    horizon, length = b + high, b + 1
    least = -(-length // (high - low + 1))
    wanted = always(eventually(A, low, high), 0, b)
    every = torch.tensor([[bits >> t & 1 for t in range(horizon + 1)] for bits in range(2 ** (horizon + 1))])
    margins = (2 * every - 1).float()[..., None]
    hits = [{t for t in range(horizon + 1) if row[t]} for row in every.tolist()]
    true = exact(wanted, margins.numpy()) >= 0
    for slack in (0, 1, None):
        grounding = ground(wanted, horizon, slack=slack)
        counts = {len(branch.variables) for branch in grounding.branches}
        assert min(counts) == least
        assert slack is None or max(counts) <= least + slack
        expected = np.array([chained(row, counts, length, low, high) for row in map(sorted, hits)])
        np.testing.assert_array_equal(best(grounding, margins.numpy()) >= 0, expected)
        if slack is None:
            np.testing.assert_array_equal(expected, true)


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("length", range(1, 10))
def test_most_hits_is_the_most_that_any_trace_needs(length, width):
    needed = set()
    for bits in range(2 ** (length + width - 1)):
        hits = [t for t in range(length + width - 1) if bits >> t & 1]
        fewest = [n for n in range(1, len(hits) + 1) if chained(hits, {n}, length, 0, width - 1)]
        needed |= set(fewest[:1])
    assert max(needed) == most_hits(length, width)
    assert min(needed) == -(-length // width)


def test_a_chain_follows_the_time_it_starts_from():
    grounding = ground(eventually(A & always(eventually(B, 0, 4), 0, 9), 0, 6), 30, slack=0)
    (branch,) = grounding.branches
    assert [(v.parent, v.low, v.high) for v in branch.variables] == [(None, 0, 6), (0, 0, 4), (1, 1, 5)]
    # Two hits cover windows that start at t0..t0+9 only where they lie at t0+4 and t0+9.
    assert branch.gaps[2][1] == 4 == -branch.gaps[1][2]
    assert branch.gaps[3][1] == 9 == -branch.gaps[1][3]


def test_unbounded_recurrence_ends_at_the_horizon():
    grounding = ground(always(eventually(A, 0, 4)), 11, slack=0)
    (branch,) = grounding.branches
    assert len(branch.variables) == 3
    assert branch.span(2) == (11, 11)
    assert branch.span(0) == (1, 4)
    with pytest.raises(GroundingError, match="bound the unbounded operators"):
        ground(always(eventually(A, 1, 4)), 11)


# --- what plans look like ---


def test_the_worked_example_of_tgpo():
    wanted = eventually(A, 0, 160) & eventually(B, 0, 160) & always(~C, 0, 200)
    grounding = ground(wanted, 200)
    (branch,) = grounding.branches
    assert grounding.targets == (StateFormula(A), StateFormula(B), StateFormula(~C))
    assert [(v.parent, v.low, v.high) for v in branch.variables] == [(None, 0, 160), (None, 0, 160)]
    assert branch.subgoals == (Subgoal(0, Point(0, 0)), Subgoal(1, Point(1, 0)))
    assert branch.invariants == (Invariant(2, Point(None, 0), Point(None, 200)),)
    assert branch.choices == ()


def test_reach_and_stay_reaches_what_it_keeps():
    (branch,) = ground(eventually(A & always(B, 2, 5), 0, 8), 20).branches
    assert branch.subgoals == (Subgoal(0, Point(0, 0)), Subgoal(1, Point(0, 2)))
    assert branch.invariants == (Invariant(1, Point(0, 2), Point(0, 5)),)


def test_until_keeps_its_left_side_before_the_witness():
    for inclusive, last in ((False, -1), (True, 0)):
        (branch,) = ground(until(A, B, 2, 6, inclusive=inclusive), 10).branches
        assert branch.subgoals == (Subgoal(0, Point(0, 0)),)
        assert [(i.start, i.end) for i in branch.invariants] == [(Point(None, 0), Point(0, last))]
        assert branch.span(0) == (2, 6)


def test_disjunctions_of_state_formulas_are_one_target_others_are_branches():
    grounding = ground(eventually(A | ~B | eventually(C, 1, 3) | always(B, 0, 2), 0, 4), 10)
    assert [branch.choices for branch in grounding.branches] == [("a | !b",), ("F[1,3] c",), ("G[0,2] b",)]
    assert str(grounding.targets[0]) == "a | !b"
    assert len(ground((eventually(A, 0, 2) | eventually(B, 0, 2)) & (A | eventually(C, 0, 2)), 5).branches) == 4


def test_state_formulas_at_one_step_are_one_subgoal_and_targets_are_unique():
    grounding = ground(eventually(A & always(B, 0, 2) & eventually(A & B, 1, 2), 0, 3) & always(B, 0, 1), 9)
    (branch,) = grounding.branches
    assert [str(grounding.targets[goal.target]) for goal in branch.subgoals] == ["a & b", "a & b"]
    assert len(grounding.targets) == 2


def test_operators_that_leave_no_choice_have_no_variable():
    (branch,) = ground(eventually(A & eventually(B, 2, 2), 3, 3), 10).branches
    assert branch.variables == ()
    assert [goal.time for goal in branch.subgoals] == [Point(None, 3), Point(None, 5)]
    (branch,) = ground(eventually(eventually(A, 1, 2), 3, 4), 10).branches
    assert [(v.low, v.high) for v in branch.variables] == [(4, 6)]


def test_constants_vanish():
    true, false = Constant(True), Constant(False)
    grounding = ground(until(true, A & true, 0, 3) & always(B | false, 0, 2), 5)
    assert list(map(str, grounding.targets)) == ["a", "b"]
    (branch,) = ground(until(false, A, 0, 3), 5).branches
    assert branch.span(0) == (0, 0)
    margins = torch.zeros(1, 6, 0)
    assert robustness(ground(eventually(true, 1, 3), 5), 0, torch.tensor([[2]]), margins).tolist() == [float("inf")]
    with pytest.raises(GroundingError, match="contradicts itself"):
        ground(eventually(false, 0, 3), 5)


# --- the horizon ---


def test_domains_are_cut_where_the_horizon_leaves_no_room():
    (branch,) = ground(eventually(A & eventually(always(B, 0, 2), 2, 9), 0, 8), 7).branches
    assert branch.span(0) == (0, 3)
    assert branch.span(1) == (2, 5)
    (branch,) = ground(eventually(A & eventually(B, 2, 2), 0, 8), 7).branches
    assert branch.span(0) == (0, 5)


def test_branches_that_cannot_fit_are_dropped_and_none_left_is_an_error():
    grounding = ground(eventually(A, 8, 9) | eventually(B, 2, 3), 5)
    assert [branch.name for branch in grounding.branches] == ["F[2,3] b"]
    with pytest.raises(GroundingError, match="raise the horizon to 9"):
        ground(eventually(A, 8, 9), 5)
    with pytest.raises(GroundingError, match="raise the horizon to 6"):
        ground(always(A, 0, 6), 5)
    with pytest.raises(GroundingError, match="bound the unbounded"):
        ground(always(always(A, 3), 0, 4), 6)
    assert len(ground(always(always(A, 3), 0, 3), 6).branches) == 1


# --- what is refused ---


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        (always(eventually(A & eventually(B, 0, 2), 0, 3), 0, 5), "F[0,3](a & F[0,2] b)"),
        (always(A >> eventually(B, 0, 2), 0, 9), "!a | F[0,2] b"),
        (until(until(A, B, 0, 2), C, 0, 4) & A, "a U[0,2] b"),
        (eventually(always(A | always(B, 0, 1), 0, 3), 0, 2), "a | G[0,1] b"),
        (always(eventually(always(A, 0, 1), 0, 2), 0, 4), "F[0,2] G[0,1] a"),
        (Release(A, eventually(B & eventually(C, 0, 1), 0, 2), Interval(0, 3)), "F[0,2](b & F[0,1] c)"),
    ],
)
def test_formulas_outside_the_fragment_are_named(wanted, part):
    with pytest.raises(GroundingError) as caught:
        ground(wanted, 30)
    assert str(caught.value.part) == part
    assert part in str(caught.value)
    assert str(wanted) in str(caught.value)
    assert "there can be" in str(caught.value)


def test_too_many_branches_are_counted():
    choice = eventually(A, 0, 2) | eventually(B, 0, 2) | eventually(C, 0, 2)
    six = And(tuple(Or((*choice.of[:2], eventually(C, 0, 3 + k))) for k in range(6)))
    with pytest.raises(GroundingError, match=r"at most 256 branches .* got 729"):
        ground(six, 10)
    assert len(ground(six, 10, max_branches=729).branches) == 729
    nine = And((six, *(Or((*choice.of[:2], eventually(C, 0, 9 + k))) for k in range(3))))
    with pytest.raises(GroundingError, match="got more than 5000"):
        ground(nine, 30)


def test_bad_arguments():
    with pytest.raises(TypeError, match="parse"):
        ground("F[0,3] a", 5)
    with pytest.raises(ValueError, match="horizon of at least 1"):
        ground(A, 0)
    with pytest.raises(ValueError, match="slack of at least 0"):
        ground(A, 5, slack=-1)
    grounding = ground(eventually(A & B, 0, 3), 5)
    with pytest.raises(ValueError, match=r"\(B, T \+ 1, P\)"):
        robustness(grounding, 0, torch.zeros(4, 1, dtype=torch.int64), torch.zeros(4, 5, 2))
    with pytest.raises(ValueError, match="a column each for a, b"):
        grounding.target_margins(torch.zeros(4, 3))
    with pytest.raises(KeyError, match="Unknown predicate 'a'"):
        StateFormula(A).margin(torch.zeros(4, 1), {"b": 0})


@pytest.mark.parametrize("horizon", [50, 200, 1000])
def test_the_templates_of_the_stl_tasks_are_in_the_fragment(horizon):
    templates = pytest.importorskip("cairngym.envs.stl.templates")
    assert len(templates.TEMPLATES) == 7
    for template in templates.TEMPLATES.values():
        grounding = ground(template.formula(horizon), horizon)
        assert 1 <= len(grounding.branches) <= 4, template.name
        assert grounding.predicates == template.formula(horizon).predicates


def test_the_examples_of_the_guide():
    guide = Path(__file__).parents[3] / "docs" / "grounding.md"
    results = doctest.testfile(str(guide), module_relative=False)
    assert results.attempted > 10
    assert results.failed == 0
