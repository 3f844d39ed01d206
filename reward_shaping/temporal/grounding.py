"""Formulas of signal temporal logic as timed subgoals and invariants, by recursion over the formula.

The decomposition of TGPO (Meng, Chen and Fan 2025, arXiv 2510.00225, given there by example), as rules, with hit chains
for recurrence beyond it. `docs/grounding.md` lists the rules, what they prove, and what lies outside.

Example:
    >>> from cairngym.envs.stl.formula import Predicate, always, eventually
    >>> a, b, c = map(Predicate, "abc")
    >>> print(ground(eventually(a & eventually(always(b, 0, 2), 1, 4), 0, 8) & always(~c), horizon=20))
    F[0,8](a & F[1,4] G[0,2] b) & G !c  (horizon 20)
    branch
      t0 in [0, 8]  for F[0,8](a & F[1,4] G[0,2] b)
      t1 in t0 + [1, 4]  for F[1,4] G[0,2] b
      at t0: a
      at t1: b
      [t1, t1+2]: b
      [0, 20]: !c
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from cairngym.envs.stl.formula import Always, And, Eventually, Formula, Interval, Or, Release, Until
from cairngym.reward_shaping.temporal.drafts import Draft, grouped, is_state, joined
from cairngym.reward_shaping.temporal.plan import Grounding, Point, StateFormula

MOST_COUNTED = 5_000
START = Point(None, 0)

Rule = Callable[[Formula, Draft], Iterator[Draft]]


class GroundingError(ValueError):
    """A formula that cannot be grounded; `part` is the subformula (in negation normal form) that stands in the way."""

    def __init__(self, message: str, part: Formula) -> None:
        super().__init__(message)
        self.part = part


def ground(formula: Formula, horizon: int, *, slack: int | None = 1, max_branches: int = 256) -> Grounding:
    """Ground a formula on samples 0..horizon.

    A branch's subgoals and invariants at times of its domain imply the formula (under the `strong` tail: what lies
    beyond the horizon counts as violated, and unbounded operators read to it). Conversely every trace that satisfies
    the formula has such a branch and times, up to the number of hits that `slack` allows. Both hold at every level of
    the margins, so the best value over branches and times is the formula's robustness.

    Args:
        formula: what to ground.
        horizon: steps of an episode, T.
        slack: a chain of hits has the fewest that can do, up to `slack` more; None: as many as any trace may need.
        max_branches: most branches to make.

    Raises:
        GroundingError: outside the fragment, more than `max_branches` branches, or none that fits the horizon.
        TypeError: not a `Formula`.
        ValueError: a horizon, slack or cap out of range.
    """
    if not isinstance(formula, Formula):
        raise TypeError(f"Expected a Formula, got {formula!r}; read text with cairngym.envs.stl.parser.parse.")
    for name, value, least in (("horizon", horizon, 1), ("slack", slack, 0), ("max_branches", max_branches, 1)):
        if value is not None and value < least:
            raise ValueError(f"Expected {name} of at least {least}, got {value}.")
    drafts = _Rules(formula, slack).hold(formula.nnf(), START, Draft(horizon))
    first = list(islice(drafts, max_branches))
    more = sum(1 for _ in islice(drafts, MOST_COUNTED))
    if more:
        count = f"more than {MOST_COUNTED}" if more == MOST_COUNTED else str(len(first) + more)
        raise GroundingError(
            f"Expected at most {max_branches} branches for {formula}, got {count}. Raise max_branches, choose "
            "disjuncts beforehand, or lower slack.",
            formula,
        )
    targets: dict[Formula, int] = {}
    branches = tuple(branch for draft in first if (branch := draft.finish(targets)) is not None)
    if not branches:
        raise GroundingError(_too_short(formula, horizon), formula)
    return Grounding(formula, horizon, formula.predicates, tuple(map(StateFormula, targets)), branches)


def _too_short(formula: Formula, horizon: int) -> str:
    needed = formula.horizon
    hint = "shorten the windows that reach past the end, or bound the unbounded operators around them"
    if needed is not None and needed > horizon:
        hint = f"raise the horizon to {needed}, or shorten the windows"
    elif needed is not None:
        hint = "it contradicts itself"
    return f"Expected a formula that samples 0..{horizon} can satisfy, got {formula}: no branch has times; {hint}."


class _Rules:
    """Each rule is given a draft and yields one for every way to go on."""

    def __init__(self, whole: Formula, slack: int | None) -> None:
        self.whole, self.slack = whole, slack

    def hold(self, formula: Formula, at: Point, draft: Draft) -> Iterator[Draft]:
        """`formula` holds at a step."""
        match formula:
            case _ if is_state(formula):
                yield draft.reach(formula, at)
            case And():
                yield from self._each(grouped(formula), lambda part, one: self.hold(part, at, one), draft)
            case Or():
                for part in grouped(formula):
                    yield from self.hold(part, at, draft.choose(f"{part}"))
            case Eventually(Eventually(of, inner), outer):
                yield from self.hold(Eventually(of, _sum(outer, inner)), at, draft)
            case Eventually(of, interval):
                draft, time = self._some(interval, at, draft, str(formula))
                yield from self.hold(of, time, draft)
            case Always(of, interval):
                yield from self._window(of, interval, at, draft)
            case Until():
                yield from self._until(formula, at, draft)
            case Release():
                yield from self._release(formula, at, draft)
            case _:
                raise self._outside(formula, "no rule reads it")

    def throughout(self, formula: Formula, start: Point, end: Point, draft: Draft) -> Iterator[Draft]:
        """`formula` holds at every step of a window that is not empty."""
        match formula:
            case _ if start == end:
                yield from self.hold(formula, start, draft)
            case _ if is_state(formula):
                draft = draft.order(end, draft.end).keep(formula, start, end)
                yield draft if start == START else draft.reach(formula, start)
            case And():
                yield from self._each(grouped(formula), lambda part, one: self.throughout(part, start, end, one), draft)
            case Always(of, Interval(low, high)):
                last = draft.end if high is None else end.plus(high)
                yield from self.throughout(of, start.plus(low), last, draft.order(end.plus(low), draft.end))
            case Eventually(Eventually(of, inner), outer):
                yield from self.throughout(Eventually(of, _sum(outer, inner)), start, end, draft)
            case Eventually(of, Interval(low, high)) if low == high:
                yield from self.throughout(of, start.plus(low), end.plus(low), draft)
            case Eventually(of) if is_state(of):
                yield from self._hits(formula, start, end, draft)
            case _:
                raise self._outside(formula, "it would have to hold at every step of a window, each in its own way")

    def perhaps_throughout(self, formula: Formula, start: Point, end: Point, draft: Draft) -> Iterator[Draft]:
        """`formula` holds at every step of a window that may be empty."""
        parts = grouped(formula) if isinstance(formula, And) else (formula,)
        if is_state(parts[0]):
            draft, parts = draft.keep(parts[0], start, end), parts[1:]
        if not parts:
            yield draft
            return
        rest = joined(And, parts)
        yield from self.throughout(rest, start, end, draft.order(start, end).choose(f"some step needs {rest}"))
        yield draft.order(end, start, 1).choose(f"no step needs {rest}")

    def _each(self, parts: tuple[Formula, ...], rule: Rule, draft: Draft) -> Iterator[Draft]:
        if not parts:
            yield draft
            return
        for longer in rule(parts[0], draft):
            yield from self._each(parts[1:], rule, longer)

    def _some(self, interval: Interval, at: Point, draft: Draft, label: str) -> tuple[Draft, Point]:
        """A step of the interval: a variable, or the one step there is."""
        if interval.low == interval.high:
            return draft, at.plus(interval.low)
        return draft.vary(at, interval.low, interval.high, label)

    def _window(self, formula: Formula, interval: Interval, at: Point, draft: Draft) -> Iterator[Draft]:
        start = at.plus(interval.low)
        end = draft.end if interval.high is None else at.plus(interval.high)
        return self.throughout(formula, start, end, draft.order(start, end))

    def _until(self, formula: Until, at: Point, draft: Draft) -> Iterator[Draft]:
        draft, time = self._some(formula.interval, at, draft, str(formula))
        end = time if formula.inclusive else time.plus(-1)
        for longer in self.hold(formula.right, time, draft):
            yield from self.perhaps_throughout(formula.left, at, end, longer)

    def _release(self, formula: Release, at: Point, draft: Draft) -> Iterator[Draft]:
        """`right` throughout, or up to a step at which `left` releases it."""
        interval = formula.interval
        yield from self._window(formula.right, interval, at, draft.choose(f"never released: {formula}"))
        last = interval.high if interval.high is None or formula.inclusive else interval.high - 1
        if last == -1:
            return
        draft, time = self._some(Interval(0, last), at, draft.choose(f"released: {formula}"), str(formula))
        end = time.plus(-1) if formula.inclusive else time
        for longer in self.hold(formula.left, time, draft):
            yield from self.perhaps_throughout(formula.right, at.plus(interval.low), end, longer)

    def _hits(self, formula: Eventually, start: Point, end: Point, draft: Draft) -> Iterator[Draft]:
        """`F[c,d] mu` at every step from `start` to `end`: hits s_1 < … < s_n of mu.

        s_1 in start + [c, d], gaps in [1, d - c + 1], s_n in end + [c, d].
        """
        low, high = formula.interval.low, formula.interval.high
        label = f"{formula} from {start} to {end}"
        if high is None:
            draft, time = draft.vary(end, low, None, label)
            yield draft.reach(formula.of, time)
            return
        lengths = draft.lengths(start, end)
        counts = range(0) if lengths is None else self._counts(max(lengths[0], 1), lengths[1], high - low + 1)
        for count in counts:
            one = draft.choose(f"{count} hit{'s' * (count > 1)}: {label}") if len(counts) > 1 else draft
            one, time = one.vary(start, low, high, f"hit 1 of {label}")
            one = one.reach(formula.of, time)
            for hit in range(2, count + 1):
                one, time = one.vary(time, 1, high - low + 1, f"hit {hit} of {label}")
                one = one.reach(formula.of, time)
            yield one.order(end.plus(low), time).order(time, end.plus(high))

    def _counts(self, shortest: int, longest: int, width: int) -> range:
        """Numbers of hits for windows of `shortest` to `longest` steps."""
        most = most_hits(longest, width)
        if self.slack is not None:
            most = min(most, -(-longest // width) + self.slack)
        return range(-(-shortest // width), most + 1)

    def _outside(self, part: Formula, why: str) -> GroundingError:
        return GroundingError(
            f"Cannot ground {part} within {self.whole}: {why}, so no times can be chosen in advance. Throughout a "
            "window (under G, left of U, right of R) there can be formulas without temporal operators, G, &, and F of "
            "a formula without temporal operators. Where one event must follow another (`G(a -> F b)`), use a monitor.",
            part,
        )


def most_hits(length: int, width: int) -> int:
    """Most hits that a trace can need for one in each of `length` windows of `width` steps, one starting at each step.

    In a chain from which no hit can be left out every other gap is wider than `width`, the second hit lies past the
    first window, and the last but one before the last window.
    """
    count = min(length, 2)
    while count >= 2 and (count - 2) // 2 * (width + 1) + (count - 2) % 2 <= length - width - 2:
        count += 1
    return count


def _sum(outer: Interval, inner: Interval) -> Interval:
    high = None if outer.high is None or inner.high is None else outer.high + inner.high
    return Interval(outer.low + inner.low, high)
