"""Filters of commands: what is too quick for a robot's drives is taken out before limits are applied."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from cairngym.envs.checks import unknown_name


class Filter(ABC):
    """A causal filter of vectors, one value each period; it passes constants unchanged.

    Args:
        dt: period, s.
    """

    def __init__(self, *, dt: float) -> None:
        if not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"Expected a period above 0 s, got {dt}.")
        self.dt = dt

    @abstractmethod
    def reset(self, value: np.ndarray) -> None:
        """Forget the past: be as if `value` `(size,)` had always been the input."""

    @abstractmethod
    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Filter the next value `(size,)`, which has to be finite."""


class LowPass(Filter):
    """First order: y' = 2 pi f (x - y), solved exactly for an input that is held over each period.

    Args:
        cutoff_hz: where the gain of the continuous filter is 1 / sqrt(2), Hz.
        dt: period, s.
    """

    def __init__(self, cutoff_hz: float, *, dt: float) -> None:
        super().__init__(dt=dt)
        self.gain = smoothing(_positive("cutoff_hz", cutoff_hz), dt)

    def reset(self, value: np.ndarray) -> None:
        """Begin at `value`."""
        self._value = np.array(value, dtype=np.float64)

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Go a part of the way to `value`."""
        self._value = self._value + self.gain * (value - self._value)
        return self._value


def smoothing(cutoff_hz: float | np.ndarray, dt: float) -> np.ndarray:
    """The part of the way that a first-order filter goes in one period: 1 - exp(-2 pi f dt)."""
    return -np.expm1(-2 * np.pi * np.asarray(cutoff_hz) * dt)


class Butterworth(Filter):
    """Second order, by the bilinear transform with the cut-off frequency prewarped; it overshoots steps by about 4 %.

    Args:
        cutoff_hz: where the gain is 1 / sqrt(2), Hz; below half the rate.
        dt: period, s.
    """

    def __init__(self, cutoff_hz: float, *, dt: float) -> None:
        super().__init__(dt=dt)
        if not _positive("cutoff_hz", cutoff_hz) < 0.5 / dt:
            raise ValueError(f"Expected a cut-off below half the rate, {0.5 / dt:g} Hz, got {cutoff_hz:g} Hz.")
        warped = math.tan(math.pi * cutoff_hz * dt)
        norm = 1 + math.sqrt(2) * warped + warped**2
        b0 = warped**2 / norm
        self.b = (b0, 2 * b0, b0)
        self.a = (1.0, 2 * (warped**2 - 1) / norm, (1 - math.sqrt(2) * warped + warped**2) / norm)

    def reset(self, value: np.ndarray) -> None:
        """Begin settled at `value`."""
        value = np.array(value, dtype=np.float64)
        self._second = (self.b[2] - self.a[2]) * value
        self._first = (self.b[1] - self.a[1]) * value + self._second

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The transposed direct form II."""
        output = self.b[0] * value + self._first
        self._first = self.b[1] * value - self.a[1] * output + self._second
        self._second = self.b[2] * value - self.a[2] * output
        return output


class MovingAverage(Filter):
    """The mean of the latest values.

    Args:
        window: how many.
        dt: period, s.
    """

    def __init__(self, window: float, *, dt: float) -> None:
        super().__init__(dt=dt)
        if window < 1 or window != int(window):
            raise ValueError(f"Expected a window of whole values, at least 1, got {window}.")
        self.window = int(window)

    def reset(self, value: np.ndarray) -> None:
        """Fill the window with `value`."""
        self._values = np.tile(np.array(value, dtype=np.float64), (self.window, 1))
        self._oldest = 0

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Replace the oldest value."""
        self._values[self._oldest] = value
        self._oldest = (self._oldest + 1) % self.window
        return self._values.mean(axis=0)


class OneEuro(Filter):
    """First order, with a cut-off that grows with speed: steady at rest, quick on the move (Casiez et al., CHI 2012).

    Args:
        cutoff_hz: cut-off at rest, Hz.
        beta: growth of the cut-off with the speed, Hz for each unit/s.
        speed_cutoff_hz: cut-off for the speed itself, Hz.
        dt: period, s.
    """

    def __init__(self, cutoff_hz: float, beta: float = 0.0, speed_cutoff_hz: float = 1.0, *, dt: float) -> None:
        super().__init__(dt=dt)
        self.cutoff_hz = _positive("cutoff_hz", cutoff_hz)
        self.speed_gain = smoothing(_positive("speed_cutoff_hz", speed_cutoff_hz), dt)
        if not (math.isfinite(beta) and beta >= 0):
            raise ValueError(f"Expected beta of at least 0, got {beta}.")
        self.beta = beta

    def reset(self, value: np.ndarray) -> None:
        """Begin at `value`, at rest."""
        self._value = np.array(value, dtype=np.float64)
        self._input = self._value
        self._speed = np.zeros_like(self._value)

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Filter the speed, then the value with the cut-off that belongs to it."""
        self._speed = self._speed + self.speed_gain * ((value - self._input) / self.dt - self._speed)
        self._input = np.array(value, dtype=np.float64)
        gain = smoothing(self.cutoff_hz + self.beta * np.abs(self._speed), self.dt)
        self._value = self._value + gain * (value - self._value)
        return self._value


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"Expected {name} above 0, got {value}.")
    return value


FILTERS: dict[str, Callable[..., Filter]] = {
    "low_pass": LowPass, "butterworth": Butterworth, "moving_average": MovingAverage, "one_euro": OneEuro,
}  # fmt: skip
"""By the name that `make_filter` knows them by."""


def make_filter(text: str, *, dt: float) -> Filter:
    """A filter from "name:number" or "name:number,number", in the order of its arguments.

    Args:
        text: for instance "low_pass:5", "moving_average:4" or "one_euro:1,0.05".
        dt: period, s.

    Raises:
        UnknownNameError: no such filter.
        ValueError: arguments it doesn't take.

    Example:
        >>> make_filter("moving_average:4", dt=0.01).window
        4
    """
    name, _, rest = text.partition(":")
    if name not in FILTERS:
        raise unknown_name("filter", name, FILTERS)
    try:
        numbers = [float(number) for number in rest.split(",")] if rest else []
        return FILTERS[name](*numbers, dt=dt)
    except TypeError as error:
        raise ValueError(f"Expected {name!r} with its numbers, as in 'low_pass:5', got {text!r}: {error}.") from error


class FilterChain:
    """Filters one after the other.

    Args:
        filters: in the order of application; none passes everything.
    """

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self.filters = tuple(filters)

    def reset(self, value: np.ndarray) -> None:
        """Be as if `value` `(size,)` had always been the input."""
        for one in self.filters:
            one.reset(value)

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Filter the next value `(size,)`.

        Raises:
            ValueError: it is not finite; the filters are as before.
        """
        if not np.isfinite(value).all():
            raise ValueError(f"Expected a finite value to filter, got {np.asarray(value).tolist()}.")
        for one in self.filters:
            value = one(value)
        return value
