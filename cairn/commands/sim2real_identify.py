"""`cairn sim2real identify`: parameters of a model from logs of its robot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from cairngym.sim2real.identification.config import IdentificationConfig
    from cairngym.sim2real.identification.run import Outcome
    from cairngym.sim2real.robot import RobotLog


@dataclass(frozen=True, kw_only=True)
class Identify:
    """Fit parameters of a model to logs; say how sure they are, what the logs do not tell, and how well they predict.

    Logs are CSV or MCAP files, folders of LeRobot v3 datasets, flight logs, or Minari datasets (minari:ID). The output
    folder gets report.html, identification.json, and the presets identified.yaml and identified_randomized.yaml.
    Exits with 1 where no parameter could be identified.

    Examples:
      cairn sim2real identify drive_1.csv drive_2.csv --model DifferentialDrive-v0 --config drive.yaml --output found
      cairn sim2real identify flight.log --model arm.xml --config arm.yaml --output found --spread 0.1
    """

    logs: tyro.conf.Positional[tuple[str, ...]]
    """What the robot measured; the last is held back where there are several."""
    model: str
    """The nominal model: an env id, or a MuJoCo file (.xml, .mjb)."""
    config: Path
    """YAML: parameters, measurements, and how to read and fit."""
    output: Path
    """The folder for what is found."""
    spread: float = 0.0
    """Least half width of the ranges in identified_randomized.yaml, as a part of the estimates."""
    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only read and check the logs."""


def main(config: Identify) -> int:
    """Read, check, fit, report; returns 0, or 1 where nothing could be identified."""
    from cairngym.sim2real.identification.config import load_config
    from cairngym.sim2real.identification.plant import load_plant
    from cairngym.sim2real.identification.run import identify_logs, read_logs

    if not config.logs:
        raise ValueError("Expected a log at least, got none.")
    asked = load_config(config.config)
    plant = load_plant(config.model, asked.command.scale, asked.command.offset)
    logs = read_logs(asked, config.logs)
    if config.check:
        return _check(asked, logs)
    outcome = identify_logs(plant, asked, logs)

    from cairngym.sim2real.identification.report import warnings, write_report

    path = write_report(outcome, config.output, spread=config.spread)
    _print(outcome)
    for line in (*outcome.notes, *warnings(outcome)):
        print(f"note: {line}")
    print(f"report: {path}")
    return 0 if any(one.identified for one in outcome.found.estimates) else 1


def _check(config: IdentificationConfig, logs: list[tuple[str, RobotLog]]) -> int:
    from cairngym.sim2real.identification.logs import NOTES
    from cairngym.sim2real.identification.segments import cut

    channels = [one.channel for one in config.measurements]
    for name, log in logs:
        pieces, notes = cut(log, channels=channels, name=name, least_rows=config.fit.least_rows)
        for piece in pieces:
            print(f"{piece.name}: {len(piece)} rows, {piece.time_s[-1] - piece.time_s[0]:.3f} s")
        for note in (*log.meta.get(NOTES, ()), *notes):
            print(f"note: {note}")
    return 0


def _print(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("parameter", "estimate", "95 % interval", "nominal", "unit", box=None)
    for one in outcome.found.estimates:
        low, high = one.interval
        known = (f"{one.value:.5g}", f"[{low:.5g}, {high:.5g}]") if one.identified else ("not identifiable", "")
        table.add_row(one.label, *(text.replace("[", "\\[") for text in known), f"{one.nominal:.5g}", one.unit)
    Console().print(table)
    for combination in outcome.found.combinations:
        print(f"not identifiable: {combination}")
    before, after = outcome.nominal.in_noise(), outcome.identified.in_noise()
    print(f"held-out error, in standard deviations of the noise: nominal {before:.3g}, identified {after:.3g}")
