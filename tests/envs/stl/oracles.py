"""Brute-force semantics by definition, in plain Python: one trace, one step, one formula at a time."""

import itertools
import math
from collections.abc import Mapping, Sequence

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

Trace = Mapping[str, Sequence[float]]


class UndefinedError(Exception):
    """A value that depends on samples after the end of the trace."""


def robustness_at(formula: Formula, trace: Trace, step: int, tail: str = "defined") -> float:
    """The robustness at one step; NaN where it is undefined (`defined` only)."""
    try:
        return _value(formula, trace, step, tail)
    except UndefinedError:
        return math.nan


def _length(trace: Trace) -> int:
    return len(next(iter(trace.values())))


def _value(formula: Formula, trace: Trace, step: int, tail: str) -> float:
    """By case; raises UndefinedError where a sample is missing that the definition reads."""
    length = _length(trace)
    match formula:
        case Predicate(name):
            if step < length:
                return trace[name][step]
            if tail in ("weak", "strong"):
                return math.inf if tail == "weak" else -math.inf
            raise UndefinedError
        case Constant(value):
            if step >= length and tail in ("defined", "truncate"):
                raise UndefinedError
            return math.inf if value else -math.inf
        case Not(of):
            opposite = {"weak": "strong", "strong": "weak"}.get(tail, tail)
            return -_value(of, trace, step, opposite)
        case And(of):
            return min(_value(part, trace, step, tail) for part in of)
        case Or(of):
            return max(_value(part, trace, step, tail) for part in of)
        case Implies(left, right):
            return max(_value(Not(left), trace, step, tail), _value(right, trace, step, tail))
        case Eventually(of, interval):
            found = [_value(of, trace, k, tail) for k in _steps([of], trace, step, interval, tail)]
            return max(found, default=-math.inf)
        case Always(of, interval):
            found = [_value(of, trace, k, tail) for k in _steps([of], trace, step, interval, tail)]
            return min(found, default=math.inf)
        case Until():
            return _until(formula, trace, step, tail)
        case Release(left, right, interval, inclusive):
            return _value(Not(Until(Not(left), Not(right), interval, inclusive)), trace, step, tail)
        case WeakUntil(left, right, interval, inclusive):
            held = Always(left, Interval(0, interval.high))
            until = Until(left, right, interval, inclusive)
            return max(_value(until, trace, step, tail), _value(held, trace, step, tail))
    raise AssertionError(formula)


def _until(formula: Until, trace: Trace, step: int, tail: str) -> float:
    best = -math.inf
    left, right, interval = formula.left, formula.right, formula.interval

    def witness(k: int) -> float:
        before = range(step, k + 1 if formula.inclusive else k)
        return min([_value(right, trace, k, tail), *(_value(left, trace, j, tail) for j in before)])

    if interval.high is None and tail == "defined":
        ks: list[int] = []
        for k in itertools.count(step + interval.low):
            try:
                witness(k)
                if k:  # the last witness step follows the last one at which left is defined, wherever it is read from
                    _value(left, trace, k - 1, tail)
            except UndefinedError:
                break
            ks.append(k)
        if not ks:
            raise UndefinedError
    else:
        ks = list(_steps([left, right], trace, step, interval, tail))
    for k in ks:
        best = max(best, witness(k))
    return best


def _steps(of: Sequence[Formula], trace: Trace, step: int, interval: Interval, tail: str) -> Sequence[int]:
    """The steps of an operator's window."""
    length, low = _length(trace), step + interval.low
    if tail == "truncate":
        return range(low, length if interval.high is None else min(length, step + interval.high + 1))
    if interval.high is not None:
        return range(low, step + interval.high + 1)
    if tail in ("weak", "strong"):
        return range(low, max(low, length) + 1)  # every step past the end is like the first one
    known = []
    for k in itertools.count(low):
        try:
            for part in of:
                _value(part, trace, k, tail)
        except UndefinedError:
            break
        known.append(k)
    if not known:
        raise UndefinedError
    return known


def runs_at(margins: Sequence[float], step: int, direction: str) -> float:
    """Samples from one step over which the sign stays, times the sign; by looking at each."""
    holds = [margin >= 0 for margin in margins]

    def count(steps: Sequence[int]) -> int:
        return sum(1 for _ in itertools.takewhile(lambda k: holds[k] == holds[step], steps))

    right, left = count(range(step, len(margins))), count(range(step, -1, -1))
    length = {"right": right, "left": left, "both": min(right, left)}[direction]
    return length if holds[step] else -length


def rtamt_text(formula: Formula) -> str:
    """The formula in rtamt's syntax, whose until does not require its left side at the witness step."""
    match formula:
        case Predicate(name):
            return name
        case Not(of):
            return f"(not({rtamt_text(of)}))"
        case And(of):
            return "(" + " and ".join(rtamt_text(part) for part in of) + ")"
        case Or(of):
            return "(" + " or ".join(rtamt_text(part) for part in of) + ")"
        case Implies(left, right):
            return f"({rtamt_text(left)} -> {rtamt_text(right)})"
        case Eventually(of, interval):
            return f"(eventually{_rtamt_interval(interval)}({rtamt_text(of)}))"
        case Always(of, interval):
            return f"(always{_rtamt_interval(interval)}({rtamt_text(of)}))"
        case Until(left, right, interval, inclusive):
            witness = And((left, right)) if inclusive else right
            return f"({rtamt_text(left)} until{_rtamt_interval(interval)} {rtamt_text(witness)})"
        case Release(left, right, interval, inclusive):
            return rtamt_text(Not(Until(Not(left), Not(right), interval, inclusive)))
        case WeakUntil(left, right, interval, inclusive):
            held = Always(left, Interval(0, interval.high))
            return rtamt_text(Or((Until(left, right, interval, inclusive), held)))
    raise AssertionError(formula)


def _rtamt_interval(interval: Interval) -> str:
    assert interval.high is not None or interval.low == 0
    return "" if interval.high is None else f"[{interval.low}:{interval.high}]"
