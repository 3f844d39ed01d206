"""`cairn bench`: how fast the worlds step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

What = Annotated[Literal["minigrid"], tyro.conf.Positional]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark named first and hand it the other arguments."""
    head, rest = list(arguments[:1]), list(arguments[1:])
    if not head or head[0].startswith("-"):
        head, rest = ["minigrid"] if head and head[0] not in ("-h", "--help") else head or ["minigrid"], list(arguments)
    tyro.cli(What, prog="cairn bench", description=_DESCRIPTION, args=head)

    from cairngym.experiments.benchmark import main as benchmark

    return benchmark(rest) or 0


_DESCRIPTION = """Measure steps per second of our worlds, side by side with others where they are installed.

Example: cairn bench minigrid"""
