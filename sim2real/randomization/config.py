"""What is randomized, as a frozen dataclass and as YAML: `RandomizationConfig`, its presets, reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cairngym.envs.checks import unknown_name
from cairngym.envs.files import replacing
from cairngym.envs.strict_yaml import build, load_yaml
from cairngym.sim2real.randomization.events import (
    EVENTS,
    MODES,
    ActionDelay,
    ActuatorModel,
    CameraEvent,
    Event,
    FieldEvent,
    LightEvent,
    MaterialEvent,
    Mode,
    PacketLoss,
    Push,
    RandomForce,
    SensorDelay,
    SensorDrop,
    SensorNoise,
)

__all__ = [
    "EVENTS", "MODES", "ActionDelay", "ActuatorModel", "CameraEvent", "Event", "FieldEvent", "LightEvent",
    "MaterialEvent", "Mode", "PacketLoss", "Push", "RandomForce", "RandomizationConfig", "SensorDelay", "SensorDrop",
    "SensorNoise", "list_presets", "load_config", "parse_config", "resolve_config", "save_config", "to_yaml",
]  # fmt: skip
PRESETS = "cairngym.configs.sim2real"
FOLDERS = ("fleets", "identified", "identified_randomized")
"""Of presets: what robots of a kind really are, what was identified on some of them, and ranges around that."""
MAX_EVENTS = 128


@dataclass(frozen=True, kw_only=True)
class RandomizationConfig:
    """What differs between a simulation and its model.

    Raises:
        TypeError: an event that is none.
        ValueError: more than 128 events.
    """

    events: tuple[Event, ...] = ()
    """In an order that matters twice: it decides which numbers each event draws, and events on one model field follow
    one another."""
    description: str = ""
    """What is randomized and why, in a sentence or two."""

    def __post_init__(self) -> None:
        for event in self.events:
            if type(event) not in EVENTS.values():
                raise TypeError(f"Expected events such as FieldEvent or ActionDelay, got {event!r}.")
        if len(self.events) > MAX_EVENTS:
            raise ValueError(f"Expected at most {MAX_EVENTS} events, got {len(self.events)}.")


def list_presets() -> list[str]:
    """The names of the packaged presets, sorted: `point_maze`, `fleets/point_maze` and others."""
    root = resources.files(PRESETS)
    folders = [("", root), *((f"{name}/", root / name) for name in FOLDERS)]
    return sorted(
        prefix + file.name.removesuffix(".yaml")
        for prefix, folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def load_config(source: str | Path) -> RandomizationConfig:
    """Read a preset by its name, or a YAML file by its path.

    Raises:
        UnknownNameError: no preset of that name.
        ValueError: a file that can't be read, or what it says can't be; the message names file, key and nearest key.
    """
    name, path = str(source), Path(source)
    if name not in list_presets():
        if not path.suffix:
            raise unknown_name("randomization preset", name, list_presets())
        return parse_config(load_yaml(path, name), name)
    file = resources.files(PRESETS).joinpath(*f"{name}.yaml".split("/"))
    return parse_config(load_yaml(file, f"{name}.yaml"), f"{name}.yaml")


def resolve_config(config: str | Path | Mapping[str, Any] | RandomizationConfig) -> RandomizationConfig:
    """A config as given, from plain data, or by the name or path of a preset; errors as of `load_config`."""
    if isinstance(config, RandomizationConfig):
        return config
    if isinstance(config, Mapping):
        return parse_config(config, "randomization")
    return load_config(config)


def parse_config(data: Mapping[str, Any], source: str) -> RandomizationConfig:
    """A config from plain data, as YAML gives it: every event a mapping with `event` and the fields of its dataclass.

    Args:
        data: `description` and `events`.
        source: the file, for errors.

    Raises:
        ValueError: naming the source, the key and what was expected.
    """
    known = {field.name for field in fields(RandomizationConfig)}
    for key in data:
        if key not in known:
            raise ValueError(f"{source}: {unknown_name('key', str(key), known)}")
    events, description = data.get("events", []), data.get("description", "")
    if not isinstance(events, list | tuple):
        raise ValueError(f"{source}: events: expected a list, got {events!r}.")
    if not isinstance(description, str):
        raise ValueError(f"{source}: description: expected text, got {description!r}.")
    return RandomizationConfig(
        events=tuple(_event(event, source, f"events[{i}]") for i, event in enumerate(events)), description=description
    )


def _event(data: Any, source: str, path: str) -> Any:
    if not isinstance(data, Mapping) or "event" not in data:
        raise ValueError(f"{source}: {path}: expected a mapping with the key 'event', got {data!r}.")
    kind = str(data["event"])
    if kind not in EVENTS:
        raise ValueError(f"{source}: {path}.event: {unknown_name('event', kind, EVENTS)}")
    return build(EVENTS[kind], {key: value for key, value in data.items() if key != "event"}, source=source, path=path)


def to_yaml(config: RandomizationConfig) -> str:
    """A config as YAML that `load_config` reads back; what has its default is left out."""
    names = {kind: name for name, kind in EVENTS.items()}
    events = [{"event": names[type(event)], **_plain(event)} for event in config.events]
    data = {"description": config.description, "events": events}
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120))


def save_config(config: RandomizationConfig, path: Path) -> None:
    """Write a config as YAML, whole or not at all."""
    with replacing(path) as draft:
        draft.write(to_yaml(config).encode("utf-8"))


def _plain(event: Any) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(event) if field.default is not MISSING}
    content = {name: value for name, value in asdict(event).items() if name not in defaults or defaults[name] != value}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}
