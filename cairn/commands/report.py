"""`cairn report`: the report of a comparison, rebuilt from its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Report:
    """Rebuild report.html, report.md and results.csv from the files of an experiment, finished or not.

    Examples:
      cairn report runs/quickstart
      cairn report runs/quickstart --to results/quickstart
    """

    folder: tyro.conf.Positional[Path]
    """The experiment's folder: the one that holds comparison.yaml."""
    to: Path | None = None
    """Write the report into this folder instead, without links to the runs, to be kept or published without them."""


def main(arguments: Sequence[str]) -> int:
    """Write the report."""
    options = tyro.cli(Report, prog="cairn report", description=getdoc(Report), args=list(arguments))

    from cairngym.experiments.report import write_report

    paths = write_report(options.folder, options.to)
    print(f"Report: {paths.html.resolve()}")
    return 0
