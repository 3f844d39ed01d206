"""Formulas: what they read, how they negate, combine and print, and what they refuse."""

import pickle

import pytest
from formulas import formulas
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import Meaning, every_trace

from cairngym.envs.stl.formula import (
    Always,
    And,
    Constant,
    Eventually,
    Implies,
    Interval,
    Not,
    Or,
    Predicate,
    Release,
    Until,
    WeakUntil,
    always,
    conjunction,
    disjunction,
    eventually,
    release,
    until,
    weak_until,
)
from cairngym.envs.stl.syntax import KEYWORDS

A, B, C = map(Predicate, "abc")


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (eventually(A & eventually(always(B, 0, 2), 0, 4), 0, 8), "F[0,8](a & F[0,4] G[0,2] b)"),
        (always(~C, 0, 20) & A, "G[0,20] !c & a"),
        (Not(Not(A)), "!!a"),
        (~(A & B), "!(a & b)"),
        (~eventually(A, 0, 3), "!F[0,3] a"),
        (always(A), "G a"),
        (always(A | B, 3), "G[3,inf)(a | b)"),
        ((A | B) & C, "(a | b) & c"),
        (A & B | C, "a & b | c"),
        (A >> (B >> C), "a -> b -> c"),
        ((A >> B) >> C, "(a -> b) -> c"),
        (until(~A, B, 0, 5), "!a U[0,5] b"),
        (until(until(A, B), C, inclusive=True), "(a U b) Ui c"),
        (until(A & B, C, 2) & A, "(a & b) U[2,inf) c & a"),
        (always(release(A, B, 0, 1)), "G(a R[0,1] b)"),
        (weak_until(Constant(True), A, 1, 2, inclusive=True), "true Wi[1,2] a"),
        (release(A, Constant(False), inclusive=True), "a Ri false"),
    ],
)  # fmt: skip
def test_text(formula, text):
    assert str(formula) == text


@pytest.mark.parametrize(
    ("formula", "horizon"),
    [
        (A, 0),
        (Constant(False), 0),
        (~eventually(A, 2, 5), 5),
        (eventually(always(A, 1, 2), 0, 4) & B, 6),
        (eventually(A, 0, 3) >> always(B, 0, 7), 7),
        (until(A, B, 2, 5), 5),
        (until(eventually(A, 0, 3), B, 2, 5), 7),  # a up to step 4 + 3
        (until(eventually(A, 0, 3), B, 2, 5, inclusive=True), 8),
        (until(A, eventually(B, 0, 3), 2, 5), 8),
        (until(eventually(A), B, 0, 0), 0),  # a is never read
        (until(eventually(A, 0, 9), B, 0, 0, inclusive=True), 9),
        (release(eventually(A, 0, 3), B, 2, 5), 7),
        (weak_until(eventually(A, 0, 3), B, 2, 5), 8),
        (eventually(A), None),
        (always(eventually(A), 0, 3) | B, None),
        (until(A, B), None),
    ],
)
def test_horizon(formula, horizon):
    assert formula.horizon == horizon


@settings(max_examples=200, deadline=None)
@given(formulas(3, max_bound=4))
def test_bounded_formulas_are_defined_up_to_their_horizon_before_the_end(formula):
    length = 60
    truth = {name: values.repeat(length, axis=1) for name, values in every_trace(("a", "b", "c"), 1).items()}
    defined = Meaning(truth).defined(formula)
    assert defined == length - formula.horizon
    assert formula.nnf().horizon == formula.horizon


@settings(max_examples=200, deadline=None)
@given(formulas(3, ("a", "b"), max_bound=2, bounded=False), st.booleans(), st.booleans())
def test_negation_normal_form_means_the_same_and_negates_predicates_only(formula, negate, endless):
    normal = formula.nnf(negate)
    assert not any(isinstance(part, Implies | WeakUntil) for part in normal.walk())
    assert all(isinstance(part.of, Predicate) for part in normal.walk() if isinstance(part, Not))
    assert normal.nnf() == normal
    assert formula.nnf(not negate).nnf(True) == normal
    meaning = Meaning(every_trace(("a", "b"), 5), endless)
    for step in range(max(0, meaning.defined(formula))):
        assert (meaning.holds(normal, step) == (meaning.holds(formula, step) ^ negate)).all()


def test_negation_normal_forms_by_hand():
    assert str(Not(until(A, B, 1, 4)).nnf()) == "!a R[1,4] !b"
    assert str(Not(release(A, ~B, inclusive=True)).nnf()) == "!a Ui b"
    assert str(weak_until(A, B, 1, 4).nnf()) == "a U[1,4] b | G[0,4] a"
    assert str(Not(weak_until(A, B, 1, 4)).nnf()) == "!a R[1,4] !b & F[0,4] !a"
    assert str(Not(A >> eventually(B, 0, 3)).nnf()) == "a & G[0,3] !b"
    assert str(Not(Constant(True) & (A & ~B)).nnf()) == "false | !a | b"


def test_conjunctions_and_disjunctions_are_flat():
    assert (A & B) & C == A & (B & C) == And((A, B, C)) == conjunction([A, B, C])
    assert (A | B) | C == Or((A, B | C)) == disjunction([A, B, C])
    assert And((A, B | C)).of == (A, B | C)
    assert conjunction([A]) == A == disjunction([A])
    assert (conjunction([]), disjunction([])) == (Constant(True), Constant(False))


@pytest.mark.parametrize("kind", [And, Or])
@pytest.mark.parametrize("parts", [(), (A,)])
def test_joining_fewer_than_two_is_refused(kind, parts):
    with pytest.raises(ValueError, match=f"two formulas or more in {kind.__name__}, got {len(parts)}"):
        kind(parts)


def test_predicates_and_parts_in_order():
    formula = until(B, A & ~B, 0, 3) >> eventually(C)
    assert formula.predicates == ("b", "a", "c")
    assert list(formula.walk())[:3] == [formula, formula.left, B]
    assert Constant(True).predicates == ()


@settings(max_examples=50, deadline=None)
@given(formulas(3, bounded=False))
def test_formulas_are_values(formula):
    copy = pickle.loads(pickle.dumps(formula))
    assert copy == formula
    assert hash(copy) == hash(formula)
    assert {formula: 1}[copy] == 1


@pytest.mark.parametrize(
    "build", [Not, Eventually, Always, lambda part: A & part, lambda part: Until(part, A), lambda part: A >> part]
)
@pytest.mark.parametrize("part", ["a", 3, None])
def test_parts_that_are_no_formulas(build, part):
    with pytest.raises(TypeError, match="Expected formulas within"):
        build(part)


@pytest.mark.parametrize("build", [lambda: A and B, lambda: not A, lambda: bool(until(A, B))])
def test_formulas_have_no_truth_value(build):
    with pytest.raises(TypeError, match="combine formulas with &"):
        build()


@pytest.mark.parametrize("name", ["", "2a", "a b", "a.b", "a-b", "é", "a\n", 3, *KEYWORDS])
def test_names_that_predicates_cannot_have(name):
    with pytest.raises(ValueError, match="Expected a predicate's name"):
        Predicate(name)


@pytest.mark.parametrize("kind", [Eventually, lambda part, interval: Release(part, part, interval)])
def test_intervals_given_as_something_else(kind):
    with pytest.raises(TypeError, match="Expected an Interval"):
        kind(A, (0, 3))


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ((3, 1), ValueError, r"low <= high, got \[3,1\]; swap"),
        ((-1, 1), ValueError, "begins at step 0 or later"),
        ((0, 10**9 + 1), ValueError, "up to 1000000000 steps"),
        ((0.5, 1), TypeError, "whole numbers of steps, got 0.5"),
        ((0, True), TypeError, "got True"),
        ((None, 1), TypeError, "got None"),
    ],
)
def test_bad_intervals(bounds, error, message):
    with pytest.raises(error, match=message):
        Interval(*bounds)


@pytest.mark.parametrize(
    ("low", "high", "dt", "steps"),
    [
        (0.0, 8.0, 0.5, (0, 16)),
        (0.1, 0.3, 0.1, (1, 3)),  # 0.3 / 0.1 is just below 3
        (0.25, 0.9, 0.5, (1, 1)),
        (0.6, None, 0.3, (2, None)),
        (0.0, float("inf"), 0.3, (0, None)),
        (0, 1000, 0.001, (0, 1_000_000)),
    ],
)
def test_intervals_in_seconds(low, high, dt, steps):
    interval = Interval.seconds(low, high, dt)
    assert (interval.low, interval.high) == steps
    assert interval.bounded == (steps[1] is not None)


@pytest.mark.parametrize(
    ("low", "high", "dt", "message"),
    [
        (0.0, 1.0, 0.0, "positive step length"),
        (0.0, 1.0, float("nan"), "positive step length"),
        (0.0, 1.0, "1", "positive step length"),
        (2.0, 1.0, 0.1, "low <= high"),
        (-1.0, 1.0, 0.1, "0 <= low"),
        (float("nan"), 1.0, 0.1, "0 <= low"),
        (float("inf"), None, 0.1, "0 <= low"),
        (0.0, 1.0, 1e-12, "up to 1000000000 steps of 1e-12 s"),
        (0.6, 0.9, 0.5, r"a step of 0.5 s within \[0.6,0.9\] s, got none"),
    ],
)
def test_bad_intervals_in_seconds(low, high, dt, message):
    with pytest.raises(ValueError, match=message):
        Interval.seconds(low, high, dt)


def test_robustness_is_that_of_the_module():
    torch = pytest.importorskip("torch")
    from cairngym.envs.stl.robustness import robustness

    margins = {name: torch.randn(2, 9, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("ab")}
    formula = until(A, B, 1, 3)
    for tail in ("defined", "weak", "strong", "truncate"):
        expected = robustness(formula, margins, tail=tail, smooth=5.0)
        assert torch.equal(formula.robustness(margins, tail, 5.0).nan_to_num(7.0), expected.nan_to_num(7.0))
    by_hand = torch.minimum(margins["b"][:, 1], margins["a"][:, 0])
    assert (formula.robustness(margins)[:, 0] >= by_hand).all()
