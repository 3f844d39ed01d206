"""Parameters between the physics and the log: delays of commands and sensors, gains and biases of sensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from cairngym.sim2real.identification.parameters import Parameter


@dataclass(frozen=True, kw_only=True)
class ActionDelay(Parameter):
    """Time from a command until the actuators follow it, s; fractions of a physics step count."""

    nominal: float | None = 0.0

    unit: ClassVar[str] = "s"

    @property
    def label(self) -> str:
        """There is one for all commands."""
        return "action delay"

    def model_value(self, model: mujoco.MjModel) -> float:
        """None, in a model."""
        return 0.0

    def check(self, low: np.ndarray, high: np.ndarray) -> None:
        """Refuse commands that are followed before they are given."""
        _causal(self, low)


@dataclass(frozen=True, kw_only=True)
class SensorParameter(Parameter):
    """A parameter of a measured channel."""

    channel: str
    """The log's channel."""
    index: int | None = None
    """Which of its numbers; None is all of them."""

    word: ClassVar[str]
    neutral: ClassVar[float]

    @property
    def label(self) -> str:
        """Its kind, channel and index."""
        return f"{self.word} {self.channel}" + ("" if self.index is None else f"[{self.index}]")

    def model_value(self, model: mujoco.MjModel) -> float:
        """That of a perfect sensor."""
        return self.neutral

    def columns(self, size: int) -> np.ndarray:
        """Which of the channel's `size` numbers it changes, bool `(size,)`.

        Raises:
            ValueError: the channel has no number `index`.
        """
        if self.index is None:
            return np.ones(size, bool)
        if not 0 <= self.index < size:
            raise ValueError(f"Expected an index in [0, {size - 1}] for {self.label!r}, got {self.index}.")
        return np.arange(size) == self.index


@dataclass(frozen=True, kw_only=True)
class SensorDelay(SensorParameter):
    """Age of a reading at its time stamp, s."""

    fields: tuple[str, ...] = ()
    """Fields of the env's state that come from the same sensor, and are late in presets; none is the channel alone."""

    word, neutral, unit = "sensor delay", 0.0, "s"

    def check(self, low: np.ndarray, high: np.ndarray) -> None:
        """Refuse sensors that foresee."""
        _causal(self, low)


@dataclass(frozen=True, kw_only=True)
class SensorGain(SensorParameter):
    """What a sensor multiplies the true value by."""

    word, neutral = "sensor gain", 1.0


@dataclass(frozen=True, kw_only=True)
class SensorBias(SensorParameter):
    """What a sensor adds to the true value, in the channel's unit."""

    word, neutral = "sensor bias", 0.0


def _causal(parameter: Parameter, low: np.ndarray) -> None:
    if (low < 0).any():
        raise ValueError(f"Expected a {parameter.label!r} of at least 0 s, got the bound {low.min():g} s.")
