import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cairngym.envs.stl.windows import Extremum, fold, padded, scan, until, window


def draws(seed: int, *shape: int) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3).round()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 40), st.data(), st.sampled_from([1, -1]), st.booleans())
def test_sliding_extrema_equal_unfolded_ones(length, data, sign, gradient):
    width = data.draw(st.integers(1, length))
    x = draws(length, 3, length).requires_grad_(gradient)
    windows = x.detach().unfold(1, width, 1)
    want = windows.amax(-1) if sign > 0 else windows.amin(-1)
    assert torch.equal(Extremum(sign).over(x, width).detach(), want)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 40), st.data(), st.sampled_from([0.3, 3.0, 300.0]))
def test_smooth_sliding_extrema_are_logsumexp(length, data, temperature):
    width = data.draw(st.integers(1, length))
    x = draws(length, 3, length)
    want = (temperature * x.unfold(1, width, 1)).logsumexp(-1) / temperature
    torch.testing.assert_close(Extremum(1, temperature).over(x, width), want)
    torch.testing.assert_close(-Extremum(-1, temperature).over(-x, width), want)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("temperature", [None, 2.0])
def test_onward_extrema_equal_those_of_each_rest(length, temperature):
    x = draws(1, 2, length)
    rests = [x[:, t:] if temperature is None else temperature * x[:, t:] for t in range(length)]
    want = [rest.amax(1) if temperature is None else rest.logsumexp(1) / temperature for rest in rests]
    torch.testing.assert_close(Extremum(1, temperature).onward(x), torch.stack(want, 1))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 40), st.data())
def test_folds_and_scans_keep_the_order(length, data):
    """Affine functions are composed, which is associative but neither commutative nor repeatable."""
    width = data.draw(st.integers(1, length))
    slope, shift = draws(3, 1, length), draws(4, 1, length)

    def compose(first, later):
        return first[0] * later[0], first[0] * later[1] + first[1]

    def direct(steps):
        value = 1.0
        for k in reversed(steps):
            value = float(slope[0, k]) * value + float(shift[0, k])
        return value

    folded = fold((slope, shift), width, compose, repeatable=False)
    for t in range(length - width + 1):
        assert float(folded[0][0, t] + folded[1][0, t]) == pytest.approx(direct(range(t, t + width)))
    scanned = scan((slope, shift), compose)
    for t in range(length):
        assert float(scanned[0][0, t] + scanned[1][0, t]) == pytest.approx(direct(range(t, length)))


def test_infinities_are_smooth_extrema_too_with_finite_gradients():
    x = torch.tensor([-math.inf, math.inf, -math.inf, 1.0, math.inf], requires_grad=True)
    y = torch.tensor([-math.inf, math.inf, 1.0, 1.0, -math.inf], requires_grad=True)
    found = Extremum(1, 2.0)(x, y)
    assert found.tolist() == pytest.approx([-math.inf, math.inf, 1.0, 1.0 + math.log(2.0) / 2.0, math.inf])
    found.sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.tolist() == pytest.approx([0.5, 0.5, 0.0, 0.5, 1.0])
    assert y.grad.tolist() == pytest.approx([0.5, 0.5, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("high", [None, 1, 3, 4, 9])
def test_a_window_past_the_end_reads_the_fill(count, high):
    x = torch.tensor([[1.0, 5.0, 2.0, 3.0, -1.0]])
    for fill in (math.inf, -math.inf):
        longer = padded(x, 20, fill)
        ends = 20 if high is None else high + 1
        for sign in (1, -1):
            rest = [longer[0, t + 1 : t + ends] for t in range(count)]
            want = [float(part.max() if sign > 0 else part.min()) for part in rest]
            assert window(x, 1, high, count, Extremum(sign), fill)[0].tolist() == want


def brute_until(left: list[float], right: list[float], low: int, high: int, step: int) -> float:
    ks = range(step + low, min(step + high + 1, len(right)))
    return max((min([right[k], *left[step:k]]) for k in ks), default=-math.inf)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 25), st.integers(0, 6), st.integers(0, 30), st.booleans(), st.integers(0, 1000))
def test_until_equals_its_definition(length, low, extra, endless, seed):
    left, right = draws(seed, 2, length), draws(seed + 1, 2, length)
    high = None if endless else low + extra
    for count in {1, length}:
        found = until(left, right, low, high, count)
        for i in range(2):
            pair = left[i].tolist(), right[i].tolist()
            want = [brute_until(*pair, low, length if high is None else high, t) for t in range(count)]
            assert found[i].tolist() == want


def test_gradients_by_blocks_reach_the_largest_sample():
    x = draws(0, 2, 50) + torch.linspace(0.0, 0.4, 50, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    Extremum(1).over(leaf, 9).sum().backward()
    want = torch.zeros_like(x)
    best = x.unfold(1, 9, 1).argmax(-1) + torch.arange(42)
    want.scatter_add_(1, best, torch.ones_like(best, dtype=torch.float64))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, want)
