"""`cairn bench`: how fast the worlds step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure env steps a second of our worlds, side by side with others where they are installed.

    What follows the name is handed to the benchmark; `cairn bench minigrid --help` explains it.

    Example:
      cairn bench minigrid
    """

    what: Annotated[Literal["minigrid"], tyro.conf.Positional] = "minigrid"
    """Which worlds."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark named first and hand it the other arguments."""
    named = bool(arguments) and not arguments[0].startswith("-")
    alone = not named and any(argument in ("-h", "--help") for argument in arguments)
    tyro.cli(Bench, prog="cairn bench", description=getdoc(Bench), args=list(arguments if alone else arguments[:named]))

    from cairngym.experiments.benchmark import main as benchmark

    return benchmark(list(arguments[named:])) or 0
