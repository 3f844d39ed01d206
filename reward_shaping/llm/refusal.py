"""What is raised when a program may not run, or runs and fails."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from cairngym.envs.checks import unknown_name


class ProgramRefused(ValueError):  # noqa: N818 (the name says who acted: the compiler, before anything ran)
    """A program was not compiled; nothing of it has run.

    Attributes:
        reason: one sentence, fit for a repair prompt.
        line: of the source, from 1; None where the fault has no place.
        column: of that line, from 1.
        excerpt: the line itself.
    """

    def __init__(self, reason: str, line: int | None = None, column: int | None = None, excerpt: str = "") -> None:
        super().__init__(reason, line, column, excerpt)
        self.reason, self.line, self.column, self.excerpt = reason, line, column, excerpt

    def __str__(self) -> str:
        if self.line is None:
            return self.reason
        place = f"line {self.line}, column {self.column}: {self.reason}"
        return f"{place}\n    {self.excerpt}\n    {' ' * ((self.column or 1) - 1)}^" if self.excerpt else place

    def within(self, source: str) -> ProgramRefused:
        """The same refusal with the line it points at, and the column counted in characters of it."""
        lines = source.splitlines()
        if self.line is None or self.excerpt or not 1 <= self.line <= len(lines):
            return self
        line = lines[self.line - 1]
        before = line.encode("utf-8", "replace")[: max(0, (self.column or 1) - 1)].decode("utf-8", "ignore")
        return ProgramRefused(self.reason, self.line, len(before) + 1, line[:200])


class ProgramFailed(RuntimeError):  # noqa: N818
    """A compiled program could not be evaluated on a batch; its memory is as it was before.

    Attributes:
        reason: one sentence, fit for a repair prompt.
        line: of the source, from 1; None where the fault has no place.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason, line)
        self.reason, self.line = reason, line

    def __str__(self) -> str:
        return self.reason if self.line is None else f"line {self.line}: {self.reason}"


def refuse(node: ast.AST | None, reason: str) -> ProgramRefused:
    """A refusal that points at `node`; columns are bytes until `ProgramRefused.within` counts characters."""
    column = getattr(node, "col_offset", None)
    return ProgramRefused(reason, getattr(node, "lineno", None), None if column is None else column + 1)


def unknown(kind: str, name: str, valid: Iterable[Any]) -> str:
    """The reason for a name that does not exist, with the nearest ones that do."""
    return str(unknown_name(kind, name, map(str, valid)))
