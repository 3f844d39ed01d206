"""Limits of commands: their range, their rate, and the box that a measured quantity has to stay in."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from cairngym.sim2real.control.faults import NONE, Fault
from cairngym.sim2real.robot import Channel, RobotSpec

ROUNDING = 1e-6
"""By how much of its size a float32 command may exceed a limit without being called a violation."""

Numbers = float | Sequence[float] | np.ndarray


class Limit(ABC):
    """Changes commands that may not be sent, and says so."""

    @abstractmethod
    def reset(self, command: np.ndarray) -> None:
        """Forget the past: `command` `(size,)` is what the robot is doing."""

    @abstractmethod
    def apply(self, command: np.ndarray, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Fault]:
        """The command that may be sent, and what was wrong with the one that came.

        Args:
            command: `(size,)`, finite.
            values: the latest reading.
        """

    def sent(self, command: np.ndarray) -> None:
        """Take in what the robot was told in the end `(size,)`; most limits need not know."""
        del command


class CommandLimits(Limit):
    """Clips commands to the range that the robot takes.

    Args:
        channel: the robot's command.
    """

    def __init__(self, channel: Channel) -> None:
        self.low = np.full(channel.size, -np.inf) if channel.low is None else np.array(channel.low)
        self.high = np.full(channel.size, np.inf) if channel.high is None else np.array(channel.high)
        finite = [np.where(np.isfinite(bound), np.abs(bound), 0.0) for bound in (self.low, self.high)]
        self._slack = ROUNDING * np.maximum(1.0, np.maximum(*finite))

    def reset(self, command: np.ndarray) -> None:
        """Nothing to forget."""

    def apply(self, command: np.ndarray, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Fault]:
        """Clip."""
        outside = ((command < self.low - self._slack) | (command > self.high + self._slack)).any()
        return np.clip(command, self.low, self.high), Fault.COMMAND_LIMIT if outside else NONE


class RateLimit(Limit):
    """Lets commands change by at most so much a second.

    Args:
        per_second: greatest change, command units/s: one number, or one for each number of a command.
        dt: period, s.
        size: numbers of a command.
    """

    def __init__(self, per_second: Numbers, *, dt: float, size: int) -> None:
        if not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"Expected a period above 0 s, got {dt}.")
        rate = _vector("per_second", per_second, size)
        if not (rate > 0).all():
            raise ValueError(f"Expected rates above 0 per second, got {rate.tolist()}.")
        self.step = rate * dt
        self._last = np.zeros(size)

    def reset(self, command: np.ndarray) -> None:
        """Start from `command`."""
        self._last = np.array(command, dtype=np.float64)

    def apply(self, command: np.ndarray, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Fault]:
        """Go towards the command as far as one period allows."""
        change = command - self._last
        too_fast = (np.abs(change) > self.step * (1 + ROUNDING)).any()
        return self._last + np.clip(change, -self.step, self.step), Fault.RATE_LIMIT if too_fast else NONE

    def sent(self, command: np.ndarray) -> None:
        """Go on from what was sent."""
        self._last = command


class Workspace(Limit):
    """Keeps a measured quantity within a box.

    Inside of the box commands pass. Outside, a command passes while the quantity comes back or stays; while its
    distance from the box grows from reading to reading, the rest command is sent in its place. Beyond the margin the
    fault is WORKSPACE_LEFT, for which the loop stops unless it is configured otherwise.

    Args:
        spec: the robot's.
        channel: name of the sensor.
        low: least value of each number of the channel, or one for all; -inf where there is none.
        high: greatest value.
        margin: how far outside the quantity may be, in the channel's units.
    """

    def __init__(
        self, spec: RobotSpec, channel: str, *, low: Numbers, high: Numbers, margin: Numbers = math.inf
    ) -> None:
        self.channel, size = channel, spec.sensor(channel).size
        self.low, self.high = _vector("low", low, size), _vector("high", high, size)
        self.margin = _vector("margin", margin, size)
        if not (self.low < self.high).all():
            raise ValueError(f"Expected low below high, got {self.low.tolist()} and {self.high.tolist()}.")
        if not (self.margin >= 0).all():
            raise ValueError(f"Expected a margin of at least 0, got {self.margin.tolist()}.")
        self.rest = np.array(spec.rest, dtype=np.float64)
        self.reset(self.rest)

    def reset(self, command: np.ndarray) -> None:
        """A quantity that is outside at first counts as staying there."""
        self._value = np.full(len(self.low), np.nan)
        self._outside = np.full(len(self.low), np.inf)
        self._leaving = False

    def apply(self, command: np.ndarray, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Fault]:
        """Rest while the quantity leaves."""
        value = values[self.channel]
        outside = np.maximum(0.0, np.maximum(self.low - value, value - self.high))
        if not np.array_equal(value, self._value):  # an old reading says nothing about where the robot is going
            self._leaving = bool((outside > self._outside).any())
            self._value, self._outside = np.array(value), outside
        if not outside.any():
            return command, NONE
        fault = Fault.WORKSPACE_LEFT if (outside > self.margin).any() else Fault.WORKSPACE
        return (self.rest.copy() if self._leaving else command), fault


def _vector(name: str, value: Numbers, size: int) -> np.ndarray:
    """One number for all, or one for each, as float64 `(size,)`."""
    vector = np.asarray(value, dtype=np.float64)
    if vector.ndim == 0:
        vector = np.full(size, vector)
    if vector.shape != (size,):
        raise ValueError(f"Expected {name} as one number or {size} of them, got shape {vector.shape}.")
    if np.isnan(vector).any():
        raise ValueError(f"Expected {name} without NaN, got {vector.tolist()}.")
    return vector


class LimitChain:
    """Limits one after the other.

    The order that makes sense is range, rate, workspace: what a rate limit makes of two commands within the range is
    within it too, and the rest that a workspace asks for is not to be approached slowly.

    Args:
        limits: in the order of application.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.limits = tuple(limits)

    def reset(self, command: np.ndarray) -> None:
        """Forget the past: `command` `(size,)` is what the robot is doing."""
        for limit in self.limits:
            limit.reset(command)

    def apply(self, command: np.ndarray, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Fault]:
        """The command that may be sent, and all that was wrong with the one that came.

        Raises:
            ValueError: it is not finite.
        """
        if not np.isfinite(command).all():
            raise ValueError(f"Expected a finite command to limit, got {np.asarray(command).tolist()}.")
        faults = NONE
        for limit in self.limits:
            command, fault = limit.apply(command, values)
            faults |= fault
        return command, faults

    def sent(self, command: np.ndarray) -> None:
        """Take in what the robot was told in the end `(size,)`."""
        for limit in self.limits:
            limit.sent(command)
