"""`cairn check`: a comparison's or a search's results held against the thresholds in its config."""

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

    Of a search, the final comparison is held against `final.thresholds`.

    Examples:
      cairn check quickstart
      cairn check eureka_keycorridor
    """

    config: tyro.conf.Positional[str]
    """A packaged comparison or search, or the path of a YAML file."""
    name: str | None = None
    """Name of the experiment's folder; default is the config's."""
    runs: Path = Path("runs")
    """The folder of all experiments; searches are in its folder `search`."""


def main(arguments: Sequence[str]) -> int:
    """Print the checks; returns 1 when one fails."""
    options = tyro.cli(Check, prog="cairn check", description=getdoc(Check), args=list(arguments))

    from cairngym.experiments.check import check_comparison, render_checks

    comparison, root = load(options)
    results = check_comparison(comparison.thresholds, root / comparison.name)
    print(render_checks(results))
    foreign = _made_otherwise(comparison, root)
    for line in foreign:
        print(f"FAIL  {line}")
    return 0 if all(result.passed for result in results) and not foreign else 1


def load(options: Check) -> tuple[Comparison, Path]:
    """The comparison to hold against its thresholds, and the folder that its own is in.

    Raises:
        ConfigError: a file or key that can't be used.
        FileNotFoundError: a search that has not found a program yet.
    """
    from cairngym.experiments.config import load_comparison
    from cairngym.experiments.presets import find_config
    from cairngym.experiments.search.archive import best, read_archive
    from cairngym.experiments.search.config import is_search, load_search
    from cairngym.experiments.search.evolution import ARCHIVE

    path = find_config(options.config, "compare", "search")
    overrides = {"name": options.name} if options.name else {}
    if not is_search(path):
        return load_comparison(path, overrides), options.runs
    search = load_search(path, overrides)
    folder = options.runs / "search" / search.name
    found = best(read_archive(folder / ARCHIVE), len(search.rungs) - 1)
    if found is None:
        raise FileNotFoundError(f"Expected a search that has found a program in {folder}; run: cairn evolve {path}")
    return search.final_comparison(folder / found.source), folder


def _made_otherwise(comparison: Comparison, root: Path) -> list[str]:
    """Runs that were made with other settings than the config's, whose results therefore say nothing about it."""
    from cairngym.experiments.matrix import expand
    from cairngym.experiments.resolve import resolve
    from cairngym.experiments.runfolder import changes

    folders: dict[str, list[Path]] = {}
    for config in expand(comparison):
        found = changes(root / config.folder, resolve(config))
        if found:
            folders.setdefault("; ".join(found), []).append(config.folder)
    return [
        f"{root / first}{f' and {len(others)} more were' if others else ' was'} made with other settings: {found}"
        for found, (first, *others) in folders.items()
    ]
