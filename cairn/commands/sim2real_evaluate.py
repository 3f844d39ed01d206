"""`cairn sim2real evaluate`: trained runs in simulation and on hidden twins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Play trained runs in simulation and on hidden twins, and report the gap.

    For each task it writes report.md, episodes.csv and pictures: success with exact binomial intervals, the drop from
    simulation to twins, every twin by itself, whether simulation ranks the policies rightly (MMRV, Pearson), and how
    many trials a sequential test would have needed to tell each policy from the baseline's.

    Examples:
      cairn sim2real evaluate runs/sim2real
      cairn sim2real evaluate runs/sim2real/Quadrotor-v0 --units 16 --episodes 128 --sweep
      cairn sim2real evaluate runs/adhoc/PointMaze_UMaze-v3 --fleet point_maze --pair body_mass "action delay"
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished runs, or folders that hold such."""
    fleet: str | None = None
    """A packaged fleet or the path of a YAML file; default is the one the runs were evaluated on while training."""
    fleet_seed: int | None = None
    """Of the twins' hidden parameters; default is that of the runs' evaluation, or 0."""
    units: int | None = None
    """How many twins: units 0, 1, … of the fleet; default is as in the runs' evaluation, or 8."""
    excluded: tuple[int, ...] = ()
    """Units that identification has seen: they are refused."""
    episodes: int = 64
    """On each twin; simulation gets as many as all twins together."""
    baseline: str | None = None
    """The variant that the others are held against; default is "nominal", or the first."""
    sampled: Flag = False
    """Sample actions, as while training, instead of playing the likeliest."""
    sweep: Flag = False
    """Sweep every parameter of the fleet with one policy of each variant."""
    pair: tuple[str, ...] = ()
    """Two parameters, by parts of their names, to draw heat maps of success over."""
    points: int = 7
    """Values of each parameter in a sweep."""
    sweep_episodes: int = 32
    """Episodes at each value."""
    seed: int = 2_000_003
    """Of the episodes."""
    out: Path | None = None
    """The folder for the reports; default is sim2real in the first folder given."""


def main(config: Evaluate) -> int:
    """Play, report, and print the rates; returns 0."""
    from cairngym.envs.strict_yaml import ConfigError
    from cairngym.experiments.transfer import TransferConfig, evaluate_runs, find_runs

    if not config.runs:
        raise ConfigError("Which runs? Give a run's folder, or one that holds runs, e.g. runs/sim2real.")
    options = TransferConfig(
        fleet=config.fleet, fleet_seed=config.fleet_seed, units=config.units, excluded=config.excluded,
        episodes=config.episodes, baseline=config.baseline, sampled=config.sampled, sweep=config.sweep,
        pair=config.pair, points=config.points, sweep_episodes=config.sweep_episodes, seed=config.seed,
    )  # fmt: skip
    found = evaluate_runs(find_runs(config.runs), config.out or config.runs[0] / "sim2real", options)
    for task, one in found.items():
        print(f"\n{task}")
        for gap in one.gaps:
            print(f"  {gap.variant:<24} simulation {gap.sim.text}  twins {gap.twins.text}  drop {gap.drop.text}")
        if one.agreement is not None:
            print(f"  MMRV {one.agreement.mmrv.text}  Pearson {one.agreement.pearson.text}")
    return 0
