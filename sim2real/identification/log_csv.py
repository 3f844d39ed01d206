"""Logs as CSV: one row for each reading, columns that say their channel, number and unit.

    # robot: DifferentialDrive-v0
    # control_dt: 0.1
    time [s],episode,command.0 [1],command.1 [1],wheel_angle.0 [rad],wheel_angle.1 [rad]
    0.0,0,0.2,0.2,0.0,0.0

`time` is needed, in any unit of time; `episode` may be left out; channels are whatever else there is. A channel's
numbers count from 0 without gaps, and a channel of one number may leave out ".0". Units are optional. Empty cells are
missing values. Lines that begin with "#" are "key: value".
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.sim2real.identification.layout import LogError, LogLayout, RawLog
from cairngym.sim2real.identification.logs import pick, pick_one
from cairngym.sim2real.robot import RobotLog

COLUMN = re.compile(r"^(?P<channel>[^\[\]]+?)(?:\.(?P<number>\d+))?\s*(?:\[(?P<unit>[^\]]*)\])?$")


def read_csv(source: str | Path, layout: LogLayout) -> RawLog:
    """Read a CSV log.

    Raises:
        LogError: no header, cells that are no numbers, rows of another length, or a channel with a missing number.
        UnknownNameError: no column of time or of commands.
    """
    name, text = Path(source).name, Path(source).read_text(encoding="utf-8-sig")
    comments = [line[1:] for line in text.splitlines() if line.startswith("#")]
    meta = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in comments) if value}
    rows = [row for row in csv.reader(line for line in text.splitlines() if line and not line.startswith("#")) if row]
    if len(rows) < 2:
        raise LogError(f"Expected a header and rows in {name}, got {len(rows)} lines.")
    places, units = _header(rows[0], name)
    table = _numbers(rows[1:], len(rows[0]), name)
    found = {channel: table[:, columns] for channel, columns in places.items()}
    if "time" not in found:
        raise unknown_name(f"column of {name}", "time", found)
    time, episode = found.pop("time")[:, 0], found.pop("episode", np.zeros((len(table), 1)))[:, 0]
    if not np.isfinite(episode).all():
        raise LogError(f"Expected the number of an episode in every row of {name}, got an empty cell.")
    if layout.command is not None:
        command = pick_one(found, layout.command, name)
    else:
        if "command" not in found:
            raise unknown_name(f"channel of {name}", "command", found)
        command = found.pop("command")
    named = {channel: source.key for channel, source in (layout.channels or {}).items()}
    units |= {channel: units.get(key) for channel, key in named.items()}
    return RawLog(
        name=name, time=time, command=command, sensors=pick(found, layout.channels, name), episode=episode,
        units=units, control_dt=_step(meta, name), time_unit=units.get("time") or "s", robot=meta.get("robot", ""),
        meta=meta,
    )  # fmt: skip


def _header(header: list[str], name: str) -> tuple[dict[str, list[int]], dict[str, str | None]]:
    numbered: dict[str, dict[int, int]] = {}
    units: dict[str, str | None] = {}
    for column, text in enumerate(header):
        match = COLUMN.match(text.strip())
        if match is None:
            raise LogError(f"Expected a column such as 'qpos.0 [rad]' in {name}, got {text!r}.")
        channel, number, unit = match["channel"].strip(), int(match["number"] or 0), match["unit"]
        if number in numbered.setdefault(channel, {}):
            raise LogError(f"Expected column {channel}.{number} of {name} once, got it twice.")
        if numbered[channel] and units[channel] != unit:
            raise LogError(f"Expected one unit for the numbers of {channel!r} in {name}, got {units[channel]!r} and "
                           f"{unit!r}. Give each its own channel.")  # fmt: skip
        numbered[channel][number], units[channel] = column, unit
    for channel, columns in numbered.items():
        if sorted(columns) != list(range(len(columns))):
            raise LogError(f"Expected numbers 0 to {len(columns) - 1} of {channel!r} in {name}, got {sorted(columns)}.")
    return {channel: [columns[k] for k in range(len(columns))] for channel, columns in numbered.items()}, units


def _numbers(rows: list[list[str]], width: int, name: str) -> np.ndarray:
    table = np.empty((len(rows), width))
    for at, row in enumerate(rows):
        if len(row) != width:
            raise LogError(f"Expected {width} cells in row {at} of {name}, got {len(row)}.")
        try:
            table[at] = [float(cell) if cell.strip() else np.nan for cell in row]
        except ValueError as error:
            raise LogError(f"Expected numbers in row {at} of {name}: {error}") from error
    return table


def _step(meta: dict[str, str], name: str) -> float | None:
    if "control_dt" not in meta:
        return None
    try:
        step = float(meta["control_dt"].removesuffix("s"))
    except ValueError:
        step = float("nan")
    if not step > 0:
        raise LogError(f"Expected seconds above 0 after '# control_dt:' in {name}, got {meta['control_dt']!r}.")
    return step


def write_csv(log: RobotLog, path: str | Path) -> None:
    """Write a log as CSV with units, which `read_log` reads back bit for bit."""
    units = {channel.name: channel.unit for channel in log.spec.sensors}
    header = ["time [s]", "episode", *_columns("command", log.command.shape[1], log.spec.command.unit)]
    for name, values in log.sensors.items():
        header += _columns(name, values.shape[1], units.get(name, "1"))
    buffer = io.StringIO()
    buffer.write(f"# robot: {log.spec.robot}\n# control_dt: {log.spec.control_dt!r}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in range(len(log)):
        numbers = np.concatenate((log.command[row], *(values[row] for values in log.sensors.values())))
        cells = ["" if np.isnan(number) else repr(float(number)) for number in numbers]
        writer.writerow([repr(float(log.time_s[row])), int(log.episode[row]), *cells])
    Path(path).write_text(buffer.getvalue(), encoding="utf-8")


def _columns(name: str, size: int, unit: str) -> list[str]:
    return [f"{name}.{number} [{unit}]" for number in range(size)]
