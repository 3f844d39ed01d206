"""Formulas of signal temporal logic: operator objects, horizons, negation normal form and text.

Time is counted in steps. A formula is built from predicates by name; what a name measures is said where it is
evaluated. `parse` (in `cairngym.envs.stl.parser`) reads what `str` writes.

Example:
    >>> a, b = Predicate("a"), Predicate("b")
    >>> f = eventually(a & eventually(b, 0, 4), 0, 8) & always(~b, 0, 3)
    >>> str(f)
    'F[0,8](a & F[0,4] b) & G[0,3] !b'
    >>> f.horizon
    12
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cairngym.envs.stl.interval import Interval
from cairngym.envs.stl.syntax import (
    And,
    Constant,
    Formula,
    Implies,
    Not,
    Or,
    Predicate,
    conjunction,
    disjunction,
    longest,
)

__all__ = [
    "Always", "And", "Constant", "Eventually", "Formula", "Implies", "Interval", "Not", "Or", "Predicate", "Release",
    "Until", "WeakUntil", "always", "conjunction", "disjunction", "eventually", "release", "until", "weak_until",
]  # fmt: skip


@dataclass(frozen=True)
class _Windowed(Formula):
    of: Formula
    interval: Interval = field(default_factory=Interval)
    strength = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_interval(self.interval)

    @property
    def children(self) -> tuple[Formula, ...]:
        """What must hold within the interval."""
        return (self.of,)

    @property
    def horizon(self) -> int | None:
        """The interval's end and what follows it."""
        return self.interval.after(self.of.horizon)

    def _text(self, symbol: str) -> str:
        inner = self.within(self.of)
        return f"{symbol}{_window(self.interval)}{inner if inner.startswith('(') else ' ' + inner}"


@dataclass(frozen=True)
class Eventually(_Windowed):
    """`of` holds at some step of the interval."""

    def nnf(self, negate: bool = False) -> Formula:
        """It, or always not."""
        inner = self.of.nnf(negate)
        return Always(inner, self.interval) if negate else Eventually(inner, self.interval)

    def __str__(self) -> str:
        return self._text("F")


@dataclass(frozen=True)
class Always(_Windowed):
    """`of` holds at every step of the interval."""

    def nnf(self, negate: bool = False) -> Formula:
        """It, or eventually not."""
        inner = self.of.nnf(negate)
        return Eventually(inner, self.interval) if negate else Always(inner, self.interval)

    def __str__(self) -> str:
        return self._text("G")


@dataclass(frozen=True)
class _Binary(Formula):
    left: Formula
    right: Formula
    interval: Interval = field(default_factory=Interval)
    inclusive: bool = False
    strength = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_interval(self.interval)

    @property
    def children(self) -> tuple[Formula, ...]:
        """Both sides."""
        return (self.left, self.right)

    @property
    def horizon(self) -> int | None:
        """The interval's end and what follows it; `left` is read up to the step before, unless `inclusive`."""
        right = self.interval.after(self.right.horizon)
        if self.inclusive:
            return longest(self.interval.after(self.left.horizon), right)
        if self.interval.high == 0:  # left is never read
            return right
        left = self.interval.after(self.left.horizon)
        return longest(None if left is None else left - 1, right)

    def _text(self, symbol: str) -> str:
        name = f"{symbol}i" if self.inclusive else symbol
        left, right = (self.within(side, tighter=True) for side in self.children)
        return f"{left} {name}{_window(self.interval)} {right}"


@dataclass(frozen=True)
class Until(_Binary):
    """`right` holds at a step k of the interval, and `left` at every step from now to before k (to k if inclusive)."""

    def nnf(self, negate: bool = False) -> Formula:
        """It, or the release of the negations."""
        kind = Release if negate else Until
        return kind(self.left.nnf(negate), self.right.nnf(negate), self.interval, self.inclusive)

    def __str__(self) -> str:
        return self._text("U")


@dataclass(frozen=True)
class Release(_Binary):
    """The dual of until, `!(!left U !right)`.

    `right` holds at every step k of the interval unless `left` has held at a step before k (at k too if inclusive).
    """

    def nnf(self, negate: bool = False) -> Formula:
        """It, or the until of the negations."""
        kind = Until if negate else Release
        return kind(self.left.nnf(negate), self.right.nnf(negate), self.interval, self.inclusive)

    def __str__(self) -> str:
        return self._text("R")


@dataclass(frozen=True)
class WeakUntil(_Binary):
    """`left U right`, or `left` holds at every step from now to the interval's end."""

    @property
    def horizon(self) -> int | None:
        """The interval's end and what follows it on either side."""
        return longest(*(self.interval.after(side.horizon) for side in self.children))

    def nnf(self, negate: bool = False) -> Formula:
        """Until or always; negated, release and eventually not."""
        until = Until(self.left, self.right, self.interval, self.inclusive)
        return Or((until, Always(self.left, Interval(0, self.interval.high)))).nnf(negate)

    def __str__(self) -> str:
        return self._text("W")


def eventually(of: Formula, low: int = 0, high: int | None = None) -> Eventually:
    """Eventually within an interval: F[low,high] of."""
    return Eventually(of, Interval(low, high))


def always(of: Formula, low: int = 0, high: int | None = None) -> Always:
    """Always within an interval: G[low,high] of."""
    return Always(of, Interval(low, high))


def until(left: Formula, right: Formula, low: int = 0, high: int | None = None, *, inclusive: bool = False) -> Until:
    """Until within an interval: left U[low,high] right."""
    return Until(left, right, Interval(low, high), inclusive)


def release(
    left: Formula, right: Formula, low: int = 0, high: int | None = None, *, inclusive: bool = False
) -> Release:
    """Release within an interval: left R[low,high] right."""
    return Release(left, right, Interval(low, high), inclusive)


def weak_until(
    left: Formula, right: Formula, low: int = 0, high: int | None = None, *, inclusive: bool = False
) -> WeakUntil:
    """Weak until within an interval: left W[low,high] right."""
    return WeakUntil(left, right, Interval(low, high), inclusive)


def _window(interval: Interval) -> str:
    return "" if interval == Interval() else str(interval)


def _check_interval(interval: Interval) -> None:
    if not isinstance(interval, Interval):
        raise TypeError(f"Expected an Interval(low, high), got {interval!r} ({type(interval).__name__}).")
