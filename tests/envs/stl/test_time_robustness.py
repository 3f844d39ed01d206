import math

import pytest
import torch
from formulas import formulas
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import robustness_at, runs_at

from cairngym.envs.stl.formula import Constant, Predicate, eventually
from cairngym.envs.stl.robustness import robustness
from cairngym.envs.stl.time_robustness import time_robustness

A = Predicate("a")
DIRECTIONS = ("right", "left", "both")
SEEDS = st.integers(0, 2**32)


def traces(seed: int, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Random margins whose signs stay for a few samples."""
    rng = torch.Generator().manual_seed(seed)
    steps = torch.randn(3, batch, length, generator=rng, dtype=torch.float64)
    return dict(zip("abc", steps.cumsum(-1), strict=True))


def test_runs_by_hand():
    margins = {"a": torch.tensor([[0.0, 2.0, -1.0, -1.0, 3.0]])}
    want = {"right": [2, 1, -2, -1, 1], "left": [1, 2, -1, -2, 1], "both": [1, 1, -1, -1, 1]}
    for direction, steps in want.items():
        assert time_robustness(A, margins, direction)[0].tolist() == steps
        assert time_robustness(~A, margins, direction)[0].tolist() == [-step for step in steps]


def test_the_default_reads_later_samples_and_carries_no_gradient():
    margins = {"a": torch.tensor([[1.0, 1.0, -1.0]], requires_grad=True)}
    found = time_robustness(eventually(A, 0, 1), margins)
    assert found[0, :2].tolist() == [2.0, 1.0]
    assert found[0, 2].isnan()
    assert not found.requires_grad
    assert time_robustness(eventually(A, 0, 1), margins, tail="weak")[0].tolist() == [2.0, 1.0, math.inf]
    assert time_robustness(Constant(False), margins)[0].tolist() == [-math.inf] * 3


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(formulas(2, bounded=False), st.integers(1, 10), SEEDS)
def test_equals_brute_force(formula, length, seed):
    margins = traces(seed, 3, length)
    for direction in DIRECTIONS:
        found = time_robustness(formula, margins, direction)
        for i in range(3):
            rows = {name: margin[i].tolist() for name, margin in margins.items()}
            runs = {name: [runs_at(row, step, direction) for step in range(length)] for name, row in rows.items()}
            want = [robustness_at(formula, runs, step) for step in range(length)]
            known = ~found[i].isnan()
            assert known.tolist() == [not math.isnan(x) for x in want]
            assert found[i][known].tolist() == [x for x in want if not math.isnan(x)]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(formulas(3, constants=False), SEEDS)
def test_shifting_predicates_by_less_keeps_the_truth(formula, seed):
    """Each predicate is shifted by itself; samples that enter from outside the trace are random."""
    length, around = 12, 12
    long = traces(seed, 4, length + 2 * around)
    inside = {name: margin[:, around : around + length] for name, margin in long.items()}
    truth = robustness(formula, inside) >= 0
    rng = torch.Generator().manual_seed(seed)
    for direction, (least, most) in {"right": (0, 1), "left": (-1, 0), "both": (-1, 1)}.items():
        found = time_robustness(formula, inside, direction)
        known = ~found.isnan()
        assert torch.equal((found > 0)[known], truth[known])
        assert (found != 0).all()
        for size in range(1, 5):
            moved = {}
            for name, margin in long.items():
                shift = int(torch.randint(least * size, most * size + 1, (), generator=rng))
                moved[name] = margin[:, around + shift : around + shift + length]
            safe = known & (found.abs() > size)
            again = robustness(formula, moved) >= 0
            assert torch.equal(again[safe], truth[safe]), str(formula)


def test_bad_directions_are_explained():
    with pytest.raises(ValueError, match="one of right, left, both, got 'up'"):
        time_robustness(A, {"a": torch.zeros(1, 3)}, "up")
    with pytest.raises(KeyError, match="Unknown predicate"):
        time_robustness(A, {"b": torch.zeros(1, 3)})
