"""MCAP files as logs: messages in JSON, put on the clock of the commands.

Each message is an object of numbers and lists of numbers; a channel is "topic.field". The project's own files have a
topic for each channel whose messages are `{"time_s": …, "values": [...], "unit": "rad", "episode": 0}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.sim2real.identification.layout import LogError, LogLayout, RawLog, Source
from cairngym.sim2real.robot import RobotLog

VALUES, TIME, UNIT, EPISODE = "values", "time_s", "unit", "episode"
COMMAND = "/command"
INFO = "cairngym"
"""Name of the metadata record of the project's own files."""


def read_mcap(source: str | Path, layout: LogLayout) -> RawLog:
    """Read an MCAP file.

    Rows are the messages with commands; a channel's value in a row is that of its latest message by then, and NaN
    where that is older than one and a half times the distance of rows.

    Raises:
        LogError: not MCAP, messages that are not JSON, or values that are no numbers.
        UnknownNameError: no such topic or field.
        ImportError: the library mcap is not installed.
    """
    name = Path(source).name
    topics, info = _messages(Path(source))
    own = layout.command or Source(key=f"{COMMAND}.{VALUES}")
    time, command = _series(topics, own, layout.time, name)
    step = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    channels = layout.channels or {
        topic.removeprefix("/"): Source(key=f"{topic}.{VALUES}")
        for topic, messages in topics.items()
        if topic != _topic(topics, own.key, name)[0] and VALUES in messages[0][1]
    }
    sensors = {
        channel: _held(time, step, *_series(topics, one, layout.time, name)) for channel, one in channels.items()
    }
    first = topics[_topic(topics, own.key, name)[0]]
    return RawLog(
        name=name, time=time, command=command, sensors=sensors,
        episode=np.array([int(message.get(EPISODE, 0)) for _, message in first]),
        units={channel: _unit(topics, one, name) for channel, one in {"command": own, **channels}.items()},
        control_dt=float(info["control_dt"]) if "control_dt" in info else None, robot=info.get("robot", ""), meta=info,
    )  # fmt: skip


def _messages(path: Path) -> tuple[dict[str, list[tuple[float, dict[str, Any]]]], dict[str, str]]:
    """Messages by topic, with the time at which they were logged, s; and the project's metadata."""
    try:
        from mcap.exceptions import McapError
        from mcap.reader import make_reader
    except ImportError as error:
        raise ImportError(f"MCAP files need the library mcap: pip install 'cairngym[logs]' ({error})") from error
    topics: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    info: dict[str, str] = {}
    try:
        with path.open("rb") as stream:
            reader = make_reader(stream)
            for record in reader.iter_metadata():
                info |= record.metadata if record.name == INFO else {}
            for _, channel, message in reader.iter_messages(log_time_order=True):
                if channel.message_encoding != "json":
                    raise LogError(
                        f"Expected messages in JSON in {path.name}, got {channel.message_encoding!r} in topic "
                        f"{channel.topic!r}. Convert them."
                    )
                topics.setdefault(channel.topic, []).append((message.log_time * 1e-9, json.loads(message.data)))
    except (McapError, ValueError, EOFError) as error:
        if isinstance(error, LogError):
            raise
        raise LogError(f"Expected an MCAP file with JSON at {path}, got one that can't be read: {error}") from error
    return topics, info


def _topic(topics: Mapping[str, Any], key: str, name: str) -> tuple[str, str]:
    for topic in sorted(topics, key=len, reverse=True):
        if key == topic or key.startswith(f"{topic}."):
            return topic, key[len(topic) + 1 :] or VALUES
    raise unknown_name(f"topic of {name}", key.partition(".")[0], topics)


def _series(
    topics: Mapping[str, Any], source: Source, clock: Source | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    topic, field = _topic(topics, source.key, name)
    rows, times = [], []
    for logged, message in topics[topic]:
        rows.append(_field(message, field, topic, name))
        stamp = clock.key.rpartition(".")[2] if clock is not None else TIME
        times.append(float(_field(message, stamp, topic, name)) if clock is not None or stamp in message else logged)
    try:
        values = source.pick(np.array(rows, dtype=object).tolist(), name)
    except ValueError as error:
        raise LogError(f"Expected numbers, as many in every message, in {source.key!r} of {name}: {error}") from error
    return np.array(times), values


def _field(message: dict[str, Any], field: str, topic: str, name: str) -> Any:
    value: Any = message
    for part in field.split("."):
        if not isinstance(value, dict) or part not in value:
            raise unknown_name(f"field of {topic!r} in {name}", part, value if isinstance(value, dict) else [])
        value = value[part]
    return value


def _unit(topics: Mapping[str, Any], source: Source, name: str) -> str | None:
    unit = topics[_topic(topics, source.key, name)[0]][0][1].get(UNIT)
    return unit if isinstance(unit, str) else None


def _held(time: np.ndarray, step: float, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The latest values at each time, `(T, size)`."""
    at = np.searchsorted(times, time + 1e-9, side="right") - 1
    old = (at < 0) | (time - times[np.clip(at, 0, None)] > 1.5 * step)
    return np.where(old[:, None], np.nan, values[np.clip(at, 0, None)])


def write_mcap(log: RobotLog, path: str | Path) -> None:
    """Write a log as MCAP with JSON messages, which `read_log` reads back."""
    from mcap.writer import Writer

    units = {channel.name: channel.unit for channel in log.spec.sensors}
    series = {COMMAND: (log.command, log.spec.command.unit)}
    series |= {f"/{name}": (values, units.get(name, "1")) for name, values in log.sensors.items()}
    with Path(path).open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="", library="cairngym")
        writer.add_metadata(INFO, {"robot": log.spec.robot, "control_dt": repr(log.spec.control_dt)})
        schema = writer.register_schema(name="Reading", encoding="jsonschema", data=b'{"type": "object"}')
        ids = {
            topic: writer.register_channel(topic=topic, message_encoding="json", schema_id=schema) for topic in series
        }
        for row, time in enumerate(log.time_s):
            for topic, (values, unit) in series.items():
                message = {TIME: float(time), VALUES: values[row].tolist(), UNIT: unit, EPISODE: int(log.episode[row])}
                stamp = round(float(time) * 1e9)
                data = json.dumps(message).encode()
                writer.add_message(channel_id=ids[topic], log_time=stamp, publish_time=stamp, data=data)
        writer.finish()
