"""Cheap proofs that a formula can never hold, and bounds on its robustness."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cairngym.envs.stl.formula import Always, And, Constant, Eventually, Formula, Not, Or, Predicate, Release, Until
from cairngym.envs.stl.propagation import Propagation, is_literal, negation, required_steps

__all__ = ["UnsatisfiableError", "bounds", "check_satisfiable", "required_steps"]

Ranges = Mapping[str, tuple[float, float]]
"""The least and greatest margin of predicates by name."""


class UnsatisfiableError(ValueError):
    """A formula that no trace satisfies.

    Attributes:
        part: the subformula at fault.
    """

    def __init__(self, message: str, part: Formula) -> None:
        super().__init__(message, part)
        self.message, self.part = message, part

    def __str__(self) -> str:
        return self.message


def bounds(formula: Formula, ranges: Ranges) -> tuple[float, float]:
    """The least and greatest robustness of `formula` by interval arithmetic.

    Every robustness lies within, where it is defined; predicates that occur once attain both ends.

    Args:
        formula: any formula.
        ranges: range of margins of each predicate; (-inf, inf) for those it lacks.

    Raises:
        ValueError: a range with NaN or in the wrong order.

    Example:
        >>> from cairngym.envs.stl.parser import parse
        >>> bounds(parse("F[0,5] a & G !b"), {"a": (-3.0, 1.0), "b": (-2.0, 4.0)})
        (-4.0, 1.0)
    """
    _check_ranges(ranges)
    return _bounds(formula.nnf(), ranges)


def check_satisfiable(formula: Formula, ranges: Ranges | None = None, horizon: int | None = None) -> None:
    """Raise where cheap reasoning shows that `formula` can never hold at the first step of a trace.

    It never refuses a formula that a trace satisfies, but passes some that none does: it tries no choice (see
    `cairngym.envs.stl.propagation`). A predicate and its negation at one step count as impossible, though the
    robustness of both is zero where the margin is exactly zero.

    Args:
        formula: any formula.
        ranges: range of margins of each predicate, the world's limits for instance; (-inf, inf) for those it lacks.
        horizon: number of steps of the traces; without one they have no end.

    Raises:
        UnsatisfiableError: naming the subformula at fault and what rules it out.
        ValueError: a range with NaN or in the wrong order, or a negative horizon.

    Example:
        >>> from cairngym.envs.stl.parser import parse
        >>> check_satisfiable(parse("G[0,5] a & F[2,3] !a"))
        Traceback (most recent call last):
        cairngym...UnsatisfiableError: ... got 'F[2,3] !a', which cannot: a must hold at steps 0 to 5.
    """
    ranges = ranges or {}
    _check_ranges(ranges)
    if horizon is not None:
        _check_horizon(formula, horizon)
    normal = formula.nnf()
    literals = [part for part in normal.walk() if is_literal(part)]
    never = {literal for literal in literals if _bounds(literal, ranges)[1] < 0}
    found = Propagation(normal, horizon, never)
    if not found.possible(normal):
        part = _culprit(formula, found)
        reasons = _reasons(part.nnf(), found, ranges) or ["it is false whatever happens"]
        raise UnsatisfiableError(
            f"Expected a formula that can hold, got '{part}', which cannot: {', and '.join(reasons)}.", part
        )


def _check_ranges(ranges: Ranges) -> None:
    for name, (low, high) in ranges.items():
        if not low <= high:
            raise ValueError(f"Expected a range (low, high) of margins of {name!r} with low <= high, got {low, high}.")


def _check_horizon(formula: Formula, horizon: int) -> None:
    if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 0:
        raise ValueError(f"Expected a horizon of zero or more whole steps, or None, got {horizon!r}.")
    steps = required_steps(formula)
    if steps <= horizon:
        return
    part = formula
    while isinstance(part, And):
        part = next(each for each in part.of if required_steps(each) == steps)
    raise UnsatisfiableError(
        f"Expected a formula decided within a horizon of {horizon} steps, got '{part}', which needs {steps}; shorten "
        "its intervals or lengthen the horizon.",
        part,
    )


def _bounds(formula: Formula, ranges: Ranges) -> tuple[float, float]:
    """`bounds` of a formula in negation normal form."""
    match formula:
        case Predicate(name):
            low, high = ranges.get(name, (-math.inf, math.inf))
            return float(low), float(high)
        case Not(of):
            low, high = _bounds(of, ranges)
            return -high, -low
        case Constant(value):
            return (math.inf, math.inf) if value else (-math.inf, -math.inf)
        case Eventually(of) | Always(of):
            return _bounds(of, ranges)
        case Until(_, right, interval, False) | Release(_, right, interval, False) if interval.low == 0:
            return _bounds(right, ranges)  # left plays no part in the first step's value, the extreme one
    lows, highs = zip(*(_bounds(child, ranges) for child in formula.children), strict=True)
    chosen = max if isinstance(formula, Or | Release) else min
    return chosen(lows), chosen(highs)


def _culprit(formula: Formula, found: Propagation) -> Formula:
    """The first part of nested conjunctions that is ruled out."""
    if isinstance(formula, And):
        for part in formula.of:
            normal = part.nnf()
            joined = normal.of if isinstance(normal, And) else (normal,)
            if not all(map(found.possible, joined)):
                return _culprit(part, found)
    return formula


def _reasons(formula: Formula, found: Propagation, ranges: Ranges) -> list[str]:
    """What rules out the literals of a formula in negation normal form."""
    reasons = []
    horizon = found.last if formula.horizon is None else min(formula.horizon, found.last)
    for literal in dict.fromkeys(part for part in formula.walk() if is_literal(part)):
        name = literal.predicates[0]
        against = negation(literal)
        if _bounds(literal, ranges)[1] < 0:
            low, high = ranges[name]
            reasons.append(f"the margin of {name} lies within [{low}, {high}]")
        elif against in found.must and found.must[against][: horizon + 1].any():
            reasons.append(f"{against} must hold at {_span(np.flatnonzero(found.must[against]), found)}")
    return reasons


def _span(steps: np.ndarray, found: Propagation) -> str:
    first, last = int(steps[0]), int(steps[-1])
    if last - first + 1 > steps.size:
        return f"{steps.size} steps from {first} on"
    if found.endless and last == found.last:
        return f"every step from {first} on" if first else "every step"
    return f"step {first}" if first == last else f"steps {first} to {last}"
