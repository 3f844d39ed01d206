"""What predicates measure: named margins of a world's state, in a unit, and the features that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.data import State


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One predicate of a world.

    Raises:
        ValueError: a scale that is not positive, or a target without its size (or a size without a target).
    """

    margin: Callable[[State], torch.Tensor]
    """Floating-point `(B,)` of a state's fields `(B, ...)`: zero or more exactly where the predicate holds."""
    unit: str
    """Unit of the margin in SI symbols."""
    description: str
    """One sentence."""
    scale: float = 1.0
    """Margin at which it counts as far, in its unit."""
    target: Callable[[State], torch.Tensor] | None = None
    """Features `(B, target_size)` that lead there, scaled to about one."""
    target_size: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < float("inf"):
            raise ValueError(f"Expected a finite scale above 0, got {self.scale}.")
        if (self.target is None) != (self.target_size == 0) or self.target_size < 0:
            raise ValueError(
                f"Expected a target together with its target_size, got {'no' if self.target is None else 'a'} target "
                f"and target_size {self.target_size}."
            )


def evaluate(measures: Mapping[str, Measure], names: Sequence[str], state: State) -> torch.Tensor:
    """The margins of the named predicates at `state`, float32 `(B, P)`, one column a name.

    On the CPU the margins are held against NaN; elsewhere that would wait for the device.

    Raises:
        UnknownNameError: a name without a measure.
        TypeError: a margin that is no floating-point tensor.
        ValueError: a margin that is not `(B,)`, or NaN.
    """
    rows = [margin_of(measures, name, state) for name in names]
    for name, row in zip(names, rows, strict=True):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"Expected margins of one batch size, got {len(rows[0])} from {names[0]!r}, {len(row)} from {name!r}."
            )
    margins = torch.stack([row.to(torch.float32) for row in rows], dim=-1)
    if margins.device.type == "cpu" and bool(torch.isnan(margins).any()):
        broken = torch.isnan(margins).any(dim=0).nonzero()[:, 0].tolist()
        raise ValueError(
            f"Expected numbers as margins, got NaN from {', '.join(repr(names[i]) for i in broken)}; "
            "a predicate must be a number in every state."
        )
    return margins


def margin_of(measures: Mapping[str, Measure], name: str, state: State) -> torch.Tensor:
    """The margin of one predicate, floating point `(B,)`; errors as in `evaluate`, but for NaN."""
    if name not in measures:
        raise unknown_name("predicate", name, measures)
    margin = measures[name].margin(state)
    if not isinstance(margin, torch.Tensor) or not margin.is_floating_point():
        got = str(margin.dtype) if isinstance(margin, torch.Tensor) else type(margin).__name__
        raise TypeError(
            f"Expected predicate {name!r} to return a floating-point tensor of margins, got {got}. A truth value b "
            "becomes a margin by b.float() - 0.5."
        )
    if margin.ndim != 1:
        raise ValueError(
            f"Expected predicate {name!r} to return margins of shape (B,), one number a state, got "
            f"{tuple(margin.shape)}. Reduce the other axes, for instance with .amin(-1)."
        )
    return margin
