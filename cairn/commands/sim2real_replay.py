"""`cairn sim2real replay`: what a flight log holds, and whether a robot or a policy would do the same again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from cairngym.sim2real.control.flight_log import FlightLog

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Read a flight log; send its commands to a robot that waits for them, or its readings to a policy.

    Exits with 1 where a robot or a policy does otherwise than the log, by more than the tolerance.

    Examples:
      cairn sim2real replay flight.log
      cairn sim2real replay flight.log --robot sim://PointMaze_UMaze-v3 --tolerance 0.01
      cairn sim2real replay flight.log --policy policy.onnx
    """

    log: tyro.conf.Positional[Path]
    """The flight log."""
    robot: str | None = None
    """Where to send the commands: udp://HOST:PORT of a twin with the lockstep clock, or sim://ENV."""
    policy: Path | None = None
    """What to ask about the readings: a file of `cairn export`."""
    tolerance: float = 1e-6
    """Deviation that counts as none, in the units of each channel."""
    json: Flag = False
    """Print JSON."""


def main(config: Replay) -> int:
    """Replay; returns 0, or 1 where there are deviations."""
    from cairngym.sim2real.control.flight_log import read_flight_log

    log = read_flight_log(config.log)
    result: dict[str, Any] = {"log": summary(log)}
    lines, same = [describe(result["log"])], True
    if config.robot is not None:
        commands = _on_robot(log, config.robot, config.tolerance)
        result["commands"], same = commands.to_dict(), commands.same
        lines.append(commands.text())
    if config.policy is not None:
        from cairngym.sim2real.control.replay import replay_policy
        from cairngym.sim2real.policy import OnnxPolicy

        asked = replay_policy(log, OnnxPolicy(config.policy), tolerance=config.tolerance)
        result["policy"], same = asked.to_dict(), same and asked.deviation.first_row is None
        lines.append(asked.text())
    print(json.dumps(result, indent=2) if config.json else "\n\n".join(lines))
    return int(not same)


def _on_robot(log: FlightLog, address: str, tolerance: float) -> Any:
    from cairngym.commands.sim2real_run import connect
    from cairngym.sim2real.control.replay import replay_commands
    from cairngym.sim2real.robot import LockstepRobot

    with connect(address) as robot:
        if not isinstance(robot, LockstepRobot):
            raise ValueError(
                f"Expected a robot that waits for commands at {address}, got one with a clock of its own. Start the "
                "twin with --clock lockstep, or name sim://ENV."
            )
        return replay_commands(log, robot, tolerance=tolerance)


def summary(log: FlightLog) -> dict[str, Any]:
    """What a log holds, as plain data."""
    from cairngym.sim2real.control.faults import COMMANDS, Fault

    ticks = log.ticks
    sources = {name: int((ticks["source"] == number).sum()) for number, name in enumerate(COMMANDS)}
    faults = {fault.label: int(log.flagged(fault).sum()) for fault in Fault}
    return {
        "robot": log.spec.robot, "period_s": log.period_s, "ticks": len(ticks), "readings": len(log),
        "seconds": float(ticks["done_s"][-1]) if len(ticks) else 0.0, "episodes": len(set(log.episode.tolist())),
        "commands": _some(sources), "faults": _some(faults), "notes": list(log.notes), "torn_bytes": log.torn_bytes,
        "damaged": log.damaged, "meta": dict(log.meta),
    }  # fmt: skip


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def describe(facts: Mapping[str, Any]) -> str:
    """A summary for people."""
    lines = [
        f"{facts['robot']}, {1 / facts['period_s']:g} Hz: {facts['ticks']} ticks in {facts['seconds']:.1f} s, "
        f"{facts['readings']} readings, {facts['episodes']} episodes",
        "commands: " + (", ".join(f"{name} {count}" for name, count in facts["commands"].items()) or "none"),
        "faults: " + (", ".join(f"{name} {count}" for name, count in facts["faults"].items()) or "none"),
    ]
    if facts["torn_bytes"] or facts["damaged"]:
        lines.append(f"left out: {facts['damaged']} damaged records, {facts['torn_bytes']} bytes of a torn one")
    return "\n".join(lines + [f"note: {note}" for note in facts["notes"]])
