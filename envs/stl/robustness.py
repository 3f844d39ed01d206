"""Quantitative semantics of formulas on batches of traces.

The robustness of a predicate is its margin; not is minus, and / or are min / max, eventually and always are max and min
over their window, and until is the max over the witness step k of min(right(k), min of left before k). It is positive
where the formula holds and negative where it does not (Donze & Maler 2010).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor

from cairngym.envs.checks import unknown_name
from cairngym.envs.stl.evaluation import Tail, Traces, available, compiled, evaluate
from cairngym.envs.stl.formula import Formula
from cairngym.envs.stl.windows import padded


def robustness(
    formula: Formula,
    margins: Mapping[str, Tensor],
    *,
    tail: Tail = "defined",
    smooth: float | None = None,
    steps: int | None = None,
) -> Tensor:
    """The robustness of `formula` at each step of a batch of traces.

    Differentiable with respect to the margins: where several samples attain an extremum, the result is one of its
    subgradients. On the CPU margins are searched for NaN; on other devices NaN passes into the result.

    Args:
        formula: What to evaluate.
        margins: For each predicate its margin at every step, `(B, T)`, float32 or float64, zero or more where it holds.
        tail: What a window that passes the end of the trace means. `defined`: NaN; operators without an end read up to
            the last step at which their operands are defined. `weak`: missing predicates, negated or not, are taken to
            hold (+inf), which bounds the robustness from above whatever follows. `strong`: they are taken to fail
            (-inf), which bounds it from below. `truncate`: missing steps are left out of windows; eventually and until
            over an empty one are -inf, always and release +inf.
        smooth: Temperature of logsumexp in place of each extremum (larger is closer; within log(n) / smooth for n
            operands, summed over nested operators): for gradients only, its sign proves nothing.
        steps: Number of leading steps to evaluate; None for all. One step costs far less.

    Returns:
        `(B, T)` or `(B, steps)`.

    Raises:
        TypeError: margins that are not float32 or float64 tensors.
        ValueError: margins of different shapes, dtypes or devices, NaN margins, or an invalid option.
        KeyError: a predicate without a margin.

    Example:
        >>> from cairngym.envs.stl.formula import Predicate, eventually
        >>> robustness(eventually(Predicate("a"), 0, 2), {"a": torch.tensor([[0.0, 3.0, 1.0, 2.0]])})
        tensor([[3., 3., nan, nan]])
    """
    model = check_margins(formula, margins)
    if tail not in get_args(Tail):
        raise ValueError(f"Expected tail to be one of {', '.join(get_args(Tail))}, got {tail!r}.")
    if smooth is not None and not 0 < smooth < math.inf:
        raise ValueError(f"Expected a positive temperature for smooth (or None for exact extrema), got {smooth}.")
    length = model.shape[1]
    count = length if steps is None else steps
    if not 1 <= count <= length:
        raise ValueError(f"Expected steps in [1, {length}], the samples of the trace, got {steps}.")
    operations = compiled(formula, tail)
    lengths = available(operations, length, tail)
    values = evaluate(operations, lengths, min(count, lengths[-1]), Traces(margins, model, smooth))
    return padded(values, count, math.nan)


def satisfied(formula: Formula, margins: Mapping[str, Tensor]) -> Tensor:
    """Whether each trace satisfies `formula` at its first step: robustness of zero or more, `(B,)` bool.

    Raises:
        ValueError: a trace too short for the formula's horizon; otherwise as of `robustness`.
    """
    length = check_margins(formula, margins).shape[1]
    if not available(compiled(formula, "defined"), length, "defined")[-1]:
        needed = "more" if formula.horizon is None else f"at least {formula.horizon + 1}"
        raise ValueError(
            f"Expected {needed} samples for '{formula}' (its horizon in steps + 1), got {length}; lengthen the trace, "
            "or bound its robustness with tail='weak' and tail='strong'."
        )
    with torch.no_grad():
        return robustness(formula, margins, steps=1)[:, 0] >= 0.0


def check_margins(formula: Formula, margins: Mapping[str, Tensor]) -> Tensor:
    """Hold the margins of the formula's predicates against each other; returns one, for its shape, dtype and device.

    Raises:
        TypeError: margins that are not float32 or float64 tensors.
        ValueError: no margins, margins of different shapes, dtypes or devices, or (on the CPU) NaN.
        KeyError: a predicate without a margin.
    """
    names = formula.predicates or tuple(margins)[:1]
    if not names:
        raise ValueError("Expected at least one margin, which tells the batch and the number of steps, got none.")
    for name in names:
        if name not in margins:
            raise unknown_name("predicate", name, margins)
    for name in names:
        _check_margin(name, margins[name], names[0], margins[names[0]])
    return margins[names[0]]


def _check_margin(name: str, margin: Tensor, first: str, model: Tensor) -> None:
    if not isinstance(margin, Tensor) or margin.dtype not in (torch.float32, torch.float64):
        got = margin.dtype if isinstance(margin, Tensor) else type(margin).__name__
        raise TypeError(f"Expected the margin of {name!r} as a float32 or float64 tensor, got {got}.")
    if margin.ndim != 2 or not margin.shape[1]:
        raise ValueError(
            f"Expected the margin of {name!r} of shape (B, T) with T >= 1, got {tuple(margin.shape)}. "
            "Give a single trace as margin[None]."
        )
    mine, others = ((tuple(x.shape), x.dtype, x.device) for x in (margin, model))
    if mine != others:
        raise ValueError(f"Expected margins of one shape, dtype and device: {first!r} has {others}, {name!r} {mine}.")
    values = margin.detach()
    # The sum is NaN where a value is, or where infinities cancel; it is ten times faster than the full search.
    if values.device.type == "cpu" and bool(values.sum().isnan()) and bool(values.isnan().any()):
        trace, step = values.isnan().nonzero()[0].tolist()
        raise ValueError(f"Expected margins without NaN, got NaN in {name!r} at trace {trace}, step {step}.")
