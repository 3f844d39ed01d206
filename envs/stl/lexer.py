"""Text of formulas cut into tokens, and the error that points into it."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<symbol>->|&&|\|\||[-&|!~()\[\],])"
)
_MAX_DIGITS = 20
_SHOWN = 50  # characters shown on each side of an error


class FormulaError(ValueError):
    """Text that is no formula. Its message ends with the line of text and a caret under the character.

    Attributes:
        message: what was expected and what came.
        text: the whole text.
        position: index of the character, `len(text)` for the end.
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        super().__init__(message, text, position)
        self.message, self.text, self.position = message, text, position

    def __str__(self) -> str:
        start = self.text.rfind("\n", 0, self.position) + 1
        line = self.text[start:].split("\n", 1)[0]
        column = self.position - start
        first = max(0, column - _SHOWN)
        shown = "".join(c if c.isprintable() else " " for c in line[first : column + _SHOWN])
        before, after = "…" * (first > 0), "…" * (column + _SHOWN < len(line))
        return f"{self.message}\n  {before}{shown}{after}\n  {' ' * (len(before) + column - first)}^"


class Token(NamedTuple):
    """A piece of text.

    Attributes:
        kind: `name`, `number`, `symbol` or `end`.
        text: its characters, none at the end.
        position: index of its first character.
    """

    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return repr(self.text) if self.text else "the end of the text"


def tokens(text: str) -> list[Token]:
    """The tokens of `text` and one for its end.

    Raises:
        FormulaError: a character that is part of none, or a number too long.
    """
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise FormulaError(_unreadable(text[position]), text, position)
        kind = str(match.lastgroup)
        if kind == "number" and len(match[0]) > _MAX_DIGITS:
            raise FormulaError(f"Expected numbers of up to {_MAX_DIGITS} digits.", text, position)
        if kind != "space":
            found.append(Token(kind, match[0], position))
        position = match.end()
    return [*found, Token("end", "", len(text))]


def _unreadable(character: str) -> str:
    if character in "<>=":
        return f"Expected names of predicates, got {character!r}; comparisons belong in the margin of a predicate."
    return f"Expected names, numbers, brackets and operators, got {character!r}."
