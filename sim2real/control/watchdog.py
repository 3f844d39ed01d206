"""The watchdog: looks at every reading, action and deadline, and says what may be sent or that the robot must stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cairngym.sim2real.control.faults import (
    COMMANDS,
    CONTINUE,
    HOLD,
    HOLD_BRIEFLY,
    NONE,
    STOP,
    Fault,
    Response,
    SafeStopError,
)
from cairngym.sim2real.robot import Reading, RobotSpec


@dataclass(frozen=True, kw_only=True)
class Moving:
    """A channel whose values change as long as its sensor works."""

    channel: str = "observation"
    """Name of the sensor."""
    within_s: float = 0.5
    """For how long new readings may repeat its values, s."""
    tolerance: float = 0.0
    """Changes up to this, in the channel's units, count as none."""
    command_above: float = 0.0
    """Time counts only while some number of the command is farther from rest than this, in the command's units: a
    robot that is told to rest may do so."""

    def __post_init__(self) -> None:
        if not (self.within_s > 0 and self.tolerance >= 0 and self.command_above >= 0):
            raise ValueError(f"Expected within_s above 0, tolerance and command_above of at least 0, got {self}.")


@dataclass(frozen=True, kw_only=True)
class WatchdogConfig:
    """What counts as a fault, and what is done about each."""

    stale_s: float = 0.05
    """Age from which a reading is stale, s."""
    clock_window_s: float = 5.0
    """Window over which the least delay of readings is taken, s (see `ReadingAge`); 0 counts the time since arrival."""
    moving: tuple[Moving, ...] = (Moving(),)
    """Channels that freeze when their sensor fails."""
    deadline_misses: int = 50
    """How many deadlines in a row may be missed before `deadline` is a fault."""
    stale: Response = HOLD
    """A reading older than `stale_s`."""
    frozen: Response = STOP
    """A channel of `moving` that repeats its values."""
    nan_reading: Response = HOLD_BRIEFLY
    """A reading that is not finite or lacks a channel; the policy is not asked."""
    nan_command: Response = STOP
    """An action that is not finite."""
    policy: Response = STOP
    """A policy that raises or answers with the wrong shape."""
    command_limit: Response = CONTINUE
    """A command outside of the robot's limits; what continues is the clipped one."""
    rate_limit: Response = CONTINUE
    """A command that changes too fast; what continues is the slower one."""
    workspace: Response = CONTINUE
    """A channel outside of its box; what continues is what `Workspace` lets through."""
    workspace_left: Response = STOP
    """A channel beyond the margin of its box."""
    deadline: Response = STOP
    """More than `deadline_misses` in a row."""
    recorder: Response = CONTINUE
    """A flight recorder that can't write; the log so far stays."""

    def __post_init__(self) -> None:
        if not (self.stale_s > 0 and self.clock_window_s >= 0 and self.deadline_misses >= 0):
            raise ValueError(
                f"Expected stale_s above 0, clock_window_s and deadline_misses of at least 0, got {self.stale_s}, "
                f"{self.clock_window_s} and {self.deadline_misses}."
            )
        for name in ("nan_reading", "nan_command", "policy"):
            if getattr(self, name).meanwhile == "policy":
                raise ValueError(f"Expected {name} to hold or rest meanwhile: there is no command of the policy then.")

    def response(self, fault: Fault) -> Response:
        """What is done about a fault; those that are not configured stop the robot."""
        return getattr(self, fault.label, STOP)


@dataclass(slots=True)
class _Memory:
    """The values of a channel when they last moved."""

    rule: Moving
    where: slice
    values: np.ndarray | None = None
    since_s: float = 0.0
    moved: bool = True


class Watchdog:
    """Collects the faults of a tick; `begin`, then any of the checks, and `command` whenever it matters.

    Args:
        config: what counts as a fault, and what is done.
        spec: the robot's.

    Raises:
        UnknownNameError: a channel that the robot lacks.
    """

    def __init__(self, config: WatchdogConfig, spec: RobotSpec) -> None:
        self.config, self.spec = config, spec
        self.active = NONE
        self._rest = np.array(spec.rest, dtype=np.float64)
        self._slices = slices(spec)
        for rule in config.moving:
            spec.sensor(rule.channel)
        self.reset(0.0)

    def reset(self, now_s: float) -> None:
        """Begin an episode at `now_s`: faults of before don't count."""
        self._since: dict[Fault, float] = {}
        self._missed = 0
        self._memories = [_Memory(rule, self._slices[rule.channel], since_s=now_s) for rule in self.config.moving]
        self.begin(now_s)

    def begin(self, now_s: float) -> None:
        """Begin a tick at `now_s`: faults that the last tick did not show are over."""
        self._since = {fault: since for fault, since in self._since.items() if fault in self.active}
        self.active, self._now = NONE, now_s
        self._command = 0

    def raise_fault(self, fault: Fault, detail: str) -> None:
        """Take in a fault.

        Raises:
            SafeStopError: it lasts for longer than it may.
        """
        self.active |= fault
        response = self.config.response(fault)
        since = self._since.setdefault(fault, self._now)
        if self._now - since >= response.stop_after_s:
            raise SafeStopError(fault, detail)
        self._command = max(self._command, COMMANDS.index(response.meanwhile))

    @property
    def command(self) -> str:
        """Whose command may be sent: "policy", "hold" or "rest", by the gravest fault of the tick."""
        return COMMANDS[self._command]

    def sense(self, reading: Reading, flat: np.ndarray | None, *, fresh: bool, age_s: float, sent: np.ndarray) -> None:
        """Check a reading.

        Args:
            reading: the latest.
            flat: all its values as `flatten` gives them; None if that failed.
            fresh: whether it was not seen before.
            age_s: how old it is.
            sent: the command that the robot is following.

        Raises:
            SafeStopError: a fault lasts for longer than it may.
        """
        if age_s > self.config.stale_s:
            self.raise_fault(
                Fault.STALE, f"reading {reading.sequence} is {age_s:.3f} s old, limit {self.config.stale_s} s"
            )
        if flat is None:
            self.raise_fault(Fault.NAN_READING, f"reading {reading.sequence} lacks a channel of {self.spec.robot}")
        elif not np.isfinite(flat).all():
            self.raise_fault(Fault.NAN_READING, f"reading {reading.sequence}: {self._where(flat)} is not finite")
        elif fresh:
            for memory in self._memories:
                self._moved(memory, flat, sent)
        for memory in self._memories:
            if not memory.moved:
                rule = memory.rule
                self.raise_fault(Fault.FROZEN, f"{rule.channel!r} repeats its values for over {rule.within_s} s")

    def _moved(self, memory: _Memory, flat: np.ndarray, sent: np.ndarray) -> None:
        values, rule = flat[memory.where], memory.rule
        resting = np.abs(sent - self._rest).max() <= rule.command_above
        if resting or memory.values is None or np.abs(values - memory.values).max() > rule.tolerance:
            memory.values, memory.since_s, memory.moved = values, self._now, True
        else:
            memory.moved = self._now - memory.since_s <= rule.within_s

    def deadlines(self, missed: int) -> None:
        """Take in how many deadlines were missed since the last tick.

        Raises:
            SafeStopError: too many in a row.
        """
        self._missed = self._missed + missed if missed else 0
        if self._missed > self.config.deadline_misses:
            self.raise_fault(Fault.DEADLINE, f"{self._missed} deadlines missed in a row")

    def _where(self, flat: np.ndarray) -> str:
        at = int(np.argmin(np.isfinite(flat)))
        name, where = next((name, where) for name, where in self._slices.items() if at < where.stop)
        return f"number {at - where.start} of {name!r}"


def slices(spec: RobotSpec) -> dict[str, slice]:
    """Where each sensor lies in all values of a reading, one after the other in the spec's order."""
    ends = np.cumsum([0, *(sensor.size for sensor in spec.sensors)]).tolist()
    return {sensor.name: slice(ends[k], ends[k + 1]) for k, sensor in enumerate(spec.sensors)}


def flatten(spec: RobotSpec, reading: Reading) -> np.ndarray | None:
    """All values of a reading one after the other, float64; None if a channel is missing or has another size."""
    try:
        parts = [np.asarray(reading.values[sensor.name], dtype=np.float64) for sensor in spec.sensors]
    except (KeyError, TypeError, ValueError):
        return None
    if any(part.shape != (sensor.size,) for part, sensor in zip(parts, spec.sensors, strict=True)):
        return None
    return np.concatenate(parts) if parts else np.zeros(0)


def describe(config: WatchdogConfig) -> str:
    """The responses as lines of text."""
    lines = []
    responses = ((name, value) for name, value in vars(config).items() if isinstance(value, Response))
    for name, response in responses:
        after = "never stops" if math.isinf(response.stop_after_s) else f"stops after {response.stop_after_s:g} s"
        lines.append(f"{name:<15} {response.meanwhile:<7} {after}")
    return "\n".join(lines)
