"""Refused formulas hold on no trace, against search over every trace; bounds contain every robustness."""

import math

import numpy as np
import pytest
from formulas import formulas
from hypothesis import example, given, settings
from hypothesis import strategies as st
from traces import Meaning, every_trace

from cairngym.envs.stl.formula import Not, Predicate
from cairngym.envs.stl.parser import parse
from cairngym.envs.stl.satisfiability import UnsatisfiableError, bounds, check_satisfiable, required_steps

NAMES = ("a", "b")
FREE, ABOVE, BELOW = (-1.0, 1.0), (0.5, 1.0), (-1.0, -0.5)
RANGES = st.fixed_dictionaries({name: st.sampled_from([FREE, FREE, ABOVE, BELOW]) for name in NAMES})


def refused(text, **options):
    with pytest.raises(UnsatisfiableError) as caught:
        check_satisfiable(parse(text), **options)
    return caught.value


def within(truth, ranges):
    """The traces that the ranges of margins allow."""
    allowed = np.ones(len(truth["a"]), bool)
    for name, range_ in ranges.items():
        if range_ == ABOVE:
            allowed &= truth[name].all(axis=1)
        elif range_ == BELOW:
            allowed &= ~truth[name].any(axis=1)
    return {name: values[allowed] for name, values in truth.items()}


def accepted(formula, ranges, horizon=None):
    try:
        check_satisfiable(formula, ranges, horizon)
    except UnsatisfiableError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(formulas(3, NAMES, max_bound=2, bounded=False), RANGES, st.integers(0, 4))
@example(parse("(F[0,3] a) U[0,0] b"), {"a": FREE, "b": FREE}, 1)
@example(parse("G(a & F[0,2] b) & F[3,inf) !a"), {"a": FREE, "b": FREE}, 4)
@example(parse("(G[0,3] a) R b"), {"a": FREE, "b": FREE}, 3)
def test_no_trace_satisfies_what_is_refused_within_a_horizon(formula, ranges, horizon):
    meaning = Meaning(within(every_trace(NAMES, horizon + 1), ranges))
    decided = meaning.defined(formula) > 0
    assert decided == (required_steps(formula) <= horizon)
    satisfied = decided and bool(meaning.holds(formula, 0).any())
    assert accepted(formula, ranges, horizon) or not satisfied


@settings(max_examples=400, deadline=None)
@given(formulas(3, NAMES, max_bound=2, bounded=False), RANGES)
@example(parse("G F a & G F !a"), {"a": FREE, "b": FREE})
@example(parse("F G !a & F[0,9] a"), {"a": FREE, "b": FREE})
@example(parse("a Ui[2,inf) b & G[0,4] !b"), {"a": FREE, "b": FREE})
def test_no_endless_trace_satisfies_what_is_refused(formula, ranges):
    meaning = Meaning(within(every_trace(NAMES, 5), ranges), endless=True)
    assert accepted(formula, ranges) or not meaning.holds(formula, 0).any()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["a", "!a", "b", "!b"])), min_size=2))
def test_conjunctions_of_always_are_decided(windows):
    formula = parse(" & ".join(f"G[{low},{low + length}] {literal}" for low, length, literal in windows))
    satisfiable = bool(Meaning(every_trace(NAMES, 6)).holds(formula, 0).any())
    assert accepted(formula, {}, 5) == satisfiable == accepted(formula, {})


@pytest.mark.parametrize(
    ("text", "part", "reason"),
    [
        ("a & !a", "a", "!a must hold at step 0"),
        ("G[0,5] a & F[2,3] !a", "F[2,3] !a", "a must hold at steps 0 to 5"),
        ("b & (G a & F[2,8] !a)", "F[2,8] !a", "a must hold at every step"),
        ("G[2,inf) !a & a U[5,9] b", "G[2,inf) !a", "a must hold at steps 0 to 4"),
        ("G !b & F G[0,9](a & b)", "F G[0,9](a & b)", "!b must hold at every step"),
        ("G[3,inf) !b & F[4,inf) b", "F[4,inf) b", "!b must hold at every step from 3 on"),
        ("a & F false", "F false", "it is false whatever happens"),
        ("!(a -> a)", "!(a -> a)", "!a must hold at step 0"),
        ("(F[0,4] a | b) & !b & G[0,4] !a", "F[0,4] a | b", "!a must hold at steps 0 to 4, and !b must hold at step 0"),
        ("(a R[0,9] b) & G[0,9] !a & F[7,8] !b", "F[7,8] !b", "b must hold at steps 0 to 9"),
        ("F[0,1] a & !a & (a -> b) & (F[1,1] a -> b) & !b", None, "must hold at step"),
    ],
)
def test_the_part_at_fault_and_what_rules_it_out_are_named(text, part, reason):
    error = refused(text)
    assert part is None or str(error.part) == part
    assert f"got '{error.part}', which cannot: " in str(error)
    assert reason in str(error)


def test_an_only_way_left_is_followed():
    assert str(refused("(a | b) & !a & F[0,0] !b").part) in ("F[0,0] !b", "a | b")
    check_satisfiable(parse("(a | b) & !a & F[0,1] !b"))
    assert str(refused("F[0,9] a & G[0,3] !a & G[5,9] !a & F[4,4] !a").part) in ("F[0,9] a", "F[4,4] !a")


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("F[0,5] a", {"a": (-2.0, -0.1)}),
        ("a U b", {"b": (-2.0, -0.1)}),
        ("b & G !a", {"a": (0.1, 3.0)}),
        ("a U[2,4] b", {"a": (-1.0, -0.5)}),
    ],
)
def test_ranges_of_margins_rule_out(text, ranges):
    name, (low, high) = next(iter(ranges.items()))
    assert f"the margin of {name} lies within [{low}, {high}]" in str(refused(text, ranges=ranges))
    check_satisfiable(parse(text), dict.fromkeys(ranges, (-1.0, 1.0)))


def test_a_margin_of_zero_is_enough():
    check_satisfiable(parse("F a & F !b"), {"a": (-1.0, 0.0), "b": (0.0, 1.0)})


def test_a_formula_beyond_the_horizon_names_the_part():
    error = refused("F[0,5] a & (b & G[0,8] F[0,4] a)", horizon=10)
    assert str(error.part) == "G[0,8] F[0,4] a"
    assert "within a horizon of 10 steps" in str(error)
    assert "needs 12" in str(error)
    check_satisfiable(parse("F[0,5] a & (b & G[0,8] F[0,4] a)"), horizon=12)
    assert str(refused("a & F[20,inf) a", horizon=19).part) == "F[20,inf) a"
    check_satisfiable(parse("G F[0,5] a"), horizon=5)


def test_windows_of_any_length_are_cheap():
    assert str(refused("G[0,1000000000] a & F[5,4000] !a").part) == "F[5,4000] !a"
    assert str(refused("G a & F[5,1000000000] !a").part) == "F[5,1000000000] !a"
    check_satisfiable(parse("G[0,900000000] a & F[5,900000001] !a"))
    check_satisfiable(parse("G[0,900] a & F[5,901] !a"))


@pytest.mark.parametrize(("horizon", "ranges"), [(-1, {}), (2.5, {}), (True, {}), (9, {"a": (1.0, 0.0)})])
def test_invalid_options(horizon, ranges):
    with pytest.raises(ValueError, match=r"Expected a (horizon|range)"):
        check_satisfiable(parse("a"), ranges, horizon)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", (-3.0, 1.0)),
        ("!a", (-1.0, 3.0)),
        ("a & b", (-3.0, 1.0)),
        ("a | b", (-2.0, 4.0)),
        ("a -> b", (-1.0, 4.0)),
        ("F[0,5] a & G !b", (-4.0, 1.0)),
        ("a U b", (-2.0, 4.0)),
        ("a Ui b", (-3.0, 1.0)),
        ("a U[1,4] b", (-3.0, 1.0)),
        ("a R b", (-2.0, 4.0)),
        ("b R[2,3] a", (-2.0, 4.0)),
        ("a W b", (-2.0, 4.0)),
        ("c | a", (-3.0, math.inf)),
        ("a & false", (-math.inf, -math.inf)),
    ],
)
def test_bounds_by_hand(text, expected):
    assert bounds(parse(text), {"a": (-3.0, 1.0), "b": (-2.0, 4.0)}) == expected


def test_bounds_reject_empty_ranges():
    with pytest.raises(ValueError, match=r"range \(low, high\) of margins of 'a'"):
        bounds(parse("a"), {"a": (math.nan, 1.0)})


@settings(max_examples=200, deadline=None)
@given(formulas(3, NAMES, max_bound=2, bounded=False), RANGES)
def test_bounds_agree_with_negation_and_with_truth(formula, ranges):
    low, high = bounds(formula, ranges)
    assert bounds(Not(formula), ranges) == (-high, -low)
    holds = Meaning(within(every_trace(NAMES, 5), ranges), endless=True).holds(formula, 0)
    if low > 0:
        assert holds.all()
    if high < 0:
        assert not holds.any()


def test_bounds_contain_every_robustness():
    torch = pytest.importorskip("torch")
    robustness = pytest.importorskip("cairngym.envs.stl.robustness").robustness
    draws = torch.rand((2, 200, 30), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    margins = {"a": -3 + 4 * draws[0], "b": -2 + 6 * draws[1]}
    for text in ("a U[0,3] b", "a Ui[1,5] !b", "b R[2,4] a", "(F[0,3] a) W[0,9] G[0,2] b", "a -> F[1,2](a & b)"):
        low, high = bounds(parse(text), {"a": (-3.0, 1.0), "b": (-2.0, 4.0)})
        values = robustness(parse(text), margins)[:, 0]
        assert low <= float(values.min()) < float(values.max()) <= high


def test_predicates_that_occur_once_attain_the_bounds():
    torch = pytest.importorskip("torch")
    robustness = pytest.importorskip("cairngym.envs.stl.robustness").robustness
    formula = parse("(F[0,3] a) U[1,4] b | G[2,3] !c")
    ranges = {"a": (-3.0, 1.0), "b": (-2.0, 0.5), "c": (-0.25, 4.0)}
    worst = {"a": -3.0, "b": -2.0, "c": 4.0}
    best = {"a": 1.0, "b": 0.5, "c": -0.25}
    for index, values in enumerate((worst, best)):
        margins = {name: torch.full((1, 12), value, dtype=torch.float64) for name, value in values.items()}
        assert float(robustness(formula, margins)[0, 0]) == bounds(formula, ranges)[index]


def test_required_steps():
    texts = {"a": 0, "F[3,inf) a": 3, "F[0,4] G[1,2] a": 6, "a U[0,4] b": 4, "(F[0,3] a) U[0,4] b": 6,
             "(F[0,3] a) Ui[0,4] b": 7, "(F[0,3] a) U[0,0] b": 0, "(F[0,3] a) U b": 0, "a W[2,inf) b": 2}  # fmt: skip
    assert {text: required_steps(parse(text)) for text in texts} == texts
    assert required_steps(Not(Predicate("a"))) == 0
