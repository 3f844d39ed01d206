"""Datagrams between a twin and who controls it: a fixed header and a payload, all numbers little-endian.

The header is 20 bytes, `<4sBBHIQ`: the magic b"CRNT", the version, the kind, flags, the session, a sequence number.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cairngym.sim2real.robot import Reading, RobotSpec

MAGIC, VERSION = b"CRNT", 1
HEADER = struct.Struct("<4sBBHIQ")
READING = struct.Struct("<dqQ")
"""The robot's clock in s, the episode, and the sequence number of the request that is answered; zero if none is."""
CHUNK = struct.Struct("<HH")
"""Which part of the description, of how many."""
EPISODE = struct.Struct("<q")
"""Of a reset; negative stands for the next."""
CHUNK_BYTES = 1200
MAX_BYTES = 60_000
"""Of a datagram."""


class Kind(enum.IntEnum):
    """What a datagram is; requests have numbers below 64 and are answered by one above, or by their own kind."""

    HELLO = 1
    """Begin a session; answered by every part of the description."""
    COMMAND = 2
    """float64 `(command.size,)`: hold it until the next. Only under the real-time clock; not answered."""
    STEP = 3
    """float64 `(command.size,)`: hold it for one `control_dt`. Only under the lockstep clock; answered by a reading."""
    RESET = 4
    """`EPISODE`: release a stop and begin an episode; answered by its first reading."""
    STOP = 5
    """UTF-8 reason: hold the rest command until a reset. From anyone, in a session or not; answered by its kind."""
    FAULT = 6
    """JSON of a `Fault`; answered by its kind."""
    STATUS = 7
    """Also says that the client is there; answered by its kind with JSON of counters."""
    BYE = 8
    """End the session, or the twin ends; not answered."""
    DESCRIPTION = 64
    """`CHUNK` and a part of the description, UTF-8 JSON: `spec`, `clock`, `command_timeout_s`."""
    READING = 65
    """`READING` and every sensor's float64 numbers, in the order of the spec."""
    NOTICE = 66
    """JSON `{"refused": what, "message": why}` about the request of that sequence number."""


class Flag(enum.IntFlag):
    """Of readings, but for `REST`, which is also one of STEP: hold the rest command, whatever else is asked."""

    OVER = 1
    SUCCESS = 2
    STOPPED = 4
    REST = 8
    """Of readings: no command has come for a while, and the robot holds its rest command."""


class MalformedError(ValueError):
    """A datagram that is none of this protocol."""


class VersionError(MalformedError):
    """A datagram of another version of the protocol."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A datagram."""

    kind: Kind
    session: int
    sequence: int
    flags: int = 0
    body: bytes = b""


def encode(packet: Packet) -> bytes:
    """The datagram's bytes."""
    head = HEADER.pack(MAGIC, VERSION, packet.kind, packet.flags, packet.session, packet.sequence)
    return head + packet.body


def decode(data: bytes) -> Packet:
    """A datagram read.

    Raises:
        MalformedError: too short or too long, of another protocol, version or kind.
    """
    if not HEADER.size <= len(data) <= MAX_BYTES:
        raise MalformedError(f"Expected {HEADER.size} to {MAX_BYTES} bytes, got {len(data)}.")
    magic, version, kind, flags, session, sequence = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedError(f"Expected the magic {MAGIC!r}, got {magic!r}.")
    if version != VERSION:
        raise VersionError(f"Expected version {VERSION} of the twin's protocol, got {version}.")
    try:
        known = Kind(kind)
    except ValueError as error:
        raise MalformedError(f"Expected a kind of datagram, got {kind}.") from error
    return Packet(kind=known, session=session, sequence=sequence, flags=flags, body=data[HEADER.size :])


# Payloads -------------------------------------------------------------------------------------------------------------


def numbers(body: bytes, size: int) -> np.ndarray:
    """The float64 `(size,)` in a payload.

    Raises:
        MalformedError: another number of bytes.
    """
    if len(body) != 8 * size:
        raise MalformedError(f"Expected {size} float64 numbers, got {len(body)} bytes.")
    return np.frombuffer(body, dtype="<f8").astype(np.float64)


def unpack(layout: struct.Struct, body: bytes) -> tuple[Any, ...]:
    """The numbers at the beginning of a payload.

    Raises:
        MalformedError: the payload is too short.
    """
    if len(body) < layout.size:
        raise MalformedError(f"Expected at least {layout.size} bytes, got {len(body)}.")
    return layout.unpack_from(body)


def to_json(data: Mapping[str, Any]) -> bytes:
    """A payload of JSON."""
    return json.dumps(data, separators=(",", ":")).encode()


def from_json(body: bytes) -> dict[str, Any]:
    """The object in a payload of JSON.

    Raises:
        MalformedError: no JSON, or no object.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("Expected a payload of JSON.") from error
    if not isinstance(data, dict):
        raise MalformedError(f"Expected an object of JSON, got {type(data).__name__}.")
    return data


def chunks(data: Mapping[str, Any]) -> list[bytes]:
    """The payloads that carry a description."""
    text = to_json(data)
    parts = [text[at : at + CHUNK_BYTES] for at in range(0, len(text), CHUNK_BYTES)]
    return [CHUNK.pack(index, len(parts)) + part for index, part in enumerate(parts)]


def reading_size(spec: RobotSpec) -> int:
    """Bytes of a reading's datagram."""
    return HEADER.size + READING.size + 8 * sum(sensor.size for sensor in spec.sensors)


def pack_reading(spec: RobotSpec, reading: Reading, answers: int = 0) -> bytes:
    """The payload of a reading."""
    values = np.concatenate([reading.values[sensor.name] for sensor in spec.sensors])
    return READING.pack(reading.time_s, reading.episode, answers) + values.astype("<f8").tobytes()


def reading_flags(reading: Reading, *, stopped: bool, resting: bool = False) -> Flag:
    """The flags of a reading's datagram."""
    states = (reading.over, reading.success, stopped, resting)
    flags = (Flag.OVER, Flag.SUCCESS, Flag.STOPPED, Flag.REST)
    return Flag(sum(flag for flag, state in zip(flags, states, strict=True) if state))


def unpack_reading(spec: RobotSpec, sequence: int, flags: int, body: bytes, received_s: float) -> tuple[Reading, int]:
    """A reading, and the sequence number of the request it answers (zero if none).

    Raises:
        MalformedError: a payload that does not fit the spec.
    """
    time_s, episode, answers = unpack(READING, body)
    flat = numbers(body[READING.size :], sum(sensor.size for sensor in spec.sensors))
    values, at = {}, 0
    for sensor in spec.sensors:
        values[sensor.name] = flat[at : at + sensor.size]
        at += sensor.size
    reading = Reading(
        sequence=sequence, time_s=time_s, received_s=received_s, values=values, episode=episode,
        over=bool(flags & Flag.OVER), success=bool(flags & Flag.SUCCESS),
    )  # fmt: skip
    return reading, answers
