"""The value of a formula at step 0, bounded from both sides with every sample.

Take an eventually or until at step 0. Its value is the best over all *witnesses*: a step for it, a later step for an
eventually within, and so on. A chain follows witnesses in time. Its *activation* at step j is the best value of a
witness so far that asks for the next subformula at step j; a further operator passes activations on to the later steps
it allows, a conjunct lowers them, and what arrives at the chain's end is a value the formula has for certain. A witness
that is still under way is worth at most what it has met so far.

The dual holds for always and release: their chains follow the negated formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cairngym.envs.stl import monitor_kernels as k
from cairngym.envs.stl.formula import Always, And, Eventually, Formula, Or, Release, Until, conjunction, disjunction
from cairngym.envs.stl.monitor_program import Assembler, Extent, Program, Streams, Temporal, horizon_of


@dataclass(frozen=True, kw_only=True)
class Link:
    """A part of a chain: what happens to the activations that reach it."""

    lag: int
    """Fewest samples after a step with which all streams along the rest of the chain are complete at that step."""
    last: int
    """Last step at which the rest of the chain is asked for a value."""

    @property
    def finish(self) -> int:
        """When it has seen everything it reads."""
        return self.last + self.lag


@dataclass(frozen=True, kw_only=True)
class Hit(Link):
    """The end: the witness is worth at most the value of `formula` at its step."""

    formula: Formula


@dataclass(frozen=True, kw_only=True)
class Guard(Link):
    """Activations are lowered by the value of `formula` at their step."""

    formula: Formula
    then: Link


@dataclass(frozen=True, kw_only=True)
class Split(Link):
    """Activations go on along every part."""

    parts: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True)
class Reach(Link):
    """Activations go on to later steps, `low` to `high` after theirs; a `left` side caps them on the way."""

    left: Formula | None
    low: int
    high: int
    endless: bool
    """Whether they go on to all later steps up to the trace's step `high`."""
    inclusive: bool
    then: Link


@dataclass(frozen=True, kw_only=True)
class Stay(Link):
    """The end: `formula` must hold at all steps from `low` to `high` after the witness's."""

    formula: Formula
    low: int
    high: int
    endless: bool
    """Whether it must hold up to the trace's step `high` instead."""


@dataclass
class Chain:
    """Compiles an eventually, an until or a formula without such at step 0.

    Args:
        streams: compiles the subformulas along the chain.
        negative: whether the chain follows the negation of what is asked for.
    """

    streams: Streams
    negative: bool = False
    finish: int = 0
    """When the value is complete."""
    lag: int = 0
    """The step that the chain looks at is this many samples ago."""
    _hits: list[int] = field(default_factory=list)
    _alive: list[int] = field(default_factory=list)

    @property
    def code(self) -> Assembler:
        """Where the instructions go."""
        return self.streams.code

    @property
    def extent(self) -> Extent:
        """Of the traces."""
        return self.streams.extent

    def interval(self, formula: Formula) -> tuple[int, int]:
        """Compile; returns references to the ends of the interval of the value at step 0."""
        link = self.plan(formula, 0)
        self.lag, self.finish = link.lag, link.finish
        if isinstance(link, Reach):
            self._compile(link.then, self._begin(link))
        else:
            self._alive.append(self.code.gate(k.TRUE, high=self.lag - 1))
            self._compile(link, self.code.gate(k.TRUE, self.lag, self.lag))
        low = self.code.emit(k.HOLD, self.code.maximum(*self._hits), k.TRUE)
        return low, self.code.maximum(low, *self._alive)

    def plan(self, formula: Formula, start: int) -> Link:
        """How to follow a formula that is asked for at steps up to `start`: as a chain if it waits no longer so."""
        patience = start + self.extent.lag(formula)
        if formula.horizon is None:
            patience = max(patience, self.extent.end)
        options = (link for link in self._links(formula, start) if link.finish <= patience)
        return next(options, Hit(formula=formula, lag=self.extent.lag(formula), last=start))

    def _links(self, formula: Formula, start: int) -> Iterator[Link]:
        match formula:
            case Eventually() | Until():
                yield self._reach(formula, start)
            case Always(of, interval):
                endless, high = interval.high is None, self.extent.high(formula)
                yield Stay(
                    formula=of, low=interval.low, high=high, endless=endless, lag=self.extent.lag(of),
                    last=high if endless else start + high,
                )  # fmt: skip
            case And(parts):
                for chosen in sorted(filter(_is_path, parts), key=self.extent.lag, reverse=True):
                    others = conjunction(part for part in parts if part is not chosen)
                    then = self.plan(chosen, start)
                    lag, last = max(then.lag, self.extent.lag(others)), max(then.last, start)
                    yield Guard(formula=others, then=then, lag=lag, last=last)
            case Or(parts) if any(map(_is_path, parts)):
                links = [self.plan(part, start) for part in parts]
                lag, last = max(link.lag for link in links), max(link.last for link in links)
                yield Split(parts=tuple(links), lag=lag, last=last)

    def _reach(self, formula: Eventually | Until, start: int) -> Link:
        endless, high = formula.interval.high is None, self.extent.high(formula)
        until = formula if isinstance(formula, Until) else None
        then = self.plan(formula.children[-1], high if endless else start + high)
        left = until.left if until is not None and (until.inclusive or high > 0) else None
        lag = then.lag if left is None else max(then.lag, self.extent.lag(left))
        return Reach(
            left=left, low=formula.interval.low, high=high, endless=endless, then=then, lag=lag, last=then.last,
            inclusive=until is not None and until.inclusive,
        )  # fmt: skip

    def _value(self, formula: Formula) -> int:
        """What a subformula is worth to the chain, at the step it looks at."""
        if self.negative:  # so that a literal is false where it is not a number, however often it is negated
            return ~self.streams.at(formula.nnf(negate=True), self.lag)
        return self.streams.at(formula, self.lag)

    def _compile(self, link: Link, active: int) -> None:
        match link:
            case Hit():
                self._hits.append(self.code.minimum(active, self._value(link.formula)))
            case Guard():
                self._compile(link.then, self.code.minimum(active, self._value(link.formula)))
            case Split():
                for part in link.parts:
                    self._compile(part, active)
            case Stay():
                self._hits.append(self._stay(link, active))
            case Reach():
                self._compile(link.then, self._endless(link, active) if link.endless else self._pass_on(link, active))

    def _begin(self, link: Reach) -> int:
        """Activations of the first operator, which is asked for at step 0 alone."""
        code, first, last = self.code, self.lag + link.low, self.lag + link.high
        if link.left is None:
            self._alive.append(code.gate(k.TRUE, high=last - 1))
            return code.gate(k.TRUE, first, last)
        start = code.gate(k.TRUE, self.lag, self.lag)
        cap, before = code.with_previous(k.HOLD, start, self._value(link.left))
        self._alive += [code.gate(k.TRUE, high=self.lag - 1), code.gate(cap, high=last - 1)]
        return code.gate(cap if link.inclusive else code.maximum(start, before), first, last)

    def _endless(self, link: Reach, active: int) -> int:
        """Activations of an operator without end."""
        cap = k.TRUE if link.left is None else self._value(link.left)
        held, before = self.code.with_previous(k.HOLD, active, cap)
        reached = held if link.inclusive else self.code.maximum(active, before)
        self._alive.append(self.code.gate(held, high=self.lag + link.high - 1))
        return self.code.gate(self._later(link, reached), high=self.lag + link.high)

    def _pass_on(self, link: Reach, active: int) -> int:
        """Activations of an operator with an end."""
        if link.low == 0:
            reached, alive = self._spread(link, active, link.high)
            self._alive.append(alive)
            return reached
        reached, _ = self._spread(link, active, link.high - link.low)
        self._alive.append(self._under_way(link, active, link.high)[0])
        return self._later(link, reached)

    def _spread(self, link: Reach, active: int, high: int) -> tuple[int, int]:
        """Activations passed on to the next `high` steps, and those that can still be."""
        if high > 0:
            alive, before = self._under_way(link, active, high)
        else:
            alive = before = ~k.TRUE
        reached = self.code.maximum(active, before)
        if link.left is not None and link.inclusive:
            reached = self.code.minimum(reached, self._value(link.left))
        return reached, alive

    def _under_way(self, link: Reach, active: int, length: int) -> tuple[int, int]:
        """The best of the last activations, capped since; now and a sample ago."""
        if link.left is None:
            return self.code.with_previous(k.WINDOW, active, x=length, memory=length + 1)
        cap = self._value(link.left)
        return self.code.with_previous(k.SINCE, active, cap, x=length, memory=2 * length + 2)

    def _stay(self, link: Stay, active: int) -> int:
        """Activations that have met what they had to, when it is over."""
        code, cap = self.code, self._value(link.formula)
        if link.low > 0:
            self._alive.append(code.window(active, link.low))
        staying, length = self._delayed(active, link.low), link.high - link.low
        if link.endless:
            held, last = code.emit(k.HOLD, staying, cap), self.lag + link.high
            self._alive.append(code.gate(held, high=last - 1))
            return code.gate(held, last, last)
        if length > 0:
            self._alive.append(code.emit(k.SINCE, staying, cap, x=length, memory=2 * length + 2))
        return code.minimum(self._delayed(active, link.high), ~code.window(~cap, length + 1))

    def _delayed(self, active: int, steps: int) -> int:
        """Activations of the trace some steps ago."""
        return self.code.gate(self.code.delay(active, steps), steps) if steps > 0 else active

    def _later(self, link: Reach, reached: int) -> int:
        """What has been reached, `low` steps later, capped on the way."""
        if link.low == 0:
            return reached
        reached = self._delayed(reached, link.low)
        if link.left is None:
            return reached
        meanwhile = ~self.code.window(~self._value(link.left), link.low)
        if not link.inclusive:
            meanwhile = ~self.code.delay(~meanwhile, 1)
        return self.code.minimum(reached, meanwhile)


def _is_path(formula: Formula) -> bool:
    """Whether a chain can go on through it."""
    return isinstance(formula, Eventually | Always | Until) or (
        isinstance(formula, And | Or) and any(map(_is_path, formula.children))
    )


@dataclass
class _Root:
    """Compiles a formula at step 0: chains, joined by minimum and maximum."""

    streams: Streams
    finish: int = 0

    def interval(self, formula: Formula) -> tuple[int, int]:
        if isinstance(formula, And | Or) and any(map(_is_temporal, formula.children)):
            code = self.streams.code
            join = code.maximum if isinstance(formula, Or) else code.minimum
            lows, highs = zip(*map(self.interval, _gathered(formula)), strict=True)
            return join(*lows), join(*highs)
        negative = isinstance(formula, Always | Release)
        chain = Chain(self.streams, negative)
        low, high = chain.interval(formula.nnf(negate=negative))
        self.finish = max(self.finish, chain.finish)
        return (~high, ~low) if negative else (low, high)


def _is_temporal(formula: Formula) -> bool:
    return any(isinstance(part, Temporal) for part in formula.walk())


def _gathered(formula: And | Or) -> list[Formula]:
    """The parts of a formula, those without temporal operators as one."""
    now = [part for part in formula.of if not _is_temporal(part)]
    join = disjunction if isinstance(formula, Or) else conjunction
    return [part for part in formula.of if _is_temporal(part)] + ([join(now)] if now else [])


def compile_formula(formula: Formula, horizon: int | None = None) -> Program:
    """Compile a formula for traces whose last sample is `horizon`.

    Args:
        formula: any formula; its predicates become the columns of the margins.
        horizon: needed where operators have no end, which then read up to it.

    Raises:
        ValueError: an unbounded formula without `horizon`, or traces too short for the formula.
    """
    last = horizon_of(formula, horizon)
    code = Assembler()
    root = _Root(Streams(code, formula.predicates, Extent(last)))
    low, high = root.interval(formula.nnf())
    return Program(
        predicates=formula.predicates, rows=tuple(code.rows), slots=code.slots, low=low, high=high, last=last,
        extra=max(0, root.finish - last),
    )  # fmt: skip
