"""A formula as a flat program of few operations, run once per sample by `cairngym.envs.stl.monitor_kernels`.

A subformula is compiled in one of two ways.

*Streams* (`Streams`) hold the value of a subformula at every step. The value at step k depends on samples up to
k + `lag` and is available when the last of these is, so streams are delayed by their lag and aligned by rings.

*Chains* (`cairngym.envs.stl.monitor_chains`) look at the formula's value at step 0 alone, from the other side: with
each sample they ask how good a witness ending there would be. This needs no delay and bounds the value from both sides.

Minimum, always and release are the maximum, eventually and until of negated values; a *reference* to a slot is its
index, or the index's complement where the value is to be negated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from cairngym.envs.stl import monitor_kernels as k
from cairngym.envs.stl.formula import (
    Always,
    And,
    Constant,
    Eventually,
    Formula,
    Interval,
    Not,
    Or,
    Predicate,
    Release,
    Until,
)  # fmt: skip

NEVER = 1 << 30
"""A step no trace reaches."""
MAX_STEPS = 1 << 23
"""Steps are counted in float32, which holds whole numbers up to twice this."""
Temporal = Eventually | Always | Until | Release


@dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled formula."""

    predicates: tuple[str, ...]
    """Names of the columns of margins."""
    rows: tuple[tuple[int, ...], ...]
    """Instructions: kind, target slot, two operands, x, y, first slot of a ring."""
    slots: int
    """Numbers of memory per env."""
    low: int
    """Reference to the lower end of the interval."""
    high: int
    """Reference to the upper end."""
    last: int
    """Last sample that is read; the interval is a single number when it has been."""
    extra: int
    """Steps that the program runs on after it, without samples, until all delayed values are complete."""


@dataclass
class Assembler:
    """Emits instructions and hands out memory; an instruction that was emitted before is not repeated.

    In what follows `time` is the number of samples since the trace's first. The operations are

    - LOAD: the literal of a column of margins, FIRST, with sign SECOND.
    - MAX: of two values.
    - GATE: the value from time X to Y, minus infinity outside.
    - DELAY: the value X samples ago, whatever it was if the trace is shorter.
    - WINDOW: the maximum of the last X values, of this trace only.
    - SINCE: the maximum over the last X steps of the value then, lowered by the caps (SECOND) from then to now.
    - UNTIL: the maximum over the last X steps of the value then, lowered by the caps from the oldest to before then.
    - HOLD: as SINCE, over the whole trace.
    """

    rows: list[tuple[int, ...]] = field(default_factory=list)
    slots: int = k.FREE
    _known: dict[tuple[int, ...], int] = field(default_factory=dict)

    def emit(self, kind: int, first: int = 0, second: int = 0, x: int = 0, y: int = 0, memory: int = 0) -> int:
        """Emit an instruction unless it was emitted before; returns the reference to its value."""
        key = (kind, first, second, x, y)
        if key not in self._known:
            self._known[key] = self._append(kind, self._allot(1), first, second, x, y, memory)
        return self._known[key]

    def with_previous(self, kind: int, first: int, second: int = 0, x: int = 0, memory: int = 0) -> tuple[int, int]:
        """As `emit`, of an instruction always new; returns its value and its value one sample ago."""
        target = self._allot(1)
        before = self._append(k.GATE, self._allot(1), target, 0, 1, NEVER, 0)
        return self._append(kind, target, first, second, x, 0, memory), before

    def _append(self, kind: int, target: int, first: int, second: int, x: int, y: int, memory: int) -> int:
        self.rows.append((kind, target, first, second, x, y, self._allot(memory)))
        return target

    def _allot(self, count: int) -> int:
        self.slots += count
        return self.slots - count

    def maximum(self, *references: int) -> int:
        """The largest of the values."""
        wanted = sorted(set(references) - {~k.TRUE})
        if k.TRUE in wanted:
            return k.TRUE
        return functools.reduce(lambda a, b: self.emit(k.MAX, a, b), wanted) if wanted else ~k.TRUE

    def minimum(self, *references: int) -> int:
        """The smallest of the values."""
        return ~self.maximum(*(~reference for reference in references))

    def gate(self, reference: int, low: int = 0, high: int = NEVER) -> int:
        """The value from time `low` to `high`, minus infinity outside."""
        return ~k.TRUE if high < low else self.emit(k.GATE, reference, x=low, y=high)

    def delay(self, reference: int, steps: int) -> int:
        """The value so many samples ago."""
        constant = reference in (k.TRUE, ~k.TRUE)
        return reference if constant or steps == 0 else self.emit(k.DELAY, reference, x=steps, memory=steps)

    def window(self, reference: int, length: int) -> int:
        """The maximum of the last values."""
        return reference if length == 1 else self.emit(k.WINDOW, reference, x=length, memory=length + 1)

    def until(self, value: int, cap: int, length: int) -> int:
        """The best of the last values, lowered by the caps before it."""
        return value if length == 1 else self.emit(k.UNTIL, value, cap, x=length, memory=2 * length + 2)


@dataclass(frozen=True)
class Extent:
    """How far values reach in a trace whose last sample is `end`; unbounded operators read up to there."""

    end: int

    def future(self, formula: Formula) -> int:
        """Fewest samples after a step with which the value at that step is defined."""
        if not isinstance(formula, Temporal):
            return max(map(self.future, formula.children), default=0)
        low, high = formula.interval.low, formula.interval.high
        return self._after(formula, low if high is None else high, self.future)

    def lag(self, formula: Formula) -> int:
        """Samples after a step with which the value at that step is complete, counted on beyond the end."""
        if not isinstance(formula, Temporal):
            return max(map(self.lag, formula.children), default=0)
        return self._after(formula, self.high(formula), self.lag)

    def high(self, formula: Temporal) -> int:
        """The interval's end; where there is none, the last step whose value could be read."""
        return self.cut(formula) if formula.interval.high is None else formula.interval.high

    def cut(self, formula: Temporal) -> int:
        """The last step at which what the operator reads is defined."""
        if isinstance(formula, Eventually | Always):
            return self.end - self.future(formula.of)
        sooner = 0 if formula.inclusive else 1
        return self.end - max(self.future(formula.right), self.future(formula.left) - sooner)

    def _after(self, formula: Temporal, high: int, measure: Callable[[Formula], int]) -> int:
        if isinstance(formula, Eventually | Always):
            return high + measure(formula.of)
        left, right = high + measure(formula.left), high + measure(formula.right)
        if formula.inclusive:
            return max(left, right)
        return right if formula.interval.high == 0 else max(left - 1, right)


@dataclass(frozen=True)
class Stream:
    """Values of a subformula: that of step k at time k + lag."""

    reference: int
    lag: int


class Streams:
    """Compiles subformulas into streams, each once.

    Args:
        code: receives the instructions.
        columns: names of the predicates, in the order of the margins.
        extent: of the traces.
    """

    def __init__(self, code: Assembler, columns: tuple[str, ...], extent: Extent) -> None:
        self.code, self.columns, self.extent = code, columns, extent
        self._known: dict[Formula, Stream] = {}

    def at(self, formula: Formula, lag: int) -> int:
        """The values of a formula in negation normal form, delayed by `lag`."""
        return self.align(self.of(formula), lag)

    def align(self, stream: Stream, lag: int) -> int:
        """A stream's values, delayed to `lag`."""
        if stream.reference < 0:
            return ~self.code.delay(~stream.reference, lag - stream.lag)
        return self.code.delay(stream.reference, lag - stream.lag)

    def of(self, formula: Formula) -> Stream:
        """The stream of a formula in negation normal form."""
        if formula not in self._known:
            self._known[formula] = self._compile(formula)
        return self._known[formula]

    def _compile(self, formula: Formula) -> Stream:
        match formula:
            case Constant(value):
                return Stream(k.TRUE if value else ~k.TRUE, 0)
            case Predicate(name):
                return self._literal(name, 1)
            case Not(Predicate(name)):
                return self._literal(name, -1)
            case Or(parts) | And(parts):
                lag = self.extent.lag(formula)
                join = self.code.maximum if isinstance(formula, Or) else self.code.minimum
                return Stream(join(*(self.at(part, lag) for part in parts)), lag)
            case Eventually(of) | Always(of):
                return self._window(formula, self.of(of))
            case Until(left, right) | Release(left, right):
                return self._until(formula, self.of(left), self.of(right))
        raise TypeError(f"Expected a formula in negation normal form, got a {type(formula).__name__}: {formula}.")

    def _literal(self, name: str, sign: int) -> Stream:
        return Stream(self.code.emit(k.LOAD, self.columns.index(name), sign), 0)

    def _window(self, formula: Eventually | Always, of: Stream) -> Stream:
        sign = 0 if isinstance(formula, Eventually) else -1
        high = self.extent.high(formula)
        value = of.reference ^ sign
        if formula.interval.high is None:
            value = self.code.gate(value, high=of.lag + high)
        return Stream(self.code.window(value, high - formula.interval.low + 1) ^ sign, of.lag + high)

    def _until(self, formula: Until | Release, left: Stream, right: Stream) -> Stream:
        sign = 0 if isinstance(formula, Until) else -1
        left, right = Stream(left.reference ^ sign, left.lag), Stream(right.reference ^ sign, right.lag)
        low, high = formula.interval.low, self.extent.high(formula)
        cut = high if formula.interval.high is None else None
        if high == 0 and not formula.inclusive:
            stream = right
        elif left.lag > right.lag and not formula.inclusive:
            stream = self._shifted_until(left, right, low, high, cut)
        else:
            stream = self._plain_until(left, right, low, high, cut, formula.inclusive)
        return Stream(stream.reference ^ sign, stream.lag)

    def _shifted_until(self, left: Stream, right: Stream, low: int, high: int, cut: int | None) -> Stream:
        """Exclusive until with the right side read a step later, which makes it inclusive, so as not to wait longer."""
        cut = None if cut is None else cut - 1
        later = Stream(right.reference, right.lag + 1)
        stream = self._plain_until(left, later, max(low - 1, 0), high - 1, cut, True)
        if low > 0:
            return stream
        return Stream(self.code.maximum(stream.reference, self.align(right, stream.lag)), stream.lag)

    def _plain_until(
        self, left: Stream, right: Stream, low: int, high: int, cut: int | None, inclusive: bool
    ) -> Stream:  # fmt: skip
        lag = max(left.lag, right.lag)
        value, cap = self.align(right, lag), self.align(left, lag)
        if inclusive:
            value = self.code.minimum(value, cap)
        if cut is not None:
            value = self.code.gate(value, high=lag + cut)
        value = self.code.until(value, cap, high - low + 1)
        if low > 0:
            # The window begins at `low`; up to there the left side must hold too.
            meanwhile = Stream(~self.code.window(~left.reference, low), left.lag + low - 1)
            value = self.code.minimum(value, self.align(meanwhile, lag + high))
        return Stream(value, lag + high)


def horizon_of(formula: Formula, horizon: int | None) -> int:
    """The last sample that the formula's value at step 0 depends on.

    Args:
        formula: any formula.
        horizon: the last sample of the traces; needed where operators have no end, which then read up to it.

    Raises:
        ValueError: an unbounded formula without `horizon`, or traces too short for the formula.
    """
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 0):
        raise ValueError(f"Expected horizon to be a number of steps, 0 or more, got {horizon!r}.")
    if max(horizon or 0, formula.horizon or 0) > MAX_STEPS:
        raise ValueError(f"Expected traces of at most {MAX_STEPS} steps for {formula}; shorten its intervals.")
    if horizon is None:
        if formula.horizon is None:
            raise ValueError(
                f"Expected a horizon for {formula}, which has no end because of {_endless(formula)}. Pass horizon=T, "
                "the last step of the episodes, or bound the operator, as in F[0,20]."
            )
        return formula.horizon
    needed = Extent(horizon).future(formula.nnf())
    if needed > horizon:
        raise ValueError(
            f"Expected traces of at least {needed} steps for {formula}, got horizon={horizon}. "
            "Lengthen the episodes or shorten the intervals."
        )
    return horizon if formula.horizon is None else formula.horizon


def _endless(formula: Formula) -> Formula:
    endless = [part for part in formula.walk() if getattr(part, "interval", Interval(0, 0)).high is None]
    return endless[-1]
