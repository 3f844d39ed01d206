"""Intervals of steps, given in steps or in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STEPS = 10**9


@dataclass(frozen=True)
class Interval:
    """Steps from `low` to `high`, both included; `high` None has no end.

    Raises:
        TypeError: bounds that are not whole numbers.
        ValueError: a negative bound, one above a billion, or bounds in the wrong order.
    """

    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if bound is None and bound is self.high:
                continue
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise TypeError(f"Expected whole numbers of steps, got {bound!r}; use Interval.seconds for times.")
            if bound > MAX_STEPS:
                raise ValueError(f"Expected bounds up to {MAX_STEPS} steps, got {self}; write inf for no end.")
        if self.low < 0:
            raise ValueError(f"Expected an interval that begins at step 0 or later, got {self}.")
        if self.high is not None and self.high < self.low:
            raise ValueError(f"Expected an interval [low,high] with low <= high, got {self}; swap its bounds.")

    @classmethod
    def seconds(cls, low: float, high: float | None, dt: float) -> Interval:
        """The steps of length `dt` (s) whose times lie within [low, high] (s); `high` None or infinite has no end.

        Raises:
            ValueError: a step length that is not positive, bounds that are negative, not numbers or in the wrong
                order, or no step within.
        """
        check_dt(dt)
        end = math.inf if high is None else high
        if not 0 <= low <= end or math.isinf(low):
            raise ValueError(f"Expected an interval [low,high] in seconds with 0 <= low <= high, got [{low},{high}].")
        if max(low, 0 if math.isinf(end) else end) / dt > MAX_STEPS:
            raise ValueError(f"Expected bounds up to {MAX_STEPS} steps of {dt} s, got [{low},{high}] s.")
        slack = 1e-9  # so that 0.3 / 0.1 counts as three steps
        first = math.ceil(low / dt * (1 - slack) - slack)
        last = None if math.isinf(end) else math.floor(end / dt * (1 + slack) + slack)
        if last is not None and first > last:
            raise ValueError(f"Expected a step of {dt} s within [{low},{high}] s, got none; widen the interval.")
        return cls(first, last)

    @property
    def bounded(self) -> bool:
        """Whether it ends."""
        return self.high is not None

    def after(self, horizon: int | None) -> int | None:
        """How far its last step reads where each of its steps reads `horizon` steps on; None for no end."""
        return None if self.high is None or horizon is None else self.high + horizon

    def __str__(self) -> str:
        return f"[{self.low},inf)" if self.high is None else f"[{self.low},{self.high}]"


def check_dt(dt: float) -> None:
    """Raise `ValueError` unless `dt` is a length of time in seconds."""
    if isinstance(dt, bool) or not isinstance(dt, int | float) or not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"Expected a positive step length dt in seconds, got {dt!r}.")
