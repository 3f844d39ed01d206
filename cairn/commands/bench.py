"""`cairn bench`: how fast the worlds step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure env steps a second of our worlds, side by side with others where they are installed.

    Options that follow the name are the benchmark's own; `cairn bench minigrid --help` explains them.

    Examples:
      cairn bench minigrid
      cairn bench physics --out benchmarks/results/physics_cpu.json
    """

    what: Annotated[str, tyro.conf.Positional] = "minigrid"
    """Which benchmark."""


def main(arguments: Sequence[str]) -> int:
    """Hand the arguments to the benchmark they name."""
    if list(arguments) in (["-h"], ["--help"]):
        tyro.cli(Bench, prog="cairn bench", description=getdoc(Bench), args=list(arguments))

    from cairngym.experiments.benchmark import main as benchmark

    return benchmark(arguments) or 0
