"""`cairn compare`: tasks x variants x seeds, and the report on them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from cairngym.experiments.config import Comparison


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Run every task x variant x seed of a comparison that has not run yet, then write its report.

    Stopped with Ctrl-C, or by a crash, it goes on where it stopped when given again.

    Examples:
      cairn compare quickstart
      cairn compare quickstart --seeds 5 --workers 2
      cairn compare my_comparison.yaml --steps 5e6 --set agent.learning_rate=3e-4
    """

    config: tyro.conf.Positional[str]
    """A packaged comparison (quickstart, minigrid) or the path of a YAML file."""
    name: str | None = None
    """Name of the experiment's folder; default is the config's."""
    seeds: int | None = None
    """How many seeds; default is the config's."""
    steps: float | None = None
    """Env steps of every run, e.g. 2e6; default is the config's."""
    tasks: tuple[str, ...] = ()
    """Only these tasks."""
    variants: tuple[str, ...] = ()
    """Only these variants."""
    device: str | None = None
    """"cpu" or "cuda"."""
    workers: int | None = None
    """Runs at a time; default is one per core."""
    runs: Path = Path("runs")
    """The folder of all experiments."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Move runs that were made with other settings aside and run them anew."""
    wandb: Literal["off", "offline", "online"] | None = None
    """Mirror metrics to Weights & Biases."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Mirror metrics to TensorBoard."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Override any key of the config: --set agent.gamma=0.995; may be given often, the last wins."""


def main(arguments: Sequence[str]) -> int:
    """Compare; returns 1 when a run failed."""
    options = tyro.cli(Compare, prog="cairn compare", description=getdoc(Compare), args=list(arguments))

    from cairngym.experiments.compare import compare
    from cairngym.experiments.launcher import LocalPool

    comparison = load(options)
    command = shlex.join(["cairn", "compare", *arguments])
    launcher = LocalPool(options.workers)
    try:
        outcome = compare(comparison, options.runs, launcher=launcher, fresh=options.fresh, command=command)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Nothing is lost; go on with: {command}") from None
    return 1 if outcome.failed else 0


def load(options: Compare) -> Comparison:
    """Read the comparison and lay the command line over it.

    Raises:
        ConfigError: a file, key or value that can't be used.
        UnknownNameError: a task or variant that the comparison does not have.
    """
    from cairngym.experiments.config import load_comparison
    from cairngym.experiments.matrix import choose_seeds, only
    from cairngym.experiments.overlay import merge, parse_overrides
    from cairngym.experiments.presets import find_config

    path = find_config(options.config)
    overrides: dict[str, Any] = {key: getattr(options, key) for key in ("name", "steps", "device")}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    sinks = {"wandb": options.wandb, "tensorboard": options.tensorboard or None}
    overrides["sinks"] = {key: value for key, value in sinks.items() if value is not None}
    comparison = load_comparison(path, merge(overrides, parse_overrides(options.set)))
    if options.steps is not None:
        tasks = tuple(replace(task, steps=None) for task in comparison.tasks)
        comparison = replace(comparison, tasks=tasks)
    if options.seeds is not None:
        comparison = replace(comparison, seeds=choose_seeds(comparison.seeds, options.seeds))
    return only(comparison, options.tasks, options.variants)
