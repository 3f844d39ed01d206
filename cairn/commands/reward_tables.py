"""What `cairn reward` prints: prompts, what was refused and why, and verdicts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from cairngym.commands.reward_writing import Outcome
    from cairngym.reward_shaping.llm.findings import Verdict
    from cairngym.reward_shaping.llm.messages import ChatRequest

WIDTH = 110
"""Of tables that go elsewhere than to a terminal."""


def console() -> Console:
    """Where tables go."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """`text` of a stranger without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells))


def show_prompt(request: ChatRequest, number: int, count: int, state: str = "") -> str:
    """A prompt for people: what it is, then its messages as they are sent."""
    temperature = "the model's" if request.temperature is None else f"{request.temperature:g}"
    lines = [
        f"{request.label}: prompt {number} (of 0 to {count - 1}), hash {request.hash}{state}" if count > 1
        else f"{request.label}: hash {request.hash}{state}",
        f"temperature {temperature}, at most {request.max_tokens} tokens, "
        f"{request.n} candidate{'s' * (request.n != 1)}",
    ]  # fmt: skip
    for message in request.messages:
        lines += ["", f"----- {message.role} -----", message.content]
    return "\n".join(lines)


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """A table of every attempt of every candidate: whether it was refused, and why."""
    table = _table("candidate", "round", "verdict", "why")
    for number, outcome in enumerate(outcomes):
        for place, attempt in enumerate(outcome.attempts):
            verdict = "accepted" if attempt.accepted else "refused"
            why = reason(attempt.problem) if not attempt.accepted else warnings(attempt.verdict)
            _add(table, str(number) if not place else "", str(place), verdict, why)
        if outcome.error:
            _add(table, "" if outcome.attempts else str(number), str(len(outcome.attempts)), "no answer",
                 outcome.error.splitlines()[0].removesuffix(", which begins"))  # fmt: skip
    console().print(table)


def reason(problem: str) -> str:
    """Why an attempt was refused; a caret under a line, which would not stay there in a table, is left out."""
    lines = [line.strip() for line in problem.splitlines()]
    return "\n".join(line for line in lines if line and line != "^")


def warnings(verdict: Verdict | None) -> str:
    """What was remarked of a program that was accepted all the same."""
    if verdict is None:
        return "compiled only"
    return "\n".join(f"- {item.check} (warning): {item.message}" for item in verdict.findings)


def print_verdict(verdict: Verdict) -> None:
    """Tables of what was found, and of what the components are like."""
    out = console()
    head, *_ = verdict.table().splitlines()
    out.print(Text(head.replace("**", "")))
    if verdict.findings:
        table = _table("", "check", "finding")
        for item in verdict.findings:
            _add(table, item.severity, item.check, item.message)
        out.print()
        out.print(table)
    if verdict.statistics:
        table = _table("component", "mean", "std", "min", "max", "share", "rank correlation with progress")
        for row in verdict.statistics:
            spread = (f"{value:.4g}" for value in (row.mean, row.std, row.minimum, row.maximum))
            _add(table, row.name, *spread, f"{row.share:.0%}", f"{row.correlation:+.2f}")
        out.print()
        out.print(table)
    for entry in verdict.unchecked:
        out.print(Text(f"Not checked: {printable(entry)}"))
