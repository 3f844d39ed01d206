"""What a control loop keeps of each tick: counts for the report, and a record for the flight recorder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cairngym.sim2real.control.clock import Slot
from cairngym.sim2real.control.faults import COMMANDS, NONE, Fault
from cairngym.sim2real.control.latency import Latencies
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.report import PARTS, LoopReport
from cairngym.sim2real.robot import Reading, RobotSpec


@dataclass(slots=True)
class Tick:
    """One pass of the loop, filled in as it goes."""

    slot: Slot
    reading: Reading
    command: np.ndarray
    """What the robot follows from here on `(size,)`."""
    source: str
    """Whose command that is: one of `COMMANDS`."""
    flat: np.ndarray | None = None
    """All values of the reading."""
    fresh: bool = False
    """Whether the reading was not seen before."""
    age_s: float = math.nan
    policy_s: float = math.nan
    send_s: float = math.nan
    action: np.ndarray | None = None
    """What the policy answered `(size,)`."""
    filtered: np.ndarray | None = None
    done_s: float = math.nan
    overran: bool = False
    faults: Fault = NONE


class Bookkeeper:
    """Counts ticks, and hands them to the recorder.

    Args:
        spec: the robot's.
        recorder: where ticks are kept; None for nowhere.
        late_s: how late a tick may start without being counted, s.
        origin_s: the loop's time at its start, from which recorded times count.
    """

    def __init__(self, spec: RobotSpec, recorder: FlightRecorder | None, *, late_s: float, origin_s: float) -> None:
        self.spec, self.recorder, self.late_s, self.origin_s = spec, recorder, late_s, origin_s
        self.latencies = {part: Latencies() for part in PARTS}
        self.commands = dict.fromkeys(COMMANDS, 0)
        self.faults: dict[str, int] = {}
        self.started_late = self.overran = self.skipped = self.slots = 0
        self.readings = self.lost = self.repeated = self.episodes = self.successes = 0
        self._names: dict[Fault, tuple[str, ...]] = {}
        self._row = np.zeros(1, dtype=recorder.dtype) if recorder else None

    def count(self, tick: Tick) -> None:
        """Take in a tick."""
        slot = tick.slot
        late = slot.start_s - slot.due_s
        self.slots += 1 + slot.skipped
        self.skipped += slot.skipped
        self.started_late += late > self.late_s
        self.overran += tick.overran
        self.commands[tick.source] += 1
        self.repeated += not tick.fresh
        for part, seconds in zip(
            PARTS, (late, tick.age_s, tick.policy_s, tick.send_s, tick.done_s - slot.start_s), strict=True
        ):
            self.latencies[part].add(seconds)
        if tick.faults:
            self._count_faults(tick.faults)
        if self.recorder is not None and self._row is not None:
            self._fill(self._row[0], tick)
            self.recorder.record(self._row)

    def _count_faults(self, faults: Fault) -> None:
        if faults not in self._names:  # to take flags apart is slow
            self._names[faults] = tuple(fault.label for fault in Fault if fault in faults)
        for name in self._names[faults]:
            self.faults[name] = self.faults.get(name, 0) + 1

    def _fill(self, row: np.void, tick: Tick) -> None:
        slot, reading, origin = tick.slot, tick.reading, self.origin_s
        row["slot"], row["due_s"], row["start_s"] = slot.number, slot.due_s - origin, slot.start_s - origin
        row["done_s"], row["age_s"] = tick.done_s - origin, tick.age_s
        row["policy_s"], row["send_s"] = tick.policy_s, tick.send_s
        row["source"], row["flags"], row["fresh"] = COMMANDS.index(tick.source), int(tick.faults), tick.fresh
        row["sequence"], row["time_s"], row["received_s"] = (
            reading.sequence, reading.time_s, reading.received_s - origin
        )  # fmt: skip
        row["episode"], row["over"], row["success"] = reading.episode, reading.over, reading.success
        row["sensors"] = np.nan if tick.flat is None else tick.flat
        row["action"] = np.nan if tick.action is None else tick.action
        row["filtered"] = np.nan if tick.filtered is None else tick.filtered
        row["command"] = tick.command

    def report(self, *, reason: str, fault: Fault | None, clock: str, period_s: float, priority: str) -> LoopReport:
        """All that was counted."""
        recorder = self.recorder
        return LoopReport(
            robot=self.spec.robot, outcome="finished" if fault is None else "stopped", reason=reason,
            fault=None if fault is None else fault.label, clock=clock, rate_hz=1 / period_s,
            seconds=self.slots * period_s, slots=self.slots, started_late=self.started_late, overran=self.overran,
            skipped=self.skipped, latencies={name: one.summary() for name, one in self.latencies.items()},
            commands=dict(self.commands), faults=dict(self.faults), readings=self.readings, lost=self.lost,
            repeated=self.repeated, episodes=self.episodes, successes=self.successes,
            recorded=recorder.written if recorder else 0, dropped=recorder.dropped if recorder else 0,
            recorder_error=recorder.error if recorder else None, priority=priority,
        )  # fmt: skip
