import pytest
import torch
from cases import SEEDS, cases, traces
from formulas import formulas
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import rtamt_text

from cairngym.envs.stl.formula import (
    Always,
    And,
    Eventually,
    Formula,
    Implies,
    Or,
    Predicate,
    Release,
    Until,
    WeakUntil,
    always,
    eventually,
    until,
)
from cairngym.envs.stl.robustness import robustness

A = Predicate("a")
B = Predicate("b")


@cases(350)
@given(formulas(2, constants=False, max_bound=6), st.integers(7, 13), SEEDS)
def test_equals_rtamt_at_every_step(formula, length, seed):
    """Its tail leaves missing steps out of windows, as `truncate`, and its until is the exclusive one.

    Traces are longer than each interval: rtamt 0.4.10 lengthens its input in place where an interval ends past it.
    """
    rtamt = pytest.importorskip("rtamt")
    specification = rtamt.StlDiscreteTimeSpecification()
    for name in ("a", "b", "c", "out"):
        specification.declare_var(name, "float")
    specification.spec = f"out = {rtamt_text(formula)}"
    specification.parse()
    margins = traces(seed, 6, length)
    truncated, defined = robustness(formula, margins, tail="truncate"), robustness(formula, margins)
    for i in range(6):
        signal = {name: margin[i].tolist() for name, margin in margins.items()}
        theirs = [float(value) for _, value in specification.evaluate({"time": list(range(length)), **signal})]
        assert truncated[i].tolist() == theirs, str(formula)
        known = ~defined[i].isnan()
        assert torch.equal(defined[i][known], truncated[i][known])


@pytest.mark.parametrize("formula", [eventually(A), always(A), until(A, B), always(eventually(A, 0, 3)), ~until(A, B)])
def test_operators_without_an_end_equal_rtamt(formula):
    rtamt = pytest.importorskip("rtamt")
    specification = rtamt.StlDiscreteTimeSpecification()
    for name in ("a", "b", "out"):
        specification.declare_var(name, "float")
    specification.spec = f"out = {rtamt_text(formula)}"
    specification.parse()
    margins = traces(0, 20, 15)
    found = robustness(formula, margins, tail="truncate")
    for i in range(20):
        signal = {name: margins[name][i].tolist() for name in "ab"}
        theirs = [float(value) for _, value in specification.evaluate({"time": list(range(15)), **signal})]
        assert found[i].tolist() == theirs


def stlcgpp_formula(formula: Formula):
    """The formula in stlcg++, whose until requires its left side at the witness step too."""
    import stlcgpp.formula as stl

    ours = [stlcgpp_formula(child) for child in formula.children]
    match formula:
        case Predicate(name):
            column = "abc".index(name)
            return stl.GreaterThan(stl.Predicate(name, lambda x: x[:, column]), 0.0)
        case And() | Or():
            kind = stl.And if isinstance(formula, And) else stl.Or
            joined = ours[0]
            for part in ours[1:]:
                joined = kind(joined, part)
            return joined
        case Eventually(_, interval) | Always(_, interval):
            kind = stl.Eventually if isinstance(formula, Eventually) else stl.Always
            return kind(ours[0], [interval.low, interval.high])
        case Until(_, _, interval, _):
            return stl.Until(*ours, [interval.low, interval.high])
        case Implies():
            return stl.Implies(*ours)
    return stl.Negation(ours[0])


@cases(60)
@given(formulas(2, constants=False), SEEDS)
def test_equals_stlcgpp_where_the_horizon_fits(formula, seed):
    pytest.importorskip("stlcgpp.formula")
    for part in formula.walk():
        assume(not isinstance(part, Release | WeakUntil) and (not isinstance(part, Until) or part.inclusive))
    margins = {name: margin.float() for name, margin in traces(seed, 3, 20).items()}
    found = robustness(formula, margins)
    known = ~found[0].isnan()
    assert known.any()
    for i in range(3):
        signal = torch.stack([margins[name][i] for name in "abc"], -1)
        theirs = stlcgpp_formula(formula).robustness_trace(signal)
        assert torch.equal(found[i][known], theirs.reshape(-1)[:20][known]), str(formula)
