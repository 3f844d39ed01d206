"""What an identification is asked to do, as frozen dataclasses read strictly from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cairngym.envs.checks import unknown_name
from cairngym.envs.strict_yaml import build, load_yaml
from cairngym.sim2real.identification.identifiability import RESOLUTION
from cairngym.sim2real.identification.inertia import Inertia
from cairngym.sim2real.identification.layout import LogLayout, Source
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import (
    Armature,
    CenterOfMass,
    Damping,
    Friction,
    FrictionLoss,
    Gain,
    InertiaScale,
    Mass,
    Parameter,
    ServoDamping,
)
from cairngym.sim2real.identification.problem import STEP
from cairngym.sim2real.identification.signal_parameters import ActionDelay, SensorBias, SensorDelay, SensorGain

PARAMETERS: Mapping[str, type[Parameter]] = {
    "mass": Mass, "inertia_scale": InertiaScale, "center_of_mass": CenterOfMass, "inertia": Inertia,
    "damping": Damping, "friction_loss": FrictionLoss, "armature": Armature, "gain": Gain,
    "servo_damping": ServoDamping, "friction": Friction, "action_delay": ActionDelay, "sensor_delay": SensorDelay,
    "sensor_gain": SensorGain, "sensor_bias": SensorBias,
}  # fmt: skip
"""What the key `parameter` of a YAML entry can be."""


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """From commands to the controls of a model file; envs know it themselves."""

    scale: tuple[float, ...] = ()
    """One factor for each actuator; none is ones."""
    offset: tuple[float, ...] = ()
    """What is added, in the controls' units."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How to fit."""

    starts: int = 3
    """Starts: the nominal values, and others drawn within the bounds."""
    iterations: int = 25
    """At most, of each start."""
    resolution: float = RESOLUTION
    """A combination of parameters counts as identified if its standard error is below this part of half its range."""
    seed: int = 0
    """Of the starts."""
    held_out: float = 0.25
    """The share of the rows to hold back where the logs are one segment; otherwise it is the last segment."""
    window_s: float | None = None
    """Length of the windows that are predicted, s; None takes the held-out segment whole."""
    warm_up_s: float | None = None
    """Length of windows that are fitted first, s; the fit of whole segments starts where they end. Over a whole segment
    unstable motion may diverge with wrong parameters, and show no way down. None does without."""
    piece_s: float | None = None
    """Length of the pieces that segments are fitted in, s; None fits them whole. Contacts make long motions depend on
    everything, so that small errors at their beginning hide the parameters."""
    first_states: Literal["fitted", "read"] = "fitted"
    """Whether what segments begin with is fitted with the parameters, or taken as it was read: where readings are exact
    and many pieces make it too much to fit."""
    step: float = STEP
    """Of finite differences, as a part of half a range: small motions of contacts jump, which larger steps smooth."""
    polish: int = 0
    """Evaluations of a search without derivatives after the fit, for contacts whose jumps mislead it."""
    least_rows: int = 20
    """Shorter segments are left out."""

    def __post_init__(self) -> None:
        if self.starts < 1 or self.iterations < 1 or self.least_rows < 5:
            raise ValueError("Expected at least one start, one iteration and 5 rows.")
        if not 0 < self.resolution < 1 or not 0 < self.held_out < 1:
            raise ValueError("Expected a resolution and a held-out share between 0 and 1.")
        if self.polish < 0:
            raise ValueError(f"Expected polish >= 0, got {self.polish}.")
        if not 0 < self.step < 1:
            raise ValueError(f"Expected a step of finite differences between 0 and 1, got {self.step}.")
        for length in (self.window_s, self.warm_up_s, self.piece_s):
            if length is not None and not length > 0:
                raise ValueError(f"Expected windows longer than 0 s, got {length}.")


@dataclass(frozen=True, kw_only=True)
class IdentificationConfig:
    """What is unknown, what was measured, and how to fit."""

    parameters: tuple[Parameter, ...]
    measurements: tuple[Measurement, ...]
    command: CommandConfig = field(default_factory=CommandConfig)
    layout: LogLayout = field(default_factory=LogLayout)
    """How to read files that do not describe themselves."""
    fit: FitConfig = field(default_factory=FitConfig)
    description: str = ""

    def __post_init__(self) -> None:
        if not self.parameters or not self.measurements:
            raise ValueError("Expected at least one parameter and one measurement.")
        channels = [one.channel for one in self.measurements]
        if len(set(channels)) != len(channels):
            raise ValueError(f"Expected each channel once, got {channels}.")
        for one in self.parameters:
            if (channel := getattr(one, "channel", None)) is not None and channel not in channels:
                raise unknown_name("measured channel", channel, channels)


def load_config(path: str | Path) -> IdentificationConfig:
    """Read a YAML file.

    Raises:
        ValueError: it can't be read, or an entry is wrong; the message names the file, the place and the nearest key.
    """
    return parse_config(load_yaml(Path(path)), str(path))


def parse_config(data: Mapping[str, Any], source: str) -> IdentificationConfig:
    """From plain data, as YAML gives it; errors as of `load_config`."""
    known = IdentificationConfig.__dataclass_fields__
    for key in data:
        if key not in known:
            raise ValueError(f"{source}: {unknown_name('key', str(key), known)}")
    for key in ("parameters", "measurements"):
        if not isinstance(data.get(key), list) or not data[key]:
            raise ValueError(f"{source}: {key}: expected a list with an entry at least, got {data.get(key)!r}.")
    try:
        return IdentificationConfig(
            parameters=tuple(_parameter(one, source, f"parameters[{i}]") for i, one in enumerate(data["parameters"])),
            measurements=tuple(
                build(Measurement, one, source=source, path=f"measurements[{i}]")
                for i, one in enumerate(data["measurements"])
            ),
            command=build(CommandConfig, data.get("command", {}), source=source, path="command"),
            layout=_layout(_mapping(data.get("layout", {}), source, "layout"), source),
            fit=build(FitConfig, data.get("fit", {}), source=source, path="fit"),
            description=str(data.get("description", "")),
        )
    except KeyError as error:
        raise ValueError(f"{source}: {error}") from error


def _mapping(data: Any, source: str, path: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{source}: {path}: expected `key: value` lines, got {data!r}.")
    return data


def _parameter(data: Any, source: str, path: str) -> Parameter:
    entry = dict(_mapping(data, source, path))
    kind = str(entry.pop("parameter", ""))
    if kind not in PARAMETERS:
        raise ValueError(f"{source}: {path}.parameter: {unknown_name('parameter', kind, PARAMETERS)}")
    found: Parameter = build(PARAMETERS[kind], entry, source=source, path=path)
    return found


def _layout(data: Mapping[str, Any], source: str) -> LogLayout:
    entry = dict(data)
    for name in ("command", "time"):
        if name in entry:
            entry[name] = build(Source, entry[name], source=source, path=f"layout.{name}")
    if "channels" in entry:
        channels = _mapping(entry["channels"], source, "layout.channels")
        entry["channels"] = {
            str(name): build(Source, one, source=source, path=f"layout.channels.{name}")
            for name, one in channels.items()
        }
    for key in entry:
        if key not in LogLayout.__dataclass_fields__:
            raise ValueError(f"{source}: layout: {unknown_name('key', str(key), LogLayout.__dataclass_fields__)}")
    return LogLayout(**entry)
