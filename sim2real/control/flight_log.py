"""Flight logs: a line of JSON, then records of one size with a checksum each: a crash costs the torn one only."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cairngym.sim2real.control.faults import COMMANDS, Fault
from cairngym.sim2real.control.watchdog import slices
from cairngym.sim2real.robot import RobotLog, RobotSpec

FORMAT = "cairngym-flight-log"
VERSION = 1
MAX_HEADER = 1 << 24
"""Longer first lines are no headers."""
TICK, NOTE, NOTE_PART = 0, 1, 2
"""Kinds of records; a note that is longer than a record follows its parts."""

SCALARS = {
    "slot": "<i8", "due_s": "<f8", "start_s": "<f8", "done_s": "<f8", "age_s": "<f8", "policy_s": "<f8",
    "send_s": "<f8", "source": "u1", "flags": "<u4", "fresh": "u1", "sequence": "<i8", "time_s": "<f8",
    "received_s": "<f8", "episode": "<i8", "over": "u1", "success": "u1",
}  # fmt: skip
"""Columns with one number; times are on the loop's clock and count from its start, but `time_s` is the robot's."""


def record_type(spec: RobotSpec) -> np.dtype:
    """A record of a robot's log: kind, columns, sensors one after the other, commands in three stages, CRC-32."""
    sensors, size = sum(sensor.size for sensor in spec.sensors), spec.command.size
    stages = [(name, "<f8", (size,)) for name in ("action", "filtered", "command")]
    return np.dtype([("kind", "u1"), *SCALARS.items(), ("sensors", "<f8", (sensors,)), *stages, ("crc", "<u4")])


def header_line(spec: RobotSpec, period_s: float, meta: Mapping[str, Any]) -> bytes:
    """The first line of a log.

    Raises:
        TypeError: `meta` is not plain data.
    """
    dtype = record_type(spec)
    content = {
        "format": FORMAT, "version": VERSION, "spec": spec.to_dict(), "period_s": period_s,
        "record_size": dtype.itemsize, "columns": _columns(dtype), "sources": COMMANDS,
        "flags": {fault.label: int(fault) for fault in Fault}, "meta": dict(meta),
    }  # fmt: skip
    return json.dumps(content).encode() + b"\n"


def _columns(dtype: np.dtype) -> list[list[Any]]:
    return [[name, dtype[name].base.str, list(dtype[name].shape)] for name in dtype.names or ()]


def seal(record: bytes) -> bytes:
    """A record whose last four bytes are the checksum of the others."""
    return record[:-4] + zlib.crc32(record[:-4]).to_bytes(4, "little")


def note_records(text: str, size: int) -> bytes:
    """A note as sealed records of `size` bytes."""
    room, content = size - 7, text.encode()
    pieces = [content[at : at + room] for at in range(0, len(content), room)] or [b""]
    kinds = [NOTE_PART] * (len(pieces) - 1) + [NOTE]
    return b"".join(
        seal(bytes([kind]) + len(piece).to_bytes(2, "little") + piece.ljust(size - 3, b"\0"))
        for kind, piece in zip(kinds, pieces, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class FlightLog(RobotLog):
    """What a control loop saw and did: a `RobotLog` of the readings, and every tick.

    Its rows as a `RobotLog` are the ticks that had a new reading; `ticks` has them all.
    """

    period_s: float
    """The loop's period, s."""
    ticks: np.ndarray
    """A structured array `(ticks,)`, with the columns of `record_type`."""
    notes: tuple[str, ...] = ()
    """What the loop remarked: why it ended."""
    torn_bytes: int = 0
    """Length of the incomplete record at the end."""
    damaged: int = 0
    """Records left out because their checksum is wrong."""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """int64 `(T,)`: the tick of each row."""

    def flagged(self, fault: Fault) -> np.ndarray:
        """Bool `(ticks,)`: which ticks had the fault."""
        return (self.ticks["flags"] & int(fault)) != 0


def read_flight_log(path: str | Path) -> FlightLog:
    """Read a log, as far as it was written.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no flight log, or of another version.
    """
    with open(path, "rb") as file:
        header = _read_header(path, file)
        spec = _spec(path, header)
        dtype = record_type(spec)
        if header.get("record_size") != dtype.itemsize or header.get("columns") != _columns(dtype):
            raise ValueError(f"Expected records of {dtype.itemsize} bytes in {path}: its columns are other ones.")
        content = file.read()
    records, damaged = _sound(content, dtype)
    ticks = records[records["kind"] == TICK]
    rows = np.flatnonzero(ticks["fresh"])
    new = ticks[rows]
    sensors = {name: np.array(new["sensors"][:, where]) for name, where in slices(spec).items()}
    return FlightLog(
        spec=spec, time_s=np.array(new["time_s"]), command=np.array(new["command"]), sensors=sensors,
        episode=np.array(new["episode"]), meta=header.get("meta", {}), period_s=float(header["period_s"]), ticks=ticks,
        notes=_notes(records[records["kind"] != TICK]), torn_bytes=len(content) % dtype.itemsize, damaged=damaged,
        rows=rows,
    )  # fmt: skip


def _read_header(path: str | Path, file: BinaryIO) -> dict[str, Any]:
    line = file.readline(MAX_HEADER)
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not (line.endswith(b"\n") and isinstance(header, dict) and header.get("format") == FORMAT):
        raise ValueError(
            f"Expected a flight log in {path}, whose first line says so, got {line[:40]!r}. "
            "They are written by `cairn sim2real run --log`; logs of other kinds are for `cairn sim2real identify`."
        )
    if header.get("version") != VERSION:
        raise ValueError(f"Expected a flight log of version {VERSION} in {path}, got {header.get('version')}.")
    return header


def _spec(path: str | Path, header: Mapping[str, Any]) -> RobotSpec:
    try:
        return RobotSpec.from_dict(header["spec"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"Expected the robot's channels in the first line of {path}, but {error!r}.") from error


def _sound(content: bytes, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """The whole records whose checksum is right, and how many there are besides."""
    whole = len(content) // dtype.itemsize
    records = np.frombuffer(content, dtype=dtype, count=whole)
    checked = (content[at * dtype.itemsize : (at + 1) * dtype.itemsize - 4] for at in range(whole))
    right = np.fromiter((zlib.crc32(one) for one in checked), dtype=np.uint32, count=whole) == records["crc"]
    return records[right], int(whole - right.sum())


def _notes(records: np.ndarray) -> tuple[str, ...]:
    notes, parts = [], b""
    for record in records:
        content = record.tobytes()
        parts += content[3 : 3 + int.from_bytes(content[1:3], "little")]
        if content[0] == NOTE:
            notes.append(parts.decode(errors="replace"))
            parts = b""
    return tuple(notes)
