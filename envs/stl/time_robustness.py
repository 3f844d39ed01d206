"""Robustness in time: by how many steps the predicates may shift before the formula changes its truth value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from cairngym.envs.stl.evaluation import Tail
from cairngym.envs.stl.formula import Formula
from cairngym.envs.stl.robustness import check_margins, robustness

Direction = Literal["right", "left", "both"]
"""Which way predicates shift: `right` reads later samples, `left` earlier ones."""


def time_robustness(
    formula: Formula, margins: Mapping[str, Tensor], direction: Direction = "right", *, tail: Tail = "defined"
) -> Tensor:
    """The time robustness of `formula` at each step of a batch of traces, in steps.

    That of a predicate is the number of consecutive samples, this one included, over which it keeps its truth value:
    this one and those after it (`right`), this one and those before it (`left`), or the smaller of both; positive where
    the predicate holds, negative where it does not. Min and max combine them as in the quantitative semantics (Donze &
    Maler 2010, definition 5). So the formula holds where the result is positive, and goes on holding (or failing) if
    each predicate by itself is read up to |result| - 1 steps later (right), earlier (left) or either (Lindemann et al.
    2022). Those papers count the steps of the run in place of its samples, one less, which leaves the sign open at 0.

    A run ends where the trace does, so that what is read after such a shift exists. No gradient flows.

    Args:
        formula: What to evaluate.
        margins: For each predicate its margin at every step, `(B, T)`, float32 or float64.
        direction: Which way predicates shift.
        tail: As of `robustness`.

    Returns:
        `(B, T)`, of the margins' dtype: whole numbers, infinite for constants and missing samples.

    Raises:
        ValueError, TypeError, KeyError: as of `robustness`, or for an unknown direction.

    Example:
        >>> from cairngym.envs.stl.formula import Predicate
        >>> time_robustness(Predicate("a"), {"a": torch.tensor([[1.0, 2.0, -1.0, -1.0, -1.0]])})
        tensor([[ 2.,  1., -3., -2., -1.]])
    """
    if direction not in get_args(Direction):
        raise ValueError(f"Expected direction to be one of {', '.join(get_args(Direction))}, got {direction!r}.")
    model = check_margins(formula, margins)
    used = formula.predicates or tuple(margins)[:1]
    runs = {name: signed_runs(margins[name], direction).to(model.dtype) for name in used}
    return robustness(formula, runs, tail=tail)


def signed_runs(margin: Tensor, direction: Direction) -> Tensor:
    """Samples over which the sign of `margin` (zero counts as positive) stays, times the sign; `(B, T)` int64."""
    holds = margin.detach() >= 0.0
    sign = torch.where(holds, 1, -1)
    right = _run(holds.flip(1)).flip(1)
    left = _run(holds)
    length = {"right": right, "left": left, "both": torch.minimum(right, left)}[direction]
    return sign * length


def _run(holds: Tensor) -> Tensor:
    """How many samples up to each one are equal to it without a break, `(B, T)`."""
    step = torch.arange(holds.shape[1], device=holds.device).expand(holds.shape)
    starts = torch.ones_like(holds)
    starts[:, 1:] = holds[:, 1:] != holds[:, :-1]
    return step - torch.cummax(torch.where(starts, step, 0), 1).values + 1
