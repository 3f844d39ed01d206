"""`cairn check`: a comparison's results held against the thresholds in its config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from cairngym.experiments.config import Comparison


@dataclass(frozen=True, kw_only=True)
class Check:
    """Hold the results of a comparison against the thresholds in its config; the exit code is 1 where one is missed.

    Example:
      cairn check quickstart
    """

    config: tyro.conf.Positional[str]
    """A packaged comparison or the path of a YAML file."""
    name: str | None = None
    """Name of the experiment's folder; default is the config's."""
    runs: Path = Path("runs")
    """The folder of all experiments."""


def main(arguments: Sequence[str]) -> int:
    """Print the checks; returns 1 when one fails."""
    options = tyro.cli(Check, prog="cairn check", description=getdoc(Check), args=list(arguments))

    from cairngym.experiments.check import check_comparison, render_checks
    from cairngym.experiments.config import load_comparison
    from cairngym.experiments.presets import find_config

    path = find_config(options.config)
    comparison = load_comparison(path, {"name": options.name} if options.name else {})
    results = check_comparison(comparison.thresholds, options.runs / comparison.name)
    print(render_checks(results))
    foreign = _made_otherwise(comparison, options.runs)
    for line in foreign:
        print(f"FAIL  {line}")
    return 0 if all(result.passed for result in results) and not foreign else 1


def _made_otherwise(comparison: Comparison, root: Path) -> list[str]:
    """Runs that were made with other settings than the config's, whose results therefore say nothing about it."""
    from cairngym.experiments.config import expand
    from cairngym.experiments.resolve import resolve
    from cairngym.experiments.runfolder import changes

    pairs = [(config.folder, changes(root / config.folder, resolve(config))) for config in expand(comparison)]
    return [f"{root / folder} was made with other settings: {'; '.join(found)}" for folder, found in pairs if found]
