"""Logs of any format as `RobotLog`: units converted, rates held against time stamps, missing channels named."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.sim2real.identification.layout import LogError, LogLayout, RawLog, Source, factor
from cairngym.sim2real.identification.segments import check_time
from cairngym.sim2real.robot import Channel, RobotLog, RobotSpec

READERS: Mapping[str, str] = {
    "csv": "log_csv:read_csv", "minari": "log_minari:read_minari", "lerobot": "log_lerobot:read_lerobot",
    "mcap": "log_mcap:read_mcap",
}  # fmt: skip
"""Format -> module and function; the project's own flight log is read by `cairngym.sim2real.control`."""
FLIGHT = "flight"
FORMATS = (*READERS, FLIGHT)
NOTES = "notes"
"""Key of `RobotLog.meta`: what was converted or assumed."""


def read_log(
    source: str | Path,
    *,
    layout: LogLayout | None = None,
    expected: Mapping[str, str] | None = None,
    spec: RobotSpec | None = None,
    format: str | None = None,
) -> RobotLog:
    """Read a log.

    Args:
        source: a CSV or MCAP file, the folder of a LeRobot v3 dataset, a flight log, or "minari:ID" (or the folder of
            a Minari dataset).
        layout: where channels are, for files that do not describe themselves.
        expected: the unit each channel must be in ("command" is one); multiples are converted, others refused.
        spec: what the robot measures and takes; gives the limits of commands, expected units and the control step
            where nothing else does.
        format: one of `FORMATS`; None tells it by the name.

    Raises:
        FileNotFoundError: there is no such file.
        LogError: contents that can't be used; the message says what was expected, and where.
        UnknownNameError: no such format, or a channel that the file lacks.
        ImportError: the format's library is not installed.
    """
    kind = _format(source) if format is None else format
    if kind not in FORMATS:
        raise unknown_name("log format", kind, FORMATS)
    if not str(source).startswith("minari:") and kind != "minari" and not Path(source).exists():
        raise FileNotFoundError(f"Expected a log at {source}, got none.")
    if kind == FLIGHT:
        from cairngym.sim2real.control.flight_log import read_flight_log

        return read_flight_log(source)
    module, _, function = READERS[kind].partition(":")
    read: Callable[[str | Path, LogLayout], RawLog] = getattr(
        importlib.import_module(f"cairngym.sim2real.identification.{module}"), function
    )
    chosen = layout or LogLayout()
    return _sound(read(source, chosen), chosen, dict(expected or {}), spec)


def _format(source: str | Path) -> str:
    if str(source).startswith("minari:"):
        return "minari"
    path = Path(source)
    if path.suffix.lower() in (".csv", ".mcap"):
        return path.suffix.lower()[1:]
    if path.is_dir():
        return "lerobot" if (path / "meta" / "info.json").is_file() else "minari"
    return FLIGHT


def _sound(raw: RawLog, layout: LogLayout, expected: dict[str, str], spec: RobotSpec | None) -> RobotLog:
    """Convert units and check rates."""
    wanted = {channel.name: channel.unit for channel in spec.sensors} if spec is not None else {}
    if spec is not None:
        wanted["command"] = spec.command.unit
    wanted |= expected
    notes: list[str] = []
    time = raw.time * factor(raw.time_unit, "s", f"the time stamps of {raw.name}")
    control_dt = _control_dt(raw, layout, spec, time, notes)
    check_time(time, control_dt, raw.name, raw.episode)
    command, unit = _converted(raw, "command", raw.command, _source(layout, "command"), wanted, notes)
    sensors, channels = {}, []
    for name, values in raw.sensors.items():
        sensors[name], own = _converted(raw, name, values, _source(layout, name), wanted, notes)
        channels.append(Channel(name=name, size=values.shape[1], unit=own))
    described = RobotSpec(
        robot=raw.robot or (spec.robot if spec else raw.name), control_dt=control_dt,
        command=spec.command if spec else Channel(name="command", size=command.shape[1], unit=unit),
        rest=spec.rest if spec else (0.0,) * command.shape[1], sensors=tuple(channels),
    )  # fmt: skip
    if command.shape[1] != described.command.size:
        raise LogError(f"Expected commands of {described.command.size} numbers in {raw.name}, got {command.shape[1]}.")
    return RobotLog(
        spec=described, time_s=time, command=command, sensors=sensors, episode=raw.episode.astype(np.int64),
        meta={**(raw.meta or {}), "source": raw.name, NOTES: tuple(notes)},
    )  # fmt: skip


def _control_dt(raw: RawLog, layout: LogLayout, spec: RobotSpec | None, time: np.ndarray, notes: list[str]) -> float:
    stated = raw.control_dt or layout.control_dt or (spec.control_dt if spec else None)
    if stated is not None:
        return float(stated)
    within = np.diff(time)[np.diff(raw.episode) == 0]
    if not len(within) or not np.median(within) > 0:
        raise LogError(
            f"Expected a control step of {raw.name}, got none declared and no rising time stamps. Give control_dt in "
            "the layout."
        )
    notes.append(f"{raw.name}: no control step declared; {np.median(within):.6g} s taken from the time stamps")
    return float(np.median(within))


def _source(layout: LogLayout, name: str) -> Source | None:
    return layout.command if name == "command" else (layout.channels or {}).get(name)


def _converted(
    raw: RawLog, name: str, values: np.ndarray, source: Source | None, wanted: Mapping[str, str], notes: list[str]
) -> tuple[np.ndarray, str]:
    """Numbers in the expected unit, and that unit."""
    declared = raw.units.get(name)
    stated = source.unit if source is not None else None
    if declared is not None and stated is not None:
        factor(declared, stated, f"{name!r} of {raw.name}")  # refuses what can't both be true
    unit, goal = declared or stated, wanted.get(name)
    if unit is None:
        if goal is not None:
            notes.append(f"{raw.name}: {name} declares no unit; taken to be in {goal}")
        return values, goal or "1"
    if goal is None or goal in ("mixed", "SI"):
        return values, unit
    scale = factor(unit, goal, f"{name!r} of {raw.name}")
    if scale != 1.0:
        notes.append(f"{raw.name}: {name} converted from {unit} to {goal}")
    return values * scale, goal


def pick(found: Mapping[str, np.ndarray], channels: Mapping[str, Source] | None, name: str) -> dict[str, np.ndarray]:
    """Channels `(T, size)` out of what a file holds: those of the layout, or everything.

    Raises:
        UnknownNameError: the file has no such key; the message names the nearest ones.
    """
    if channels is None:
        return {key: Source(key=key).pick(values, name) for key, values in found.items()}
    return {channel: pick_one(found, source, name) for channel, source in channels.items()}


def pick_one(found: Mapping[str, np.ndarray], source: Source, name: str) -> np.ndarray:
    """One channel, `(T, size)`; errors as of `pick`."""
    if source.key not in found:
        raise unknown_name(f"key of {name}", source.key, found)
    return source.pick(found[source.key], name)


def episodes(lengths: Sequence[int]) -> np.ndarray:
    """Number of the episode of each row, `(T,)`."""
    return np.repeat(np.arange(len(lengths)), lengths)
