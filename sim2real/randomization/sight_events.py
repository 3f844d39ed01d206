"""What may differ in what is seen: sensors, cameras, lights and materials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cairngym.sim2real.randomization.event_checks import (
    check_at_least_zero,
    check_component,
    check_delay,
    check_fields,
    check_mode,
    check_probability,
    check_span,
)
from cairngym.sim2real.randomization.modes import MODES, Mode


@dataclass(frozen=True, kw_only=True)
class SensorNoise:
    """A state field is seen with errors: noise at every reading, a bias, and a drift.

    Raises:
        UnknownNameError: no such mode.
        ValueError: a negative deviation, or a bias range that runs backwards.
    """

    field: str
    """Of the state; see `env.state_spec`."""
    component: int | None = None
    """The component that is disturbed; None disturbs all, each by itself."""
    std: float = 0.0
    """Deviation of the noise at every reading, in the field's unit."""
    bias_std: float = 0.0
    """Deviation of a gaussian bias, in the field's unit."""
    bias_range: tuple[float, float] | None = None
    """A uniform bias, in the field's unit, added to the gaussian one."""
    bias_mode: Mode = "reset"
    """When the bias is drawn: `startup` or `reset`."""
    drift_std: float = 0.0
    """Deviation of a random walk after one second, in the field's unit; it grows with the root of time."""

    def __post_init__(self) -> None:
        check_mode(self.bias_mode, ("startup", "reset"))
        for name in ("std", "bias_std", "drift_std"):
            check_at_least_zero(f"The noise on {self.field!r}: {name}", getattr(self, name))
        if self.bias_range is not None:
            check_span(f"The noise on {self.field!r}: bias_range", self.bias_range, -math.inf)
        check_component(f"The noise on {self.field!r}", self.component)


@dataclass(frozen=True, kw_only=True)
class SensorDelay:
    """State fields are seen late, by a whole number of physics steps drawn uniformly.

    Raises:
        ValueError: no field, a negative delay, or low above high.
    """

    fields: tuple[str, ...]
    """Of the state; all are late by the same time."""
    low: int
    """Least delay, physics steps."""
    high: int
    """Greatest delay, physics steps; it may be drawn, too."""
    mode: Mode = "reset"
    """`interval` draws the delay of every reading anew."""

    def __post_init__(self) -> None:
        check_mode(self.mode, MODES)
        check_fields("The sensor delay", self.fields)
        check_delay("The sensor delay", self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class SensorDrop:
    """Readings are lost, one by one; the last one that came is seen instead.

    Raises:
        ValueError: no field, or a probability outside [0, 1].
    """

    fields: tuple[str, ...]
    """Of the state; they are lost together."""
    probability: float

    def __post_init__(self) -> None:
        check_fields("The sensor drop", self.fields)
        check_probability("The sensor drop", self.probability)


@dataclass(frozen=True, kw_only=True)
class CameraEvent:
    """A camera hangs elsewhere than in the model.

    Raises:
        UnknownNameError: no such mode.
        ValueError: a negative size.
    """

    cameras: tuple[str, ...] = ("*",)
    position: float = 0.0
    """Each coordinate moves by up to this, m."""
    rotation: float = 0.0
    """It turns by up to this about a random axis, degrees."""
    fovy: float = 0.0
    """The vertical field of view changes by up to this, degrees."""
    mode: Mode = "startup"

    def __post_init__(self) -> None:
        check_mode(self.mode, ("startup", "reset"))
        for name in ("position", "rotation", "fovy"):
            check_at_least_zero(f"The camera event: {name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class LightEvent:
    """A light shines from elsewhere, and as bright as drawn.

    Raises:
        UnknownNameError: no such mode.
        ValueError: a negative size or brightness, or a range that runs backwards.
    """

    lights: tuple[str, ...] = ("*",)
    position: float = 0.0
    """Each coordinate moves by up to this, m."""
    rotation: float = 0.0
    """Its direction turns by up to this about a random axis, degrees."""
    brightness: tuple[float, float] = (1.0, 1.0)
    """Least and greatest factor of the diffuse and ambient light."""
    mode: Mode = "reset"

    def __post_init__(self) -> None:
        check_mode(self.mode, ("startup", "reset"))
        for name in ("position", "rotation"):
            check_at_least_zero(f"The light event: {name}", getattr(self, name))
        check_span("The light event: brightness", self.brightness, 0.0)


@dataclass(frozen=True, kw_only=True)
class MaterialEvent:
    """Surfaces have other colours, and shine otherwise.

    Raises:
        UnknownNameError: no such mode.
        ValueError: a size outside [0, 1], materials and geoms both missing.
    """

    materials: tuple[str, ...] = ()
    """Materials of the model; their colour tints the texture."""
    geoms: tuple[str, ...] = ()
    """Geoms without a material, whose own colour changes."""
    color: float = 0.2
    """Each of red, green and blue moves by up to this, and stays within [0, 1]."""
    shininess: float = 0.0
    """Shininess, specularity and reflectance of materials move by up to this, within [0, 1]."""
    textures: bool = False
    """Whether materials that have textures may exchange them among each other."""
    mode: Mode = "reset"

    def __post_init__(self) -> None:
        check_mode(self.mode, ("startup", "reset"))
        for name in ("color", "shininess"):
            check_probability(f"The material event: {name}", getattr(self, name))
        if not self.materials and not self.geoms:
            raise ValueError("The material event: expected materials or geoms, got neither.")
