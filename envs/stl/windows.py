"""Extrema and until over sliding windows of `(B, T)` tensors, without a loop over time.

Windows are folded by doubling: the fold over 2s steps joins the folds over s steps at t and at t + s, O(T log w).
The same fold serves every temporal operator, since each step of an until is a *clamp function*
z -> max(p, min(q, z)) of the value one step later, and clamp functions are closed under composition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Element = tuple[Tensor, ...]
"""What is folded: tensors of one shape `(B, L)`, e.g. the values, or the p and q of clamp functions."""

Join = Callable[[Element, Element], Element]
"""Combines the folds over a span of steps and over the span that follows; associative."""


@dataclass(frozen=True)
class Extremum:
    """The maximum (`sign` 1) or minimum (`sign` -1), exact or by logsumexp.

    With a temperature b the maximum of n values is log(sum exp(b x)) / b: never below the exact one, at most
    log(n) / b above it. The minimum is minus the maximum of the negated values.
    """

    sign: int
    temperature: float | None = None

    @property
    def identity(self) -> float:
        """The value that changes nothing."""
        return -self.sign * math.inf

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The extremum of two tensors, by element."""
        exact = torch.maximum(x, y) if self.sign > 0 else torch.minimum(x, y)
        if self.temperature is None:
            return exact
        gap = x - y
        known = gap.isfinite()  # an infinite side decides by itself; inf - inf has no gap
        gap = torch.where(known, gap, 0.0).abs()
        excess = torch.where(known, torch.nn.functional.softplus(-self.temperature * gap), 0.0)
        return exact + self.sign / self.temperature * excess

    def over(self, x: Tensor, width: int) -> Tensor:
        """The extremum over each window of `width` steps that fits, `(B, L)` to `(B, L - width + 1)`."""
        if self.temperature is not None:
            return fold((x,), width, self._join, repeatable=False)[0]
        if x.shape[1] == width:
            return x.amax(1, keepdim=True) if self.sign > 0 else x.amin(1, keepdim=True)
        if torch.is_grad_enabled() and x.requires_grad:
            return self._by_blocks(x, width)
        return fold((x,), width, self._join, repeatable=True)[0]

    def onward(self, x: Tensor) -> Tensor:
        """The extremum from each step to the last one, `(B, L)`."""
        if self.temperature is not None:
            return scan((x,), self._join)[0]
        return self._running(x.flip(1)).flip(1)

    def _join(self, first: Element, later: Element) -> Element:
        return (self(first[0], later[0]),)

    def _running(self, x: Tensor) -> Tensor:
        return (torch.cummax(x, -1) if self.sign > 0 else torch.cummin(x, -1)).values

    def _by_blocks(self, x: Tensor, width: int) -> Tensor:
        """As `over`, by running extrema within blocks (van Herk 1992): one gather in the backward pass."""
        count = x.shape[1] - width + 1
        blocks = padded(x, -(-x.shape[1] // width) * width, self.identity).unflatten(1, (-1, width))
        to_end = self._running(blocks.flip(-1)).flip(-1).flatten(1)
        from_start = self._running(blocks).flatten(1)
        return self(to_end[:, :count], from_start[:, width - 1 : width - 1 + count])


def padded(x: Tensor, length: int, fill: float) -> Tensor:
    """`x` cut or continued with `fill` to `length` steps."""
    missing = length - x.shape[1]
    if missing <= 0:
        return x[:, :length]
    return torch.cat([x, x.new_full((x.shape[0], missing), fill)], 1)


def fold(element: Element, width: int, join: Join, *, repeatable: bool) -> Element:
    """Join the steps of each window of `width` steps that fits, `(B, L)` to `(B, L - width + 1)`.

    Args:
        element: What to fold, `width` steps or more.
        width: Steps in a window.
        join: An associative operation.
        repeatable: Whether joining overlapping spans does no harm, which saves up to half of the work.
    """
    size = 1
    total, covered = element, width & 1
    while 2 * size <= width:
        element = _beside(element, element, size, join)
        size *= 2
        if width & size and not repeatable:
            total = _beside(total, element, covered, join) if covered else element
            covered += size
    if not repeatable:
        return total
    return element if size == width else _beside(element, element, width - size, join)


def scan(element: Element, join: Join) -> Element:
    """Join the steps from each one to the last, `(B, L)` to `(B, L)` (Hillis and Steele 1986, log L rounds)."""
    size, length = 1, element[0].shape[1]
    while size < length:
        joined = _beside(element, element, size, join)
        element = tuple(torch.cat([new, old[:, length - size :]], 1) for new, old in zip(joined, element, strict=True))
        size *= 2
    return element


def _beside(first: Element, later: Element, shift: int, join: Join) -> Element:
    count = later[0].shape[1] - shift
    return join(tuple(part[:, :count] for part in first), tuple(part[:, shift:] for part in later))


def window(x: Tensor, low: int, high: int | None, count: int, extremum: Extremum, fill: float) -> Tensor:
    """The extremum of `x` over the steps t + low to t + high, for t = 0 .. count - 1.

    Args:
        x: `(B, L)`.
        low: First step of the window.
        high: Last step of the window, or None for all that follow.
        count: Number of windows.
        extremum: Which one.
        fill: What `x` is taken to be past its end: the extremum's identity (nothing there) or its opposite.

    Returns:
        `(B, count)`.
    """
    if high is not None and high < x.shape[1]:
        return extremum.over(padded(x[:, low:], count + high - low, fill), high - low + 1)
    rest = x[:, low:]
    if fill != extremum.identity or not rest.shape[1]:
        return x.new_full((x.shape[0], count), fill)
    ends = extremum.over(rest, rest.shape[1]) if count == 1 else extremum.onward(rest)
    return padded(ends, count, fill)


def until(
    left: Tensor,
    right: Tensor,
    low: int,
    high: int | None,
    count: int,
    *,
    temperature: float | None = None,
    fill: tuple[float, float] = (math.inf, -math.inf),
) -> Tensor:
    """Until with `left` required before the witness step, for t = 0 .. count - 1.

    max over k in [t + low, t + high] of min(right(k), min of left over [t, k)): `left` over [t, t + low), and an until
    [0, high - low] at t + low (Donze, Ferrere & Maler 2013), whose steps are the clamp functions with p = right and
    q = left.

    Args:
        left: `(B, L)`.
        right: `(B, L)`.
        low: First step at which `right` counts.
        high: Last one, or None for all that follow.
        count: Number of windows.
        temperature: For logsumexp in place of exact extrema; within log(high + 1) / temperature of them.
        fill: What `left` and `right` are taken to be past their end; the default ends the search there.

    Returns:
        `(B, count)`.
    """
    if count == 1 and temperature is None and fill[1] < 0:
        return _until_once(left, right, low, high)
    upper, lower = Extremum(1, temperature), Extremum(-1, temperature)

    def join(first: Element, later: Element) -> Element:
        return upper(first[0], lower(first[1], later[0])), lower(first[1], later[1])

    if high is not None and high < right.shape[1]:
        span = count + high - low
        steps = (padded(right[:, low:], span, fill[1]), padded(left[:, low:], span, fill[0]))
        reached = fold(steps, high - low + 1, join, repeatable=temperature is None)[0]
    else:
        length = min(right.shape[1], left.shape[1] + 1)
        ends, held = scan((right[:, low:length], padded(left, length, math.inf)[:, low:]), join)
        reached = padded(upper(ends, held) if fill[1] > 0 else ends, count, fill[1])
    return lower(reached, window(left, 0, low - 1, count, lower, fill[0])) if low else reached


def _until_once(left: Tensor, right: Tensor, low: int, high: int | None) -> Tensor:
    """The until of the first step, `(B, 1)`, in O(L)."""
    ends = right.shape[1] if high is None else high + 1
    length = min(right.shape[1], left.shape[1] + 1, ends)
    if low >= length:
        return right.new_full((right.shape[0], 1), -math.inf)
    before = right.new_full((right.shape[0], 1), math.inf)
    if length > 1:
        before = torch.cat([before, torch.cummin(left[:, : length - 1], 1).values], 1)
    return torch.minimum(right[:, low:length], before[:, low:]).amax(1, keepdim=True)
