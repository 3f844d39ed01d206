"""What must and what can hold at each step, by unit propagation over a formula.

A formula asked for at step 0 asks for parts of itself at certain steps: a conjunction for all its parts, always for
what it holds over its whole window, a disjunction for the only branch left to it. A predicate asked for at a step rules
its negation out there, which rules out what needs the negation, and so on. What is ruled out is impossible; what is
left may be impossible too, as no choice is ever tried.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

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
)

Steps = NDArray[np.bool_]
Index = NDArray[np.int64]

MAX_CELLS = 4096
"""Steps told apart on traces without an end; all later ones share a cell."""
_ROUNDS = 16


class Propagation:
    """What can and what must hold where `formula` holds at step 0.

    Steps are cells 0 to `last`. Without a `horizon`, traces have no end, and cell `last` stands for all steps from
    there on: a part can hold there if it can at one of them, and must hold there if it must at all of them.

    Args:
        formula: in negation normal form.
        horizon: last step of the traces, at least `required_steps(formula)`; None for traces without an end.
        never: literals that hold at no step.

    Attributes:
        can: for each part, the cells (last + 1,) at which it can hold; none where it reads past the end of the trace.
        must: for each part, the cells (last + 1,) at which it must.
    """

    def __init__(self, formula: Formula, horizon: int | None, never: Collection[Formula] = ()) -> None:
        self.formula, self.endless = formula, horizon is None
        self.last = min(required_steps(formula) + 1, MAX_CELLS) if horizon is None else horizon
        self.parts = list(dict.fromkeys(_children_first(formula)))
        self.cells = np.arange(self.last + 1)
        self.defined = {part: self.cells <= self._end(part) for part in self.parts}
        self.free = {literal: self.defined[literal].copy() for literal in self.parts if is_literal(literal)}
        for literal in never:
            if literal in self.free:
                self.free[literal][:] = False
        self.can: dict[Formula, Steps] = {}
        self.must = {part: np.zeros(self.last + 1, bool) for part in self.parts}
        self._run()

    def possible(self, part: Formula) -> bool:
        """Whether `part` of the formula was not ruled out at step 0."""
        return bool(self.can[part][0])

    def _end(self, part: Formula) -> int:
        return self.last - (0 if self.endless else required_steps(part))

    def _run(self) -> None:
        self.must[self.formula][0] = True
        for _ in range(_ROUNDS):
            for part in self.parts:
                self.can[part] = self._can(part) & self.defined[part]
            if not self.possible(self.formula):
                return
            for part in reversed(self.parts):
                self._ask(part)
            if not self._rule_out():
                return

    def _rule_out(self) -> bool:
        """Rule out the negations of literals that must hold; whether that is news."""
        news = False
        for literal, free in self.free.items():
            against = negation(literal)
            if against in self.free and (free & self.must[against]).any():
                free &= ~self.must[against]
                news = True
        return news

    def _can(self, part: Formula) -> Steps:
        match part:
            case Constant(value):
                return np.full(self.last + 1, value)
            case And(parts):
                return np.logical_and.reduce([self.can[each] for each in parts])
            case Or(parts):
                return np.logical_or.reduce([self.can[each] for each in parts])
            case Eventually(of, interval):
                return self._can_until(self._all(True), self.can[of], interval, False)
            case Until(left, right, interval, inclusive):
                return self._can_until(self.can[left], self.can[right], interval, inclusive)
            case Always(of, interval):
                return self._can_release(self._all(False), self._open(of), interval, False)
            case Release(left, right, interval, inclusive):
                return self._can_release(self._open(left), self._open(right), interval, inclusive)
        return self.free[part]

    def _ask(self, part: Formula) -> None:
        """Ask for what `part` needs at the cells where it must hold."""
        if not self.must[part].any():
            return
        match part:
            case And(parts):
                for each in parts:
                    self._add(each, self.must[part])
            case Or(parts):
                only = self.must[part] & (np.sum([self.can[each] for each in parts], axis=0) == 1)
                for each in parts:
                    self._add(each, only & self.can[each])
            case Eventually(of, interval):
                self._ask_until(part, None, of, interval, False)
            case Until(left, right, interval, inclusive):
                self._ask_until(part, left, right, interval, inclusive)
            case Always(of, interval):
                self._ask_release(part, None, of, interval, False)
            case Release(left, right, interval, inclusive):
                self._ask_release(part, left, right, interval, inclusive)

    def _can_until(self, left: Steps, right: Steps, interval: Interval, inclusive: bool) -> Steps:
        low, high = self._window(interval)
        return _next(right)[low] <= np.minimum(high, _next(~left)[self.cells] - inclusive)

    def _can_release(self, left: Steps, right: Steps, interval: Interval, inclusive: bool) -> Steps:
        low, high = self._window(interval)
        against, release = _next(~right)[low], _next(left)[self.cells]
        in_time = (release < against + inclusive) | (self.endless & (release == against) & (against == self.last))
        return (against > high) | in_time

    def _ask_until(
        self, part: Formula, left: Formula | None, right: Formula, interval: Interval, inclusive: bool
    ) -> None:
        at = np.flatnonzero(self.must[part])
        low, high = (bounds[at] for bounds in self._window(interval))
        held = self._all(True) if left is None else self.can[left]
        high = np.minimum(high, _next(~held)[at] - inclusive)
        first = _next(self.can[right])[low]
        only = (first <= high) & (_next(self.can[right])[np.minimum(first + 1, self.last + 1)] > high)
        single = np.zeros(self.last + 1, bool)
        single[first[only & (first < self.last + (not self.endless))]] = True
        self._add(right, single)
        if left is not None:
            shared = self.endless & (first == self.last)  # the cell of many steps: the witness is one of them
            self._add(left, self._cover(at, first - 1 + (inclusive & ~shared)))

    def _ask_release(
        self, part: Formula, left: Formula | None, right: Formula, interval: Interval, inclusive: bool
    ) -> None:
        at = np.flatnonzero(self.must[part])
        release = _next(self._all(False) if left is None else self._open(left))[at]
        high = np.minimum(self._window(interval)[1][at], release - inclusive)
        if self.endless:
            whole = (release > self.last) & ((at == self.last) | (interval.high is None))
            high = np.where(whole, self.last, np.minimum(high, self.last - 1))
        self._add(right, self._cover(at + interval.low, high))

    def _add(self, part: Formula, cells: Steps) -> None:
        self.must[part] |= cells & self.defined[part]

    def _all(self, value: bool) -> Steps:
        return np.full(self.last + 1, value)

    def _open(self, part: Formula) -> Steps:
        """Where it can hold or is not defined, so that it asks for nothing."""
        return self.can[part] | ~self.defined[part]

    def _window(self, interval: Interval) -> tuple[Index, Index]:
        """The first and last cell of the interval at every cell."""
        low = np.minimum(self.cells + interval.low, self.last)
        high = np.full_like(low, self.last) if interval.high is None else self.cells + interval.high
        return low, np.minimum(high, self.last)

    def _cover(self, first: Index, last: Index) -> Steps:
        """The cells within any of the ranges."""
        some = (first <= last) & (first <= self.last)
        change = np.zeros(self.last + 2, np.int64)
        np.add.at(change, first[some], 1)
        np.add.at(change, np.minimum(last[some], self.last) + 1, -1)
        return np.cumsum(change)[:-1] > 0


def required_steps(formula: Formula) -> int:
    """How many steps after the first a trace must have for every window of `formula` to begin within it.

    That is its horizon, where each interval without an end counts up to its beginning.
    """
    match formula:
        case Eventually(of, interval) | Always(of, interval):
            return _counted(interval) + required_steps(of)
        case Until(left, right, interval, inclusive) | Release(left, right, interval, inclusive):
            end = _counted(interval)
            before = end if inclusive else end - 1
            return max(end + required_steps(right), before + required_steps(left) if before >= 0 else 0)
        case Predicate() | Constant():
            return 0
        case Not(of):
            return required_steps(of)
        case And(parts) | Or(parts):
            return max(map(required_steps, parts))
    return required_steps(formula.nnf())


def is_literal(formula: Formula) -> bool:
    """Whether it is a predicate or the negation of one."""
    return isinstance(formula, Predicate) or (isinstance(formula, Not) and isinstance(formula.of, Predicate))


def negation(literal: Formula) -> Formula:
    """The opposite literal."""
    return literal.of if isinstance(literal, Not) else Not(literal)


def _counted(interval: Interval) -> int:
    return interval.low if interval.high is None else interval.high


def _children_first(formula: Formula) -> list[Formula]:
    if is_literal(formula):
        return [formula]
    return [part for child in formula.children for part in _children_first(child)] + [formula]


def _next(cells: Steps) -> Index:
    """For every cell and the one past the last, the first true cell from there on; one past the last for none."""
    found = np.append(np.where(cells, np.arange(len(cells)), len(cells)), len(cells))
    return np.minimum.accumulate(found[::-1])[::-1]
