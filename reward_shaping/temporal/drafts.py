"""Branches in the making: each rule of the grounding adds to one and returns it enlarged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from cairngym.envs.stl.formula import And, Constant, Formula, Not, Or, Predicate
from cairngym.reward_shaping.temporal.network import Limit, close
from cairngym.reward_shaping.temporal.plan import Branch, Invariant, Point, Subgoal, TimeVariable

IMPOSSIBLE = Limit(0, 0, -1)
TRUE, FALSE = Constant(True), Constant(False)


def is_state(formula: Formula) -> bool:
    """Whether it has no temporal operators."""
    return all(isinstance(part, Predicate | Constant | Not | And | Or) for part in formula.walk())


def fold(formula: Formula) -> Formula:
    """A state formula without needless constants and repetitions."""
    if not isinstance(formula, And | Or):
        return formula
    neutral, absorbing = (TRUE, FALSE) if isinstance(formula, And) else (FALSE, TRUE)
    parts = tuple(dict.fromkeys(part for part in map(fold, formula.of) if part != neutral))
    if absorbing in parts:
        return absorbing
    return joined(type(formula), parts) if parts else neutral


def joined(kind: type[And] | type[Or], parts: tuple[Formula, ...]) -> Formula:
    """One part as it is, several joined."""
    return parts[0] if len(parts) == 1 else kind(parts)


def grouped(formula: And | Or) -> tuple[Formula, ...]:
    """Its parts, with all state formulas among them joined into one, which comes first."""
    state = tuple(part for part in formula.of if is_state(part))
    rest = tuple(part for part in formula.of if not is_state(part))
    return (joined(type(formula), state), *rest) if state else rest


@dataclass(frozen=True)
class Draft:
    """A branch in the making, on samples 0..horizon."""

    horizon: int
    variables: tuple[TimeVariable, ...] = ()
    reached: tuple[tuple[Formula, Point], ...] = ()
    kept: tuple[tuple[Formula, Point, Point], ...] = ()
    choices: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()

    @property
    def end(self) -> Point:
        """The last sample."""
        return Point(None, self.horizon)

    def order(self, earlier: Point, later: Point, least: int = 0) -> Draft:
        """With `later` at least `least` steps after `earlier`."""
        limit = Limit(earlier.node, later.node, later.offset - earlier.offset - least)
        return replace(self, limits=(*self.limits, limit))

    def choose(self, choice: str) -> Draft:
        """With a choice noted."""
        return replace(self, choices=(*self.choices, choice))

    def vary(self, base: Point, low: int, high: int | None, label: str) -> tuple[Draft, Point]:
        """With a variable `low` to `high` steps after `base`; also returns its time."""
        time = Point(len(self.variables), 0)
        last = None if high is None else base.offset + high
        variable = TimeVariable(len(self.variables), base.variable, base.offset + low, last, label)
        draft = replace(self, variables=(*self.variables, variable)).order(base, time, low)
        return (draft if high is None else draft.order(time, base, -high)), time

    def reach(self, state: Formula, time: Point) -> Draft:
        """With a state formula to hold at a step, which must be a sample."""
        target, draft = fold(state), self.order(time, self.end)
        if target == TRUE:
            return draft
        if target == FALSE:
            return replace(draft, limits=(*draft.limits, IMPOSSIBLE))
        return replace(draft, reached=(*draft.reached, (target, time)))

    def keep(self, state: Formula, start: Point, end: Point) -> Draft:
        """With a state formula to hold throughout a window, which may be empty."""
        target = fold(state)
        if target == TRUE:
            return self
        if target == FALSE:
            return self.order(end, start, 1)
        return replace(self, kept=(*self.kept, (target, start, end)))

    def gaps(self) -> np.ndarray | None:
        """The closed temporal network, None where no times fit."""
        return close(len(self.variables), self.limits, self.horizon)

    def lengths(self, start: Point, end: Point) -> tuple[int, int] | None:
        """Least and greatest number of steps from `start` to `end`, both counted; None where no times fit."""
        gaps = self.gaps()
        if gaps is None:
            return None
        shift = end.offset - start.offset + 1
        return shift - int(gaps[start.node, end.node]), shift + int(gaps[end.node, start.node])

    def finish(self, targets: dict[Formula, int]) -> Branch | None:
        """The branch, its state formulas numbered by `targets`, which grows; None where no times fit."""
        gaps = self.gaps()
        if gaps is None:
            return None
        subgoals = [
            Subgoal(_number(fold(joined(And, parts)), targets), time) for time, parts in _by_time(self.reached).items()
        ]
        invariants = [Invariant(_number(state, targets), start, end) for state, start, end in dict.fromkeys(self.kept)]
        bounds = tuple(tuple(map(int, row)) for row in gaps)
        return Branch(self.variables, tuple(subgoals), tuple(invariants), self.choices, bounds)


def _by_time(reached: Iterable[tuple[Formula, Point]]) -> dict[Point, tuple[Formula, ...]]:
    times: dict[Point, tuple[Formula, ...]] = {}
    for state, time in reached:
        times[time] = (*times.get(time, ()), state)
    return times


def _number(state: Formula, targets: dict[Formula, int]) -> int:
    return targets.setdefault(state, len(targets))
