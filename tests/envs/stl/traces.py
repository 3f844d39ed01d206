"""The meaning of formulas by its definition: every trace, every step, one loop at a time."""

from collections.abc import Mapping

import numpy as np

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

Truth = Mapping[str, np.ndarray]


def every_trace(predicates: tuple[str, ...], steps: int) -> dict[str, np.ndarray]:
    """All traces of truth values: `(2^(predicates x steps), steps)` bool for each predicate."""
    bits = np.arange(2 ** (len(predicates) * steps))[:, None] >> np.arange(len(predicates) * steps)[None] & 1
    return {name: bits[:, i * steps : (i + 1) * steps].astype(bool) for i, name in enumerate(predicates)}


class Meaning:
    """Truth of formulas on traces (M, T), which end at their last sample or, if `endless`, repeat it for ever."""

    def __init__(self, truth: Truth, endless: bool = False):
        self.truth, self.endless = truth, endless
        self.traces, self.length = next(iter(truth.values())).shape
        self.known: dict[tuple[Formula, int], np.ndarray] = {}

    def defined(self, formula: Formula) -> int:
        """At how many leading steps its windows begin and, if bounded, end within the trace."""
        if self.endless:
            return self.length
        match formula:
            case Eventually(of, interval) | Always(of, interval):
                return self.defined(of) - _counted(interval)
            case WeakUntil(left, right, interval, inclusive):
                either = (Until(left, right, interval, inclusive), Always(left, Interval(0, interval.high)))
                return min(map(self.defined, either))
            case Until(left, right, interval, inclusive) | Release(left, right, interval, inclusive):
                end = _counted(interval)
                ends = [self.defined(right) - end]
                if inclusive or end > 0:
                    ends.append(self.defined(left) - end + (not inclusive))
                return min(ends)
        return min(map(self.defined, formula.children), default=self.length)

    def holds(self, formula: Formula, step: int) -> np.ndarray:
        """Whether each trace (M,) satisfies it at a step where it is defined."""
        step = min(step, self.length - 1) if self.endless else step
        if (formula, step) not in self.known:
            assert step < self.defined(formula)
            self.known[formula, step] = self._holds(formula, step)
        return self.known[formula, step]

    def _holds(self, formula: Formula, step: int) -> np.ndarray:
        match formula:
            case Predicate(name):
                return self.truth[name][:, step]
            case Constant(value):
                return np.full(self.traces, value)
            case Not(of):
                return ~self.holds(of, step)
            case And(parts):
                return np.all([self.holds(part, step) for part in parts], axis=0)
            case Or(parts):
                return np.any([self.holds(part, step) for part in parts], axis=0)
            case Implies(left, right):
                return ~self.holds(left, step) | self.holds(right, step)
            case Eventually(of, interval):
                return np.any([self.holds(of, k) for k in self._window(interval, step, self._end(of))], axis=0)
            case Always(of, interval):
                return np.all([self.holds(of, k) for k in self._window(interval, step, self._end(of))], axis=0)
            case WeakUntil(left, right, interval, inclusive):
                until = Until(left, right, interval, inclusive)
                return self.holds(until, step) | self.holds(Always(left, Interval(0, interval.high)), step)
            case Until(left, right, interval, inclusive):
                return self._until(left, right, interval, inclusive, step)
            case Release(left, right, interval, inclusive):
                return ~self._until(Not(left), Not(right), interval, inclusive, step)
        raise TypeError(formula)

    def _until(self, left: Formula, right: Formula, interval: Interval, inclusive: bool, step: int) -> np.ndarray:
        found = np.zeros(self.traces, bool)
        for k in self._window(interval, step, min(self._end(right), self._end(left) + (not inclusive))):
            before = [self.holds(left, j) for j in range(step, k + inclusive)]
            found |= self.holds(right, k) & np.all(before, axis=0) if before else self.holds(right, k)
        return found

    def _end(self, formula: Formula) -> int:
        return 2 * self.length if self.endless else self.defined(formula) - 1

    def _window(self, interval: Interval, step: int, end: int) -> range:
        """The steps of a window; an endless constant tail repeats itself, so that its first few steps tell all."""
        if interval.high is not None:
            return range(step + interval.low, step + interval.high + 1)
        return range(step + interval.low, max(end, step + interval.low) + 1)


def _counted(interval: Interval) -> int:
    return interval.low if interval.high is None else interval.high
