"""What came of a control loop: punctuality, latencies, faults and commands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cairngym.sim2real.control.latency import Quantiles

PARTS = ("start", "reading_age", "policy", "send", "tick")
"""Latencies of a tick: how late it started, how old the reading was, the policy's and the driver's time, and all."""


@dataclass(frozen=True, kw_only=True)
class LoopReport:
    """The life of a control loop. Times are in seconds."""

    robot: str
    outcome: str
    """"finished", or "stopped" where a fault ended it."""
    reason: str
    """Why it ended."""
    fault: str | None
    """Name of the fault that ended it."""
    clock: str
    """"real" or "lockstep"."""
    rate_hz: float
    seconds: float
    """How long it ran, without the time that resets took."""
    slots: int
    """Periods that it was to serve; each is served in time, overrun or skipped."""
    started_late: int
    """Ticks that started late by more than the tolerance."""
    overran: int
    """Ticks that were not done before the next was due."""
    skipped: int
    """Periods without a tick."""
    latencies: Mapping[str, Quantiles]
    """By part: see `PARTS`."""
    commands: Mapping[str, int]
    """Ticks by where their command came from: policy, hold, rest, stop, over."""
    faults: Mapping[str, int]
    """Ticks by the fault they showed."""
    readings: int
    """Readings seen."""
    lost: int
    """Readings that the robot made and the loop did not see: lost on the way, or replaced by newer ones in time."""
    repeated: int
    """Ticks without a new reading."""
    episodes: int
    successes: int
    """Episodes in which the task was done."""
    recorded: int = 0
    """Records in the flight log."""
    dropped: int = 0
    """Records that are not in it."""
    recorder_error: str | None = None
    priority: str = "not asked for"
    """Of the loop's thread."""

    @property
    def missed(self) -> int:
        """Deadlines missed: periods overrun or skipped."""
        return self.overran + self.skipped

    @property
    def miss_rate(self) -> float:
        """Part of all deadlines that was missed."""
        return self.missed / self.slots if self.slots else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; numbers that are not finite become None."""
        return _plain({**asdict(self), "missed": self.missed, "miss_rate": self.miss_rate})

    def to_json(self) -> str:
        """As a JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def text(self) -> str:
        """For people."""
        lines = [
            f"{self.outcome}: {self.reason}",
            f"{self.robot}, {self.clock} clock, {self.rate_hz:g} Hz for {self.seconds:.1f} s; {self.slots} deadlines, "
            f"{self.missed} missed ({self.miss_rate:.2%}): {self.overran} overrun, {self.skipped} skipped; "
            f"{self.started_late} started late",
            f"{self.readings} readings, {self.lost} not seen, {self.repeated} ticks without a new one; "
            f"{self.episodes} episodes begun, {self.successes} successes",
            "commands: " + _counts(self.commands),
            "faults: " + (_counts(self.faults) or "none"),
            f"{'latency, ms':<12} {'p50':>9} {'p99':>9} {'max':>9}",
        ]
        for name, part in self.latencies.items():
            lines.append(f"{name:<12} {1e3 * part.p50:>9.3f} {1e3 * part.p99:>9.3f} {1e3 * part.max:>9.3f}")
        if self.recorded or self.dropped or self.recorder_error:
            lines.append(f"flight log: {self.recorded} records, {self.dropped} dropped")
        if self.recorder_error:
            lines.append(f"flight log ended early: {self.recorder_error}")
        return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
