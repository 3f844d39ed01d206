"""Several robots of one kind: identify each, and say what they have in common and by how much they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.envs.strict_yaml import build, load_yaml
from cairngym.sim2real.identification.collecting import collect, collect_played
from cairngym.sim2real.identification.config import IdentificationConfig, parse_config
from cairngym.sim2real.identification.excitation import Excitation, Limits, design
from cairngym.sim2real.identification.fit import Estimate
from cairngym.sim2real.identification.oracle_excitation import OracleConfig, OraclePlayer
from cairngym.sim2real.identification.plant import Plant, load_plant
from cairngym.sim2real.identification.presets import ERRORS, presets
from cairngym.sim2real.identification.run import Outcome, identify_logs
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.events import SensorNoise
from cairngym.sim2real.robot import LockstepRobot, RobotLog

Logs = Sequence[tuple[str, RobotLog]]
Play = Callable[[LockstepRobot], RobotLog]


@dataclass(frozen=True, kw_only=True)
class ExcitationConfig:
    """Sines that are designed to be played on each robot; see `design`."""

    duration_s: float
    """Length of one excitation, s."""
    logs: int = 3
    """Excitations, the last of which is held back."""
    frequencies: tuple[float, float] = (0.2, 2.0)
    """Lowest and highest of the sines, Hz."""
    sines: int = 4
    """Sines for each command."""
    amplitude: float = 0.8
    """The share of the command's range, on either side of its centre, that may be used."""
    center: tuple[float, ...] = ()
    """What the commands swing about; none is rest."""
    candidates: int = 6
    """Excitations tried in each of three rounds of the search."""


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """Which model its robots are nominally, what differs, and what is played to find out."""

    model: str
    """An env id, or a MuJoCo file."""
    excitation: ExcitationConfig | OracleConfig
    """What is played on each robot: sines, or the oracle of the model's task."""
    identification: IdentificationConfig
    sensors: tuple[str, ...] = ()
    """Channels of the robots that are state fields too: their noise goes into the presets, also where nothing of the
    model is said to be what they measure."""
    spread: float = 0.0
    """Least half width of the ranges, as a part of the estimates."""
    deviations: float = ERRORS
    """Standard deviations that ranges cover on either side."""
    description: str = ""

    def __post_init__(self) -> None:
        if self.deviations < 0:
            raise ValueError(f"Expected deviations >= 0, got {self.deviations}.")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What identifying several robots came to."""

    outcomes: Mapping[str, Outcome]
    """By robot."""
    estimates: tuple[Estimate, ...]
    """Means over the robots; `error` holds the deviation between robots and of the estimates together."""
    identified: RandomizationConfig
    """The means."""
    identified_randomized: RandomizationConfig
    """Ranges around them."""
    noise: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Mean standard deviation of the noise by sensor."""


def load_fleet_config(path: str | Path) -> FleetConfig:
    """Read a YAML file.

    Raises:
        ValueError: it can't be read, or an entry is wrong; the message names the file, the place and the nearest key.
    """
    source = str(path)
    data = dict(load_yaml(Path(path)))
    for key in data:
        if key not in FleetConfig.__dataclass_fields__:
            raise ValueError(f"{source}: {unknown_name('key', str(key), FleetConfig.__dataclass_fields__)}")
    for key in ("model", "excitation", "identification"):
        if key not in data:
            raise ValueError(f"{source}: {key}: expected it, got nothing.")
    excitation = _excitation(data.pop("excitation"), source)
    identification = parse_config(data.pop("identification"), f"{source}: identification")
    data["sensors"] = tuple(data.get("sensors", ()))
    return FleetConfig(excitation=excitation, identification=identification, **data)


def _excitation(data: Any, source: str) -> ExcitationConfig | OracleConfig:
    kinds: dict[str, type[ExcitationConfig] | type[OracleConfig]] = {"sines": ExcitationConfig, "oracle": OracleConfig}
    entry = dict(data) if isinstance(data, Mapping) else data
    kind = str(entry.pop("kind", "sines")) if isinstance(entry, dict) else "sines"
    if kind not in kinds:
        raise ValueError(f"{source}: excitation.kind: {unknown_name('kind of excitation', kind, kinds)}")
    return build(kinds[kind], entry, source=source, path="excitation")


def excitations(asked: ExcitationConfig, what: IdentificationConfig, plant: Plant) -> list[Excitation]:
    """The sines to play, informative under the nominal model."""
    return [
        design(
            plant, what.parameters, what.measurements, duration_s=asked.duration_s, frequencies=asked.frequencies,
            sines=asked.sines, candidates=asked.candidates, seed=seed,
            limits=Limits(amplitude=asked.amplitude, center=asked.center),
        )
        for seed in range(asked.logs)
    ]  # fmt: skip


@contextmanager
def players(config: FleetConfig, plant: Plant) -> Iterator[list[Play]]:
    """What is played on each robot, log by log.

    Raises:
        UnknownNameError: an oracle is asked for, and the model's task has none.
        ValueError: an excitation that can't be designed, or an oracle that can't play on a robot.
    """
    asked = config.excitation
    if isinstance(asked, ExcitationConfig):
        yield [partial(collect, excitation=plan) for plan in excitations(asked, config.identification, plant)]
        return
    with closing(OraclePlayer(config.model, asked)) as player:

        def play(robot: LockstepRobot, number: int) -> RobotLog:
            player.begin(number)
            return collect_played(robot, player, duration_s=asked.duration_s, meta={"excitation_seed": asked.seed})

        yield [partial(play, number=number) for number in range(asked.logs)]


def identify_fleet(
    config: FleetConfig,
    robots: Mapping[str, Callable[[], LockstepRobot]],
    tell: Callable[[str, Outcome, Logs], None] = lambda *_: None,
) -> Fleet:
    """Play alike on every robot, identify each alone, and take them together.

    Args:
        config: model, excitation, parameters.
        robots: makes a connection to each, by name.
        tell: called with each robot's name, outcome and logs as soon as it is identified.

    Raises:
        UnknownNameError: a sensor that a robot lacks, or a task without the oracle that is asked for.
        ValueError: no robots.
        RobotError: one is gone.
    """
    if not robots:
        raise ValueError("Expected at least one robot, got none.")
    plant = load_plant(config.model, config.identification.command.scale, config.identification.command.offset)
    with next(iter(robots.values()))() as robot:  # before minutes of designing
        for sensor in config.sensors:
            robot.spec.sensor(sensor)
    outcomes: dict[str, Outcome] = {}
    with players(config, plant) as plays:
        for name, connect in robots.items():
            with connect() as robot:
                logs = [(f"log {number}", play(robot)) for number, play in enumerate(plays)]
            outcomes[name] = identify_logs(plant, config.identification, logs)
            tell(name, outcomes[name], logs)
    return together(config, outcomes)


def together(config: FleetConfig, outcomes: Mapping[str, Outcome]) -> Fleet:
    """Means over robots, and ranges of deviations on either side: those between robots and of the estimates."""
    every = list(outcomes.values())
    estimates = tuple(
        _mean([outcome.found.estimates[i] for outcome in every]) for i in range(len(every[0].found.estimates))
    )
    exact, ranged = presets(replace(every[0].found, estimates=estimates), config.spread, config.deviations)
    noise = {name: _noise(every, name) for name in config.sensors}
    sensing = tuple(
        SensorNoise(field=name, component=k if len(stds) > 1 else None, std=float(f"{std:.3g}"))
        for name, stds in noise.items()
        for k, std in enumerate(stds)
    )
    of = f"{len(every)} robots"
    return Fleet(
        outcomes=outcomes, estimates=estimates, noise=noise,
        identified=replace(
            exact, description=f"Means of what was identified on {of}.", events=exact.events + sensing
        ),
        identified_randomized=replace(
            ranged, events=ranged.events + sensing,
            description=f"Means of what was identified on {of}, ranges {2 * config.deviations:g} deviations wide.",
        ),
    )  # fmt: skip


def _mean(own: Sequence[Estimate]) -> Estimate:
    """One number of several robots; identified where it is on all of them, so that none is guessed."""
    first = own[0]
    if not all(one.identified for one in own):
        return replace(first, value=first.nominal, error=float("inf"), identified=False)
    values = np.array([one.value for one in own])
    between = values.var(ddof=1) if len(values) > 1 else 0.0
    error = float(np.sqrt(between + np.mean([one.error**2 for one in own])))
    mean = float(values.mean())
    interval = (max(first.low, mean - ERRORS * error), min(first.high, mean + ERRORS * error))
    return replace(first, value=mean, error=error, interval=interval, at_bound=any(one.at_bound for one in own))


def _noise(outcomes: Sequence[Outcome], channel: str) -> tuple[float, ...]:
    return tuple(float(value) for value in np.mean([outcome.noise[channel] for outcome in outcomes], axis=0))


def summary(fleet: Fleet) -> dict[str, Any]:
    """As plain data."""
    return {
        "robots": list(fleet.outcomes),
        "estimates": [
            {
                "label": one.label, "unit": one.unit, "nominal": one.nominal, "identified": one.identified,
                "mean": one.value, "deviation": one.error if np.isfinite(one.error) else None,
                "of_each": [outcome.found.estimate(one.label).value for outcome in fleet.outcomes.values()],
            }
            for one in fleet.estimates
        ],
        "held_out_in_noise": {
            name: {"nominal": outcome.nominal.in_noise(), "identified": outcome.identified.in_noise()}
            for name, outcome in fleet.outcomes.items()
        },
        "noise": {name: list(stds) for name, stds in fleet.noise.items()},
    }  # fmt: skip


def write_summary(fleet: Fleet, path: Path) -> None:
    """Write `summary` as JSON."""
    path.write_text(json.dumps(summary(fleet), indent=2) + "\n", encoding="utf-8")
