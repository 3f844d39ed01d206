"""`cairn sim2real fleet`: identify several robots of one kind, and propose what to train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from cairngym.envs.checks import unknown_name

if TYPE_CHECKING:
    from cairngym.sim2real.identification.run import Outcome
    from cairngym.sim2real.robot import LockstepRobot

ROBOTS = "cairngym.configs.sim2real.robots"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Identify several twins of a fleet alike, and write presets of what they have in common and how they differ.

    Every unit is excited alike, each is identified alone, and the output folder gets
    identified/NAME.yaml (the means), identified_randomized/NAME.yaml (deviations around them), identified/NAME.json
    and, with --reports, a report of each unit.

    Example:
      cairn sim2real fleet point_maze --units 100 101 102 --output found
    """

    robot: tyro.conf.Positional[str]
    """A packaged robot, or a YAML file of your own: model, excitation, measurements, parameters."""
    fleet: str | None = None
    """Whose units are identified; default is the fleet of the robot's name."""
    units: tuple[int, ...] = (100, 101, 102)
    """Which of them; keep those that policies are judged on out of it."""
    fleet_seed: int = 20251
    """Seed of the hidden parameters."""
    output: Path
    """The folder for the presets."""
    reports: Path | None = None
    """A folder for reports, one a unit."""


def main(config: Fleet) -> int:
    """Identify, print, write; returns 1 where no parameter could be identified on all units."""
    from cairngym.sim2real.identification.fleet import identify_fleet, load_fleet_config, write_summary
    from cairngym.sim2real.identification.report import write_report
    from cairngym.sim2real.randomization.config import save_config

    name = Path(config.robot).stem
    with resources.as_file(resources.files(ROBOTS)) as packaged:
        asked = load_fleet_config(_path(config.robot, Path(packaged)))
    robots: dict[str, Callable[[], LockstepRobot]] = {
        f"unit {unit}": partial(_connect, asked.model, config.fleet or name, unit, config.fleet_seed)
        for unit in config.units
    }

    def tell(robot: str, outcome: Outcome, logs: object) -> None:
        del logs
        print(f"{robot}: held-out error in standard deviations of the noise: nominal "
              f"{outcome.nominal.in_noise():.3g}, identified {outcome.identified.in_noise():.3g}")  # fmt: skip
        if config.reports is not None:
            write_report(outcome, config.reports / robot.replace(" ", "_"))

    fleet = identify_fleet(asked, robots, tell)
    for kind, preset in (("identified", fleet.identified), ("identified_randomized", fleet.identified_randomized)):
        folder = config.output / kind
        folder.mkdir(parents=True, exist_ok=True)
        save_config(preset, folder / f"{name}.yaml")
    write_summary(fleet, config.output / "identified" / f"{name}.json")
    for one in fleet.estimates:
        known = f"{one.value:.5g} +- {one.error:.2g}" if one.identified else "not identifiable on all units"
        print(f"{one.label} [{one.unit}]: {known} (nominal {one.nominal:.5g})")
    return 0 if any(one.identified for one in fleet.estimates) else 1


def _path(robot: str, packaged: Path) -> Path:
    """The file of a robot.

    Raises:
        UnknownNameError: no packaged robot of that name.
    """
    if Path(robot).suffix:
        return Path(robot)
    known = sorted(file.stem for file in packaged.glob("*.yaml"))
    if robot not in known:
        raise unknown_name("robot", robot, known)
    return packaged / f"{robot}.yaml"


def _connect(model: str, fleet: str, unit: int, seed: int) -> LockstepRobot:
    from cairngym.sim2real.simulated import SimulatedRobot
    from cairngym.sim2real.twin.fleets import load_fleet

    return SimulatedRobot(model, randomization=load_fleet(fleet), unit=unit, randomization_seed=seed)
