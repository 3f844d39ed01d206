"""Formulas from text.

From the operators that bind most tightly to those that bind least:

- `!`, `~` or `not`, `F` or `eventually`, `G` or `always`;
- `U` or `until`, `W` (weak until), `R` (release) and the inclusive `Ui`, `Wi`, `Ri`; chained ones need parentheses;
- `&`, `&&` or `and`;
- `|`, `||` or `or`;
- `->` or `implies`, where `a -> b -> c` is `a -> (b -> c)`.

A temporal operator's interval follows it: `[0,8]` in steps, `[0s,1.5s]` in seconds, `[3,inf)` without an end, none for
`[0,inf)`. These words, `true` and `false` cannot be names of predicates.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from cairngym.envs.checks import unknown_name
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
from cairngym.envs.stl.interval import check_dt
from cairngym.envs.stl.lexer import FormulaError, Token, tokens
from cairngym.envs.stl.syntax import KEYWORDS

__all__ = ["FormulaError", "parse"]

MAX_DEPTH = 150
"""Operators and parentheses within one another, beyond which a text is refused."""

_WINDOWED: dict[str, type[Eventually | Always]] = {
    "F": Eventually,
    "eventually": Eventually,
    "G": Always,
    "always": Always,
}
_BINARY: dict[str, type[Until | WeakUntil | Release]] = {
    "U": Until, "until": Until, "Ui": Until, "W": WeakUntil, "Wi": WeakUntil, "R": Release, "Ri": Release,
}  # fmt: skip
_STRENGTH = {
    **dict.fromkeys(("->", "implies"), Implies.strength),
    **dict.fromkeys(("|", "||", "or"), Or.strength),
    **dict.fromkeys(("&", "&&", "and"), And.strength),
    **dict.fromkeys(_BINARY, Until.strength),
}


def parse(text: str, dt: float | None = None, predicates: Iterable[str] | None = None) -> Formula:
    """Read a formula.

    Args:
        text: the formula, as the module describes.
        dt: length of a step (s), for intervals in seconds.
        predicates: the names it may use; any without it.

    Raises:
        FormulaError: text that is no formula; its message shows where, `position` holds the index of the character.
        ValueError: a `dt` that is no length of time.

    Example:
        >>> f = parse("F[0,8](reach_a & F[0,4] G[0,2] in_b) & G[0,20] !touch_c")
        >>> f.horizon, f.predicates
        (20, ('reach_a', 'in_b', 'touch_c'))
        >>> print(parse("not door U[0s,1.5s] key", dt=0.5))
        !door U[0,3] key
        >>> parse("F[0,8(a)")
        Traceback (most recent call last):
        cairngym.envs.stl.lexer.FormulaError: Expected ']' to end the interval, got '('.
          F[0,8(a)
               ^
    """
    if not isinstance(text, str):
        raise TypeError(f"Expected a formula's text, got {text!r} ({type(text).__name__}).")
    if dt is not None:
        check_dt(dt)
    return _Parser(text, dt, None if predicates is None else tuple(predicates)).formula()


class _Bound(NamedTuple):
    token: Token
    unit: Token | None


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, dt: float | None, predicates: tuple[str, ...] | None) -> None:
        self.text, self.dt, self.predicates = text, dt, predicates
        self.tokens = tokens(text)
        self.index = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.index]

    def take(self) -> Token:
        token = self.next
        self.index += 1
        return token

    def fail(self, message: str, at: Token) -> NoReturn:
        raise FormulaError(message, self.text, at.position)

    def formula(self) -> Formula:
        if len(self.tokens) == 1:
            self.fail("Expected a formula, got empty text.", self.next)
        found = self.expression(0, 0)
        if self.next.kind != "end":
            self.fail(f"Expected an operator or the end of the text, got {self.next}.{self.hint()}", self.next)
        return found

    def expression(self, weakest: int, depth: int) -> Formula:
        """Operands joined by operators that bind at least as tightly as `weakest`."""
        left = self.unary(depth)
        while (strength := _STRENGTH.get(self.next.text, -1)) >= weakest:
            if strength == Implies.strength:
                self.take()
                left = Implies(left, self.expression(strength, depth + 1))
            elif strength == Until.strength:
                left = self.binary(left, depth)
            else:
                parts = [left]
                while _STRENGTH.get(self.next.text) == strength:
                    self.take()
                    parts.append(self.expression(strength + 1, depth))
                left = And(tuple(parts)) if strength == And.strength else Or(tuple(parts))
        return left

    def binary(self, left: Formula, depth: int) -> Formula:
        symbol = self.take()
        interval = self.interval()
        found = _BINARY[symbol.text](left, self.unary(depth), interval, symbol.text.endswith("i"))
        if self.next.text in _BINARY:
            self.fail(f"Expected parentheses around {symbol} or {self.next}, which stand in one chain.", self.next)
        return found

    def unary(self, depth: int) -> Formula:
        token = self.next
        if depth > MAX_DEPTH:
            self.fail(f"Expected at most {MAX_DEPTH} operators and parentheses within one another.", token)
        if token.text in ("!", "~", "not"):
            self.take()
            return Not(self.unary(depth + 1))
        if token.text in _WINDOWED:
            self.take()
            interval = self.interval()
            return _WINDOWED[token.text](self.unary(depth + 1), interval)
        return self.primary(depth)

    def primary(self, depth: int) -> Formula:
        token = self.take()
        if token.text == "(":
            inner = self.expression(0, depth + 1)
            if self.next.text != ")":
                where = f"the '(' at character {token.position + 1}"
                self.fail(f"Expected an operator, or ')' to close {where}, got {self.next}.{self.hint()}", self.next)
            self.take()
            return inner
        if token.text in ("true", "false"):
            return Constant(token.text == "true")
        if token.kind != "name" or token.text in KEYWORDS:
            hint = " An interval is written [low,high]." if token.kind == "number" else ""
            self.fail(f"Expected a predicate, true, false, !, F, G or '(', got {token}.{hint}", token)
        if self.predicates is not None and token.text not in self.predicates:
            self.fail(str(unknown_name("predicate", token.text, self.predicates)), token)
        return Predicate(token.text)

    def hint(self) -> str:
        """The operator that an unexpected word resembles."""
        near = difflib.get_close_matches(self.next.text, (*_STRENGTH, *_WINDOWED), n=1, cutoff=0.6)
        return f" Did you mean {near[0]!r}?" if near else ""

    def interval(self) -> Interval:
        if self.next.text != "[":
            return Interval()
        self.take()
        low = self.bound(last=False)
        if self.next.text != ",":
            self.fail(f"Expected ',' between the bounds of the interval, got {self.next}.", self.next)
        self.take()
        high = self.bound(last=True)
        endless = high.token.text == "inf"
        if self.next.text != "]" and not (endless and self.next.text == ")"):
            self.fail(f"Expected ']' to end the interval, got {self.next}.", self.next)
        self.take()
        if not endless and (low.unit is None) is not (high.unit is None):
            bare = low if low.unit is None else high
            self.fail("Expected both bounds of the interval in seconds (s), or both in steps.", bare.token)
        return self.steps(low, high)

    def bound(self, last: bool) -> _Bound:
        token = self.take()
        if token.text == "inf" and last:
            return _Bound(token, None)
        if token.text == "-":
            self.fail("Expected a bound of zero or more, got a negative one.", token)
        if token.kind != "number":
            self.fail(f"Expected a number of steps, or of seconds as in 1.5s{', or inf' * last}, got {token}.", token)
        if self.next.kind != "name":
            if "." in token.text:
                self.fail(f"Expected a whole number of steps, got {token}; write {token.text}s for seconds.", token)
            return _Bound(token, None)
        unit = self.take()
        if unit.text != "s":
            self.fail(f"Expected the end of the bound, or the unit s (seconds), got {unit}.", unit)
        if self.dt is None:
            self.fail("Expected bounds in steps, got seconds; pass dt, the length of a step in seconds.", unit)
        return _Bound(token, unit)

    def steps(self, low: _Bound, high: _Bound) -> Interval:
        endless = high.token.text == "inf"
        try:
            if low.unit is not None and self.dt is not None:
                end = None if endless else float(high.token.text)
                return Interval.seconds(float(low.token.text), end, self.dt)
            return Interval(int(low.token.text), None if endless else int(high.token.text))
        except ValueError as error:
            self.fail(str(error), low.token if endless else high.token)
