"""Faults at work in a twin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cairngym.sim2real.robot import Reading
from cairngym.sim2real.twin.config import Fault

LOSS, DELAY_S = 0.3, 0.1
"""What the faults of these names come to where no amount is given."""


class Faults:
    """Which faults are at work; times are of one clock, s."""

    def __init__(self) -> None:
        self._active: dict[str, tuple[Fault, float]] = {}
        self._frozen: Reading | None = None

    def inject(self, fault: Fault, now: float) -> None:
        """Begin a fault, or end all of them by the kind "none"."""
        if fault.kind == "none":
            self._active.clear()
        else:
            self._active[fault.kind] = (fault, math.inf if fault.duration_s is None else now + fault.duration_s)

    def at_work(self, kind: str, now: float) -> Fault | None:
        """The fault of that kind, if it is at work."""
        fault, until = self._active.get(kind, (None, -math.inf))
        return fault if now < until else None

    def loss(self, now: float) -> float:
        """Share of datagrams lost."""
        return self._amount("loss", LOSS, now)

    def delay_s(self, now: float) -> float:
        """Delay of datagrams."""
        return self._amount("delay", DELAY_S, now)

    def _amount(self, kind: str, default: float, now: float) -> float:
        fault = self.at_work(kind, now)
        if fault is None:
            return 0.0
        return default if fault.amount is None else fault.amount

    def stalled_until(self) -> float:
        """When the twin goes on that does nothing until then; minus infinity if it has not stalled."""
        return self._active["stall"][1] if "stall" in self._active else -math.inf

    def altered(self, reading: Reading, now: float) -> Reading:
        """The reading as it is published."""
        stamps, values = self.at_work("freeze_stamps", now), self.at_work("freeze_values", now)
        if stamps or values:
            if self._frozen is None:
                self._frozen = reading
            reading = replace(reading, values=self._frozen.values)
            if stamps:
                reading = replace(reading, time_s=self._frozen.time_s)
        else:
            self._frozen = None
        nan = self.at_work("nan", now)
        return replace(reading, values=_without_numbers(reading, nan.channel)) if nan else reading


def _without_numbers(reading: Reading, channel: str | None) -> dict[str, np.ndarray]:
    return {
        name: np.full_like(values, np.nan) if channel in (None, name) else values
        for name, values in reading.values.items()
    }
