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

    Example:
      cairn report runs/quickstart
    """

    folder: tyro.conf.Positional[Path]
    """The experiment's folder: the one that holds comparison.yaml."""


def main(arguments: Sequence[str]) -> int:
    """Write the report."""
    options = tyro.cli(Report, prog="cairn report", description=getdoc(Report), args=list(arguments))

    from cairngym.experiments.report import write_report

    write_report(options.folder)
    print(f"Report: {(options.folder / 'report.html').resolve()}")
    return 0
