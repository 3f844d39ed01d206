"""Trained runs on hidden twins: finds runs, loads their policies, plays them, and writes what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import RunConfig, WrapperConfig, load_run
from cairngym.experiments.trained import RANDOMIZATION, load_trained
from cairngym.sim2real.evaluation import SEED, Fleet, Played, Policy, evaluate_policy
from cairngym.sim2real.gap import GapStudy, study
from cairngym.sim2real.gap_figures import draw_pair, draw_study, draw_sweeps
from cairngym.sim2real.gap_report import write_report
from cairngym.sim2real.randomization.fixed import Parameter
from cairngym.sim2real.sweeps import Sweep, model_of, pair_sweep, parameters, sweep
from cairngym.sim2real.twin.fleets import load_fleet

UNITS = 8
"""Twins to play on where nothing says how many."""
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """What to play, and on what."""

    fleet: str | None = None
    """A packaged fleet or the path of a YAML file; None: the one the runs were evaluated on while training."""
    fleet_seed: int | None = None
    """Hidden: of the twins' startup draws; None: as in the runs' evaluation, or 0."""
    units: int | None = None
    """How many twins: units 0, 1, … of the fleet; None: as in the runs' evaluation, or 8."""
    episodes: int = 64
    """On each twin; simulation gets as many as all twins together."""
    excluded: tuple[int, ...] = ()
    """Units that identification has seen; they are refused."""
    baseline: str | None = None
    """The variant that the others are held against; None: "nominal" where it was trained, or the first."""
    sampled: bool = False
    """Sample actions, as while training, instead of playing the likeliest."""
    sweep: bool = False
    """Sweep the parameters of the fleet with one policy of every variant."""
    pair: tuple[str, ...] = ()
    """Two parameters of the sweep, by parts of their names, to draw heat maps of."""
    points: int = 7
    """Values of each parameter in a sweep."""
    sweep_episodes: int = 32
    """At each value."""
    seed: int = SEED
    """Of the episodes."""


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Finished runs in the given folders: run folders themselves, or folders of runs at any depth.

    Raises:
        ConfigError: a folder that holds none.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(path.parent for path in place.rglob("summary.json"))
        inside = [run for run in inside if not any(part.startswith(".") for part in run.relative_to(place).parts)]
        if not inside:
            raise ConfigError(
                f"Expected finished runs in {place}, got none. Give a run's folder, or one that holds runs."
            )
        found += inside
    return list(dict.fromkeys(found))


def load_policy(run: Path) -> tuple[RunConfig, Policy]:
    """The policy of a run's checkpoint, and its config.

    Raises:
        ConfigError: the folder holds no config, no checkpoint, or one that can't be used.
    """
    trained = load_trained(run)
    config = trained.config
    policy = Policy(
        variant=config.variant, seed=config.seed, agent=trained.agent, make_sim=trained.make_nominal, wrap=trained.wrap
    )
    return config, policy


def fleet_of(config: RunConfig, options: TransferConfig) -> Fleet:
    """The twins to play on: those asked for, or those of the run's own evaluation.

    Raises:
        ConfigError: no fleet is named, and the run was not evaluated on one.
        UnknownNameError, ValueError: a preset that is not there, or units that can't be used.
    """
    own = _own_fleet(config.evaluation.wrappers or ())
    if options.fleet is None and "config" not in own:
        raise ConfigError(
            f"Which fleet? The run {config.folder} was not evaluated on one; give --fleet, e.g. --fleet point_maze."
        )
    fleet = own["config"] if options.fleet is None else load_fleet(options.fleet)
    seed = own.get("seed") if options.fleet_seed is None else options.fleet_seed
    units = (own.get("units") or range(UNITS)) if options.units is None else range(options.units)
    return Fleet.named(fleet, seed=0 if seed is None else seed, units=tuple(units), excluded=options.excluded)


def _own_fleet(wrappers: Sequence[WrapperConfig]) -> Mapping[str, Any]:
    return next((wrapper.options for wrapper in wrappers if wrapper.name == RANDOMIZATION), {})


def evaluate_runs(
    runs: Sequence[Path], output: Path, options: TransferConfig, *, tell: Tell = print
) -> dict[str, GapStudy]:
    """Play every run in simulation and on the twins; write a report for each task.

    Args:
        runs: folders of finished runs.
        output: a folder for each task is made in it.
        options: what to play, and on what.
        tell: takes lines for people.

    Returns:
        What was found, by task.

    Raises:
        ConfigError: a run that can't be loaded, or no fleet.
        ValueError: units that can't be used.
    """
    groups: dict[str, list[Path]] = {}
    for run in runs:
        groups.setdefault(load_run(run / "config.yaml").task, []).append(run)
    return {
        task: _evaluate_task(task, places, output / task.replace("/", "__"), options, tell)
        for task, places in groups.items()
    }


def _evaluate_task(task: str, runs: Sequence[Path], folder: Path, options: TransferConfig, tell: Tell) -> GapStudy:
    played: list[Played] = []
    shown: dict[str, tuple[RunConfig, Policy]] = {}
    for count, run in enumerate(runs, start=1):
        config, policy = load_policy(run)
        with torch.random.fork_rng():  # policies that sample from torch's own generator must not depend on their order
            torch.manual_seed(options.seed)
            fleet = fleet_of(config, options)
            one = evaluate_policy(
                policy, fleet, episodes=options.episodes, seed=options.seed,
                success=config.evaluation.success, deterministic=not options.sampled,
            )  # fmt: skip
        played.append(one)
        shown.setdefault(policy.variant, (config, policy))
        tell(f"[{count}/{len(runs)}] {task} {one.name}: simulation {one.sim.mean():.0%}, twins {one.twins.mean():.0%}")
    variants = list(dict.fromkeys(one.variant for one in played))
    baseline = options.baseline or ("nominal" if "nominal" in variants else variants[0])
    found = study(task, fleet.units, played, baseline=baseline)
    pictures = draw_study(found, folder)
    sweeps: list[Sweep] = []
    if options.sweep or options.pair:
        sweeps, more = _robustness(shown, fleet, folder, options, tell)
        pictures += more
    write_report(found, folder, sweeps=sweeps, pictures=pictures)
    tell(f"Report: {(folder / 'report.md').resolve()}")
    return found


def _robustness(
    shown: Mapping[str, tuple[RunConfig, Policy]], fleet: Fleet, folder: Path, options: TransferConfig, tell: Tell
) -> tuple[list[Sweep], list[Path]]:
    """Sweeps of the fleet's parameters, and heat maps of a pair, with the first policy of every variant."""
    model = model_of(next(iter(shown.values()))[1])
    swept = parameters(fleet.config, model, points=options.points)
    pictures: list[Path] = []
    sweeps: list[Sweep] = []
    if options.sweep and swept:
        for config, policy in shown.values():
            tell(f"Sweeping {len(swept)} parameters with {policy.name}")
            success = config.evaluation.success
            sweeps += [
                sweep(policy, one, episodes=options.sweep_episodes, seed=options.seed, success=success) for one in swept
            ]
        pictures.append(draw_sweeps(sweeps, folder / "sweeps.png"))
    if options.pair:
        pair = _pair(swept, options.pair)
        maps = [
            pair_sweep(policy, pair, episodes=options.sweep_episodes, seed=options.seed,
                       success=config.evaluation.success)
            for config, policy in shown.values()
        ]  # fmt: skip
        pictures.append(draw_pair(maps, folder / "pair.png"))
    return sweeps, pictures


def _pair(swept: Sequence[Parameter], names: Sequence[str]) -> tuple[Parameter, Parameter]:
    """The two parameters whose names hold the given texts."""
    found = [[parameter for parameter in swept if name in parameter.name] for name in names]
    if len(names) != 2 or any(len(matches) != 1 for matches in found):
        raise ConfigError(
            f"Expected --pair with two texts that each stand in the name of one parameter, got {list(names)}. "
            f"Parameters: {'; '.join(parameter.name for parameter in swept)}."
        )
    return found[0][0], found[1][0]
