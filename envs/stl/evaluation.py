"""What `robustness` runs: a formula as a list of operations on `(B, T)` tensors, operands first.

Equal subformulas become one operation, and each one is evaluated for as many leading steps as its readers need.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Literal

from torch import Tensor

from cairngym.envs.stl.formula import (
    Always,
    And,
    Constant,
    Eventually,
    Formula,
    Implies,
    Interval,
    Not,
    Or,
    Predicate,
    Release,
    Until,
    WeakUntil,
)
from cairngym.envs.stl.windows import Extremum, until, window

Tail = Literal["defined", "weak", "strong", "truncate"]
"""What a window that passes the end of the trace means; see `robustness`."""

_BEYOND = {"weak": math.inf, "strong": -math.inf}
_NEGATED: Mapping[Tail, Tail] = {"weak": "strong", "strong": "weak", "defined": "defined", "truncate": "truncate"}


@dataclass(frozen=True)
class Traces:
    """What is evaluated: margins, one of them for the shape, and the temperature of smooth extrema."""

    margins: Mapping[str, Tensor]
    model: Tensor
    smooth: float | None


@dataclass(frozen=True)
class Operation(ABC):
    """One operation of a formula."""

    inputs: tuple[int, ...]
    """Positions of its operands in the list."""
    beyond: float
    """Its value past the end of the trace under the weak and strong tails."""

    @abstractmethod
    def available(self, lengths: Sequence[int], length: int) -> int:
        """At how many leading steps of a trace of `length` it is defined, where its operands are at `lengths`."""

    def needed(self, count: int, lengths: Sequence[int]) -> list[int]:
        """How many leading steps of each operand its first `count` values read, of `lengths` that there are."""
        return [min(count, length) for length in lengths]

    @abstractmethod
    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        """Its first `count` values, `(B, count)`, from those of its operands."""


@dataclass(frozen=True)
class _Read(Operation):
    name: str

    def available(self, lengths: Sequence[int], length: int) -> int:
        return length

    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        return traces.margins[self.name][:, :count]


@dataclass(frozen=True)
class _Fixed(Operation):
    def available(self, lengths: Sequence[int], length: int) -> int:
        return length

    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        return traces.model.new_full((traces.model.shape[0], count), self.beyond)


@dataclass(frozen=True)
class _Negate(Operation):
    def available(self, lengths: Sequence[int], length: int) -> int:
        return lengths[0]

    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        return -inputs[0][:, :count]


@dataclass(frozen=True)
class _Select(Operation):
    """And (`sign` -1) or or (`sign` 1)."""

    sign: int

    def available(self, lengths: Sequence[int], length: int) -> int:
        return min(lengths)

    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        return reduce(Extremum(self.sign, traces.smooth), [x[:, :count] for x in inputs])


@dataclass(frozen=True)
class _Window(Operation):
    """Always (`sign` -1) or eventually (`sign` 1)."""

    sign: int
    interval: Interval
    fill: float
    """What its operand is past the end."""

    def available(self, lengths: Sequence[int], length: int) -> int:
        return lengths[0] - (self.interval.low if self.interval.high is None else self.interval.high)

    def needed(self, count: int, lengths: Sequence[int]) -> list[int]:
        return _reach(self.interval, count, lengths)

    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        extremum = Extremum(self.sign, traces.smooth)
        return window(inputs[0], self.interval.low, self.interval.high, count, extremum, self.fill)


@dataclass(frozen=True)
class _Until(Operation):
    """Until, `left` required before the witness step."""

    interval: Interval
    fill: tuple[float, float]
    """What its operands are past the end."""

    def available(self, lengths: Sequence[int], length: int) -> int:
        left, right = lengths
        return min(left + 1, right) - (self.interval.low if self.interval.high is None else self.interval.high)

    def needed(self, count: int, lengths: Sequence[int]) -> list[int]:
        return _reach(self.interval, count, lengths)

    def values(self, inputs: Sequence[Tensor], count: int, traces: Traces) -> Tensor:
        left, right = inputs
        low, high = self.interval.low, self.interval.high
        return until(left, right, low, high, count, temperature=traces.smooth, fill=self.fill)


def _reach(interval: Interval, count: int, lengths: Sequence[int]) -> list[int]:
    return [length if interval.high is None else min(count + interval.high, length) for length in lengths]


@lru_cache(maxsize=256)
def compiled(formula: Formula, tail: Tail) -> tuple[Operation, ...]:
    """The operations of `formula`, operands first, itself last."""
    compiler = _Compiler(tail in _BEYOND)
    position = compiler.add(formula, tail)
    return tuple(compiler.operations[: position + 1])


class _Compiler:
    """Lists operations, each once; not, until, and, or, always and eventually express the other operators."""

    def __init__(self, filled: bool) -> None:
        self.operations: list[Operation] = []
        self.positions: dict[Operation, int] = {}
        self.filled = filled

    def add(self, formula: Formula, tail: Tail) -> int:
        """Position of the operation that evaluates `formula`."""
        match formula:
            case Predicate(name):
                return self._put(_Read((), _BEYOND.get(tail, 0.0), name))
            case Constant(value):
                return self._put(_Fixed((), math.inf if value else -math.inf))
            case Not(of):
                return self._negate(self.add(of, _NEGATED[tail]))
            case And(of) | Or(of):
                return self._select([self.add(part, tail) for part in of], 1 if isinstance(formula, Or) else -1)
            case Implies(left, right):
                return self._select([self._negate(self.add(left, _NEGATED[tail])), self.add(right, tail)], 1)
            case Eventually(of, interval) | Always(of, interval):
                return self._window(self.add(of, tail), interval, 1 if isinstance(formula, Eventually) else -1)
            case Until(left, right, interval, inclusive):
                return self._until(self.add(left, tail), self.add(right, tail), interval, inclusive)
            case Release(left, right, interval, inclusive):
                return self.add(Not(Until(Not(left), Not(right), interval, inclusive)), tail)
            case WeakUntil(left, right, interval, inclusive):
                held = Always(left, Interval(0, interval.high))
                return self.add(Or((Until(left, right, interval, inclusive), held)), tail)
        raise TypeError(f"Expected a formula of cairngym.envs.stl, got {formula!r} ({type(formula).__name__}).")

    def _put(self, operation: Operation) -> int:
        position = self.positions.setdefault(operation, len(self.operations))
        if position == len(self.operations):
            self.operations.append(operation)
        return position

    def _beyond(self, inputs: Sequence[int]) -> list[float]:
        return [self.operations[i].beyond for i in inputs]

    def _negate(self, of: int) -> int:
        return self._put(_Negate((of,), -self._beyond([of])[0]))

    def _select(self, of: Sequence[int], sign: int) -> int:
        choose = max if sign > 0 else min
        return self._put(_Select(tuple(of), choose(self._beyond(of)), sign))

    def _window(self, of: int, interval: Interval, sign: int) -> int:
        beyond = self._beyond([of])[0]
        return self._put(_Window((of,), beyond, sign, interval, beyond if self.filled else -sign * math.inf))

    def _until(self, left: int, right: int, interval: Interval, inclusive: bool) -> int:
        if inclusive:
            right = self._select([left, right], -1)
        if interval == Interval(0, 0):
            return right
        fill = self._beyond([left, right])
        beyond = fill[1] if interval.low == 0 else min(fill)
        ends = (fill[0], fill[1]) if self.filled else (math.inf, -math.inf)
        return self._put(_Until((left, right), beyond, interval, ends))


def available(operations: Sequence[Operation], length: int, tail: Tail) -> list[int]:
    """At how many leading steps of a trace of `length` each operation is defined."""
    lengths: list[int] = []
    for operation in operations:
        known = [lengths[i] for i in operation.inputs]
        lengths.append(max(0, operation.available(known, length)) if tail == "defined" else length)
    return lengths


def evaluate(operations: Sequence[Operation], lengths: Sequence[int], count: int, traces: Traces) -> Tensor:
    """The first `count` values of the last operation, `(B, count)`; `lengths` as of `available`."""
    counts = [0] * len(operations)
    counts[-1] = count
    for position in reversed(range(len(operations))):
        operation = operations[position]
        if counts[position]:
            needed = operation.needed(counts[position], [lengths[i] for i in operation.inputs])
            for i, steps in zip(operation.inputs, needed, strict=True):
                counts[i] = max(counts[i], steps)
    values: list[Tensor] = []
    for operation, steps in zip(operations, counts, strict=True):
        inputs = [values[i] for i in operation.inputs]
        values.append(operation.values(inputs, steps, traces) if steps else traces.model[:, :0])
    return values[-1]
