import math

import torch
from cases import SEEDS, TAILS, cases, same, traces
from formulas import formulas
from hypothesis import given
from hypothesis import strategies as st

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
)
from cairngym.envs.stl.robustness import robustness

A = Predicate("a")


@cases(50)
@given(formulas(3, bounded=False), SEEDS)
def test_gradients_equal_finite_differences(formula, seed):
    margins = traces(seed, 1, 7, whole=False)
    for smooth in (None, 3.0):
        leaves = {name: margin.clone().requires_grad_() for name, margin in margins.items()}
        found = robustness(formula, leaves, smooth=smooth, tail="truncate")
        finite = found.isfinite()
        if not (finite.any() and found.requires_grad):
            continue
        weights = torch.linspace(0.5, 1.5, 7, dtype=torch.float64)
        (found * weights)[finite].sum().backward()
        for name, leaf in leaves.items():
            slope = torch.zeros(7, dtype=torch.float64)
            for step in range(7):
                ends = []
                for change in (1e-6, -1e-6):
                    moved = {key: margin.clone() for key, margin in margins.items()}
                    moved[name][0, step] += change
                    ends.append((robustness(formula, moved, smooth=smooth, tail="truncate") * weights)[finite].sum())
                slope[step] = (ends[0] - ends[1]) / 2e-6
            gradient = torch.zeros_like(slope) if leaf.grad is None else leaf.grad[0]
            torch.testing.assert_close(gradient, slope, atol=1e-6, rtol=1e-5)


@cases(60)
@given(formulas(3), SEEDS)
def test_values_do_not_depend_on_gradients_or_on_how_many_steps_are_asked_for(formula, seed):
    margins = traces(seed, 3, 12)
    for tail in TAILS:
        found = robustness(formula, margins, tail=tail)
        leaves = {name: margin.clone().requires_grad_() for name, margin in margins.items()}
        assert same(found, robustness(formula, leaves, tail=tail))
        for steps in (1, 2, 5):
            assert same(found[:, :steps], robustness(formula, margins, tail=tail, steps=steps))
            assert same(found[:, :steps], robustness(formula, leaves, tail=tail, steps=steps))


def test_a_gradient_reaches_one_sample_of_each_window():
    margin = torch.tensor([[1.0, 1.0, 1.0, 0.0]], requires_grad=True)
    robustness(eventually(A, 0, 2), {"a": margin})[:, 0].sum().backward()
    assert margin.grad is not None
    assert float(margin.grad.sum()) == 1.0
    assert float(margin.grad[0, 3]) == 0.0


def allowance(formula: Formula, length: int) -> float:
    """log of the number of operands, summed over nested operators."""
    inner = max((allowance(child, length) for child in formula.children), default=0.0)
    match formula:
        case And(of) | Or(of):
            return inner + math.log(len(of))
        case Implies():
            return inner + math.log(2)
        case Eventually(_, interval) | Always(_, interval):
            return inner + math.log(length if interval.high is None else interval.high - interval.low + 1)
        case Until() | Release() | WeakUntil():
            steps = length if formula.interval.high is None else formula.interval.high + 1
            return inner + math.log(2 if isinstance(formula, WeakUntil) else 1) + math.log(steps + 1)
    return inner


@cases(120)
@given(formulas(3, bounded=False), SEEDS, st.sampled_from([0.5, 5.0, 500.0]))
def test_smooth_values_lie_within_log_n_over_the_temperature(formula, seed, temperature):
    margins = traces(seed, 4, 9)
    exact, smooth = robustness(formula, margins), robustness(formula, margins, smooth=temperature)
    assert torch.equal(exact.isnan(), smooth.isnan())
    finite = exact.isfinite()
    assert torch.equal(exact[~finite & ~exact.isnan()], smooth[~finite & ~exact.isnan()])
    within = allowance(formula, 9) / temperature + 1e-9
    assert ((exact - smooth)[finite].abs() <= within).all(), str(formula)


def test_smooth_eventually_is_logsumexp_above_and_always_below():
    margins = traces(5, 4, 30, whole=False)
    windows = margins["a"].unfold(1, 7, 1)
    some = robustness(eventually(A, 2, 8), margins, smooth=4.0)[:, :22]
    every = robustness(always(A, 2, 8), margins, smooth=4.0)[:, :22]
    torch.testing.assert_close(some, (4.0 * windows).logsumexp(-1)[:, 2:] / 4.0)
    torch.testing.assert_close(every, -(-4.0 * windows).logsumexp(-1)[:, 2:] / 4.0)
    assert (some > windows.amax(-1)[:, 2:]).all()
    assert (every < windows.amin(-1)[:, 2:]).all()
