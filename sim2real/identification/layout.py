"""Which column of a file is which channel, and in which unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

UNITS: Mapping[str, tuple[str, float]] = {
    "1": ("1", 1.0), "": ("1", 1.0), "%": ("1", 0.01),
    "s": ("s", 1.0), "ms": ("s", 1e-3), "us": ("s", 1e-6), "ns": ("s", 1e-9),
    "m": ("m", 1.0), "cm": ("m", 0.01), "mm": ("m", 1e-3),
    "m/s": ("m/s", 1.0), "mm/s": ("m/s", 1e-3), "cm/s": ("m/s", 0.01), "km/h": ("m/s", 1 / 3.6),
    "m/s^2": ("m/s^2", 1.0), "g": ("m/s^2", 9.80665),
    "rad": ("rad", 1.0), "deg": ("rad", np.pi / 180), "rev": ("rad", 2 * np.pi),
    "rad/s": ("rad/s", 1.0), "deg/s": ("rad/s", np.pi / 180), "rpm": ("rad/s", 2 * np.pi / 60),
    "N": ("N", 1.0), "N m": ("N m", 1.0), "N mm": ("N m", 1e-3),
    "kg": ("kg", 1.0), "V": ("V", 1.0), "A": ("A", 1.0), "mA": ("A", 1e-3),
}  # fmt: skip
"""Symbol -> the SI unit it is a multiple of, and which multiple."""


class LogError(ValueError):
    """A log that can't be used as it is."""


def factor(unit: str, wanted: str, what: str) -> float:
    """What numbers in `unit` are to be multiplied by to be in `wanted`.

    Raises:
        LogError: one is not a multiple of the other.
    """
    given, goal = (text.strip().replace("²", "^2").replace("·", " ") for text in (unit, wanted))
    if given == goal:
        return 1.0
    if given not in UNITS or goal not in UNITS or UNITS[given][0] != UNITS[goal][0]:
        raise LogError(
            f"Expected {what} in {wanted}, or in a multiple of it, got {unit}. Convert the file, or declare the unit "
            f"that its numbers really are in ({', '.join(filter(None, UNITS))})."
        )
    return UNITS[given][1] / UNITS[goal][1]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a file keeps the numbers of a channel."""

    key: str
    """Column, feature, observation (parts joined by "/") or topic.field (MCAP)."""
    columns: tuple[int, ...] = ()
    """Which of its numbers; none is all of them."""
    unit: str | None = None
    """What they are in, where the file does not say; None is what is expected."""

    def pick(self, values: np.ndarray, what: str) -> np.ndarray:
        """The chosen columns of `(T, …)` as float64 `(T, size)`.

        Raises:
            LogError: there is no such column, or the values are not numbers.
        """
        try:
            numbers = np.asarray(values, np.float64).reshape(len(values), -1)
        except (TypeError, ValueError) as error:
            raise LogError(f"Expected numbers, as many in every row, in {self.key!r} of {what}: {error}") from error
        if not self.columns:
            return numbers
        if max(self.columns) >= numbers.shape[1] or min(self.columns) < 0:
            raise LogError(
                f"Expected columns in [0, {numbers.shape[1] - 1}] of {self.key!r} in {what}, got {self.columns}."
            )
        return numbers[:, list(self.columns)]


@dataclass(frozen=True, kw_only=True)
class LogLayout:
    """How to read a file that does not describe itself."""

    command: Source | None = None
    """The commands; None is the format's own place for actions."""
    channels: Mapping[str, Source] | None = None
    """By channel; None takes everything there is, under the file's own names."""
    control_dt: float | None = None
    """Time between rows, s; None is what the file declares."""
    time: Source | None = None
    """The time stamps, for MCAP; None is the time at which the messages were logged."""

    def __post_init__(self) -> None:
        if self.control_dt is not None and not self.control_dt > 0:
            raise LogError(f"Expected a control step of more than 0 s, got {self.control_dt}.")


@dataclass(frozen=True, kw_only=True)
class RawLog:
    """What a file says, before units and rates are checked."""

    name: str
    time: np.ndarray
    """`(T,)`, in `time_unit`."""
    command: np.ndarray
    """`(T, size)`."""
    sensors: Mapping[str, np.ndarray]
    """`(T, size)` by channel."""
    episode: np.ndarray
    """`(T,)`."""
    units: Mapping[str, str | None]
    """By channel, with "command"; None where the file says nothing."""
    control_dt: float | None = None
    """What the file declares, s."""
    time_unit: str = "s"
    robot: str = ""
    meta: Mapping[str, Any] | None = None
