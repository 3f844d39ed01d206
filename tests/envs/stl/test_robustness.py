import math

import pytest
import torch
from cases import SEEDS, TAILS, cases, same, traces
from formulas import formulas
from hypothesis import given
from hypothesis import strategies as st
from oracles import robustness_at

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.stl.formula import Constant, Interval, Predicate, Release, WeakUntil, always, eventually, until
from cairngym.envs.stl.robustness import robustness, satisfied

A = Predicate("a")
B = Predicate("b")
C = Predicate("c")


@cases(900)
@given(formulas(3, bounded=False), st.integers(1, 12), SEEDS, st.sampled_from(TAILS))
def test_equals_brute_force_under_every_tail(formula, length, seed, tail):
    margins = traces(seed, 6, length)
    found = robustness(formula, margins, tail=tail)
    for i in range(6):
        trace = {name: margin[i].tolist() for name, margin in margins.items()}
        want = [robustness_at(formula, trace, step, tail) for step in range(length)]
        assert same(found[i], torch.tensor(want, dtype=torch.float64)), str(formula)


@pytest.mark.parametrize(
    ("formula", "want"),
    [
        (eventually(A, 1, 2), [3.0, 3.0, math.nan, math.nan]),
        (always(A, 0, 1), [-1.0, -1.0, 2.0, math.nan]),
        (eventually(A), [3.0, 3.0, 3.0, 2.0]),
        (always(A, 2), [2.0, 2.0, math.nan, math.nan]),
        (until(A, B, 0, 2), [1.0, 4.0, math.nan, math.nan]),
        (until(A, B, 0, 2, inclusive=True), [-1.0, -1.0, math.nan, math.nan]),
        (A >> B, [-1.0, 4.0, -2.0, -2.0]),
        (WeakUntil(A, B, Interval(0, 1)), [1.0, 4.0, 2.0, math.nan]),
        (Constant(True) & A, [1.0, -1.0, 3.0, 2.0]),
        (Constant(False), [-math.inf] * 4),
    ],
)
def test_values_by_hand(formula, want):
    margins = {"a": torch.tensor([[1.0, -1.0, 3.0, 2.0]]), "b": torch.tensor([[-1.0, 4.0, -2.0, -3.0]])}
    assert same(robustness(formula, margins)[0], torch.tensor(want))


def test_a_window_past_the_end_by_tail():
    margins = {"a": torch.tensor([[1.0, -2.0, 3.0]])}
    want = {
        "defined": ([1.0, 3.0, math.nan], [-2.0, -2.0, math.nan]),
        "weak": ([1.0, 3.0, math.inf], [-2.0, -2.0, 3.0]),
        "strong": ([1.0, 3.0, 3.0], [-2.0, -2.0, -math.inf]),
        "truncate": ([1.0, 3.0, 3.0], [-2.0, -2.0, 3.0]),
    }
    for tail, (some, every) in want.items():
        assert same(robustness(eventually(A, 0, 1), margins, tail=tail)[0], torch.tensor(some))
        assert same(robustness(always(A, 0, 1), margins, tail=tail)[0], torch.tensor(every))
    assert robustness(eventually(A, 5, 9), margins, tail="truncate")[0].tolist() == [-math.inf] * 3
    assert robustness(always(A, 5), margins, tail="truncate")[0].tolist() == [math.inf] * 3
    assert robustness(until(A, A, 5, 6), margins, tail="truncate")[0].tolist() == [-math.inf] * 3
    assert robustness(Release(A, A, Interval(5, 6)), margins, tail="truncate")[0].tolist() == [math.inf] * 3
    assert robustness(eventually(A, 5, 9), margins).isnan().all()
    assert robustness(eventually(A), margins, tail="weak")[0].tolist() == [math.inf] * 3
    assert robustness(~eventually(A), margins, tail="strong")[0].tolist() == [-math.inf] * 3


@cases(120)
@given(formulas(3, bounded=False), st.integers(1, 8), SEEDS)
def test_weak_and_strong_contain_every_continuation(formula, length, seed):
    margins = traces(seed, 4, length + 8)
    known = {name: margin[:, :length] for name, margin in margins.items()}
    whole = robustness(formula, margins)[:, :length]
    high, low = robustness(formula, known, tail="weak"), robustness(formula, known, tail="strong")
    assert (low <= high).all()
    bounded = ~whole.isnan()
    if formula.horizon is not None:
        assert (low[bounded] <= whole[bounded]).all()
        assert (whole[bounded] <= high[bounded]).all()


@cases(120)
@given(formulas(3, bounded=False), st.integers(1, 12), SEEDS)
def test_negation_normal_form_changes_nothing(formula, length, seed):
    margins = traces(seed, 3, length)
    for tail, opposite in zip(TAILS, ("defined", "strong", "weak", "truncate"), strict=True):
        found = robustness(formula, margins, tail=tail)
        assert same(found, robustness(formula.nnf(), margins, tail=tail)), str(formula)
        assert same(-found, robustness(formula.nnf(negate=True), margins, tail=opposite)), str(formula)


@cases(120)
@given(formulas(3, bounded=False), st.integers(2, 12), SEEDS)
def test_a_later_trace_has_later_values(formula, length, seed):
    margins = traces(seed, 3, length)
    later = {name: margin[:, 1:] for name, margin in margins.items()}
    for tail in TAILS:
        assert same(robustness(formula, margins, tail=tail)[:, 1:], robustness(formula, later, tail=tail))


@cases(120)
@given(formulas(3, bounded=False), st.integers(1, 12), SEEDS)
def test_the_sign_is_the_truth_and_holds_within_the_robustness(formula, length, seed):
    margins = traces(seed, 4, length, whole=False)
    found = robustness(formula, margins)
    truth = robustness(formula, {name: torch.where(margin >= 0, 1.0, -1.0) for name, margin in margins.items()})
    known = ~found.isnan()
    assert torch.equal(known, ~truth.isnan())
    assert torch.equal(found[known] > 0, truth[known] > 0)
    rng = torch.Generator().manual_seed(seed)
    for i in range(4):
        least = found[i][known[i]].abs().nan_to_num(posinf=1.0)
        if not least.numel():
            continue
        noise = {name: 2.0 * torch.rand(length, generator=rng, dtype=torch.float64) - 1.0 for name in margins}
        for size in (float(least.min()), float(least.max())):
            moved = {name: (margins[name][i] + 0.999 * size * noise[name])[None] for name in margins}
            again = robustness(formula, moved)[0][known[i]]
            sure = least >= size
            assert torch.equal(again[sure] > 0, found[i][known[i]][sure] > 0)


def test_float32_and_long_traces():
    rng = torch.Generator().manual_seed(0)
    margin = torch.randn(3, 1000, generator=rng)
    found = robustness(eventually(always(A, 0, 36), 100, 600), {"a": margin})
    inner = margin.unfold(1, 37, 1).amin(-1)
    want = inner.unfold(1, 501, 1).amax(-1)[:, 100:]
    assert found.dtype == torch.float32
    assert torch.equal(found[:, : want.shape[1]], want)
    assert found[:, want.shape[1] :].isnan().all()


def test_equal_subformulas_are_evaluated_once(monkeypatch):
    from cairngym.envs.stl import evaluation

    calls = []
    monkeypatch.setattr(evaluation, "window", lambda *a: calls.append(a) or window(*a))
    from cairngym.envs.stl.windows import window

    shared = eventually(A, 0, 3)
    twin = eventually(Predicate("a"), 0, 3)
    robustness((shared & B) | always(twin, 0, 2) | ~twin, {"a": torch.rand(1, 9), "b": torch.rand(1, 9)})
    assert len(calls) == 2


def test_satisfied_is_zero_or_more_at_the_first_step():
    margins = {"a": torch.tensor([[-1.0, 0.0, -1.0], [-1.0, -0.1, 5.0]], requires_grad=True)}
    found = satisfied(eventually(A, 0, 1), margins)
    assert found.tolist() == [True, False]
    assert not found.requires_grad
    assert satisfied(eventually(A), margins).tolist() == [True, True]
    with pytest.raises(ValueError, match=r"at least 4 samples for 'F\[0,3\] a'.*got 3"):
        satisfied(eventually(A, 0, 3), margins)
    with pytest.raises(ValueError, match="more samples"):
        satisfied(eventually(A, 5), margins)


def test_bad_margins_are_explained():
    good = torch.zeros(2, 5)
    f = A & Predicate("reach_b")
    with pytest.raises(UnknownNameError, match=r"Unknown predicate 'reach_b'\. Did you mean 'reach_c'"):
        robustness(f, {"a": good, "reach_c": good})
    with pytest.raises(ValueError, match=r"one shape.*'a' has \(\(2, 5\).*'reach_b' \(\(2, 4\)"):
        robustness(f, {"a": good, "reach_b": good[:, :4]})
    with pytest.raises(ValueError, match="float64"):
        robustness(f, {"a": good, "reach_b": good.double()})
    with pytest.raises(ValueError, match=r"of shape \(B, T\).*got \(5,\).*margin\[None\]"):
        robustness(A, {"a": good[0]})
    with pytest.raises(ValueError, match="T >= 1"):
        robustness(A, {"a": good[:, :0]})
    with pytest.raises(TypeError, match=r"float32 or float64 tensor, got torch\.int64"):
        robustness(A, {"a": good.long()})
    with pytest.raises(TypeError, match="got list"):
        robustness(A, {"a": [[1.0]]})
    bad = good.clone()
    bad[1, 3] = math.nan
    with pytest.raises(ValueError, match="NaN in 'a' at trace 1, step 3"):
        robustness(A, {"a": bad})
    infinite = torch.tensor([[math.inf, -math.inf, 1.0]])
    assert robustness(eventually(A, 0, 1), {"a": infinite})[0, :2].tolist() == [math.inf, 1.0]
    with pytest.raises(ValueError, match="at least one margin"):
        robustness(Constant(True), {})


def test_bad_options_are_explained():
    margins = {"a": torch.zeros(1, 3)}
    with pytest.raises(ValueError, match="tail to be one of defined, weak, strong, truncate, got 'open'"):
        robustness(A, margins, tail="open")
    with pytest.raises(ValueError, match="positive temperature"):
        robustness(A, margins, smooth=0.0)
    for steps in (0, 4):
        with pytest.raises(ValueError, match=r"steps in \[1, 3\]"):
            robustness(A, margins, steps=steps)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("tail", TAILS)
def test_cuda_equals_the_cpu(tail):
    formula = always(eventually(A & until(B, C, 1, 30), 0, 50), 0, 40) | until(A, B)
    margins = traces(0, 64, 300)
    there = {name: margin.cuda() for name, margin in margins.items()}
    assert same(robustness(formula, margins, tail=tail), robustness(formula, there, tail=tail).cpu())
