"""The control loop: read, ask the policy, filter, limit, send, at a fixed rate and under a watchdog."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from cairngym.sim2real.control.age import ReadingAge
from cairngym.sim2real.control.bookkeeping import Bookkeeper, Tick
from cairngym.sim2real.control.clock import Clock, LockstepClock, MonotonicClock, Schedule, Slot
from cairngym.sim2real.control.faults import Fault, SafeStopError
from cairngym.sim2real.control.filters import Filter, FilterChain
from cairngym.sim2real.control.limits import CommandLimits, Limit, LimitChain
from cairngym.sim2real.control.realtime import DeadMansSwitch, realtime_priority, without_garbage_collection
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.report import LoopReport
from cairngym.sim2real.control.stepped import Stepped
from cairngym.sim2real.control.watchdog import Watchdog, WatchdogConfig, flatten
from cairngym.sim2real.robot import LockstepRobot, RobotError, RobotInterface, RobotSpec

Policy = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""A reading's arrays `(size,)` by channel -> action `(command.size,)`. Policies that remember have a method `reset`,
which is called where an episode begins."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How a robot is controlled."""

    rate_hz: float | None = None
    """Commands a second; None takes the robot's, 1 / `control_dt`."""
    seconds: float | None = None
    """How long, s; None until something else ends it."""
    episodes: int | None = None
    """How many episodes, for robots that have such; None for as many as there is time for."""
    late_s: float = 0.001
    """Ticks that start later than this count as started late, s."""
    spin_s: float = 0.0002
    """How long before a tick the loop wakes up and spins, s."""
    hang_s: float = 0.5
    """How long a tick may take before another thread stops the robot, s."""
    priority: int | None = None
    """Real-time priority of the loop's thread, 1 to 99, if the system permits it; None doesn't ask."""
    collect_garbage: bool = False
    """Leave Python's garbage collection on."""
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    """What counts as a fault, and what is done."""

    def __post_init__(self) -> None:
        for name in ("rate_hz", "seconds", "episodes", "hang_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"Expected {name} above 0, got {value}.")
        if not (self.late_s >= 0 and self.spin_s >= 0):
            raise ValueError(f"Expected late_s and spin_s of at least 0, got {self.late_s} and {self.spin_s}.")

    def period_s(self, spec: RobotSpec) -> float:
        """Time between two commands, s."""
        return spec.control_dt if self.rate_hz is None else 1 / self.rate_hz


class ControlLoop:
    """Controls a robot by a policy until its time is up or something is wrong, and leaves it stopped.

    The same loop runs without a clock where the robot waits for commands (`LockstepRobot`): ages and deadlines are
    then always kept.

    Args:
        robot: what is controlled.
        policy: called with a reading's arrays `(size,)` by channel.
        config: rate, time and watchdog.
        filters: of the policy's actions, made for the loop's period.
        limits: of what the filters give; None clips to the robot's limits.
        recorder: keeps every tick, and is closed at the end.
        clock: what the loop lives by; None takes `time.monotonic`, or none for a robot that waits.

    Raises:
        ValueError: a filter for another period.
        UnknownNameError: the watchdog is to look at a channel that the robot lacks.
    """

    def __init__(
        self,
        robot: RobotInterface,
        policy: Policy,
        config: LoopConfig | None = None,
        *,
        filters: Sequence[Filter] = (),
        limits: Sequence[Limit] | None = None,
        recorder: FlightRecorder | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config or LoopConfig()
        self.policy, self.recorder, self.spec = policy, recorder, robot.spec
        self.lockstep = clock is None and isinstance(robot, LockstepRobot)
        self.robot = Stepped(robot) if self.lockstep and isinstance(robot, LockstepRobot) else robot
        self.clock = clock or (LockstepClock() if self.lockstep else MonotonicClock(self.config.spin_s))
        self.period_s = self.config.period_s(self.spec)
        for one in filters:
            if not math.isclose(one.dt, self.period_s, rel_tol=1e-6):
                raise ValueError(f"Expected filters for a period of {self.period_s} s, got one for {one.dt} s.")
        self.filters = FilterChain(filters)
        self.limits = LimitChain([CommandLimits(self.spec.command)] if limits is None else limits)
        self.watchdog = Watchdog(self.config.watchdog, self.spec)
        self._rest = np.array(self.spec.rest, dtype=np.float64)
        self._rest.flags.writeable = False
        self._age = ReadingAge(self.config.watchdog.clock_window_s)

    def run(self) -> LoopReport:
        """Begin an episode and control the robot.

        Returns:
            What came of it. Faults, interruptions and whatever the policy or the driver raise end the loop with the
            robot stopped, and are told here.

        Raises:
            RobotError: the robot does not answer at all.
        """
        config = self.config
        with ExitStack() as stack:
            if not config.collect_garbage:
                stack.enter_context(without_garbage_collection())
            priority = stack.enter_context(realtime_priority(config.priority))
            self._switch = DeadMansSwitch(self.robot, config.hang_s + self.period_s)
            if not self.lockstep:
                stack.enter_context(self._switch)
            self._books = Bookkeeper(self.spec, self.recorder, late_s=config.late_s, origin_s=self.clock.now())
            reason, fault = self._live()
        return self._books.report(
            reason=reason, fault=fault, clock="lockstep" if self.lockstep else "real", period_s=self.period_s,
            priority=priority,
        )  # fmt: skip

    def _live(self) -> tuple[str, Fault | None]:
        """All episodes; why they ended, and the fault if it was one."""
        reason, fault = "the loop failed", None
        self._done = 0
        try:
            self._latest = self.robot.reset()
            self._schedule = Schedule(self.clock, self.period_s)
            self._begin()
            reason = self._ticks()
        except SafeStopError as stop:
            reason, fault = stop.reason, stop.fault
        except KeyboardInterrupt:
            reason, fault = "interrupted", Fault.INTERRUPTED
        finally:
            self.robot.stop(reason)
            if self.recorder is not None:
                self.recorder.note(reason)
                self.recorder.close()
        return reason, fault

    def _ticks(self) -> str:
        """Tick until the time is up or the episodes are over; which of them it was."""
        seconds = self.config.seconds
        slots = math.inf if seconds is None else round(seconds / self.period_s)
        while self._books.slots < slots:
            self._switch.alive()
            if self._tick(self._schedule.wait()).reading.over:
                self._done += 1
                if self._done == self.config.episodes:
                    return f"{self._done} episodes are over"
                self._next_episode()
        return f"{seconds:g} s are over"

    def _next_episode(self) -> None:
        self._switch.pause()
        try:
            self._latest = self.robot.reset()
        except Exception as error:
            raise self._gone(error) from error
        self._schedule.restart()
        self._begin()

    def _begin(self) -> None:
        """Begin an episode, whose first reading is there."""
        self._last, self._fresh = self._rest, True
        self._overran = self._succeeded = False
        self._age.reset()
        self.watchdog.reset(self.clock.now())
        self.filters.reset(self._rest)
        self.limits.reset(self._rest)
        self._books.episodes += 1
        try:
            forget(self.policy)
        except Exception as error:
            raise SafeStopError(Fault.POLICY, f"{type(error).__name__}: {error}") from error

    def _tick(self, slot: Slot) -> Tick:
        tick = Tick(slot, self._latest, self._rest, "rest")
        try:
            self._control(tick)
        except SafeStopError as stop:
            self.robot.stop(stop.reason)
            self.watchdog.active |= stop.fault
            tick.command, tick.source = self._rest, "stop"
            raise
        finally:
            tick.done_s, tick.faults = self.clock.now(), self.watchdog.active
            tick.overran = self._overran = tick.done_s > slot.due_s + self.period_s
            self._books.count(tick)
        return tick

    def _control(self, tick: Tick) -> None:
        watchdog = self.watchdog
        watchdog.begin(tick.slot.start_s)
        watchdog.deadlines(tick.slot.skipped + self._overran)
        if self._switch.fired:
            raise SafeStopError(Fault.HUNG, f"a tick took over {self._switch.hang_s:g} s")
        if self.recorder is not None and self.recorder.error is not None:
            watchdog.raise_fault(Fault.RECORDER, self.recorder.error)
        self._read(tick)
        if tick.reading.over:
            tick.command, tick.source = self._rest, "over"
            return
        watchdog.sense(tick.reading, tick.flat, fresh=tick.fresh, age_s=tick.age_s, sent=self._last)
        if watchdog.command == "policy":
            self._ask(tick)
        tick.source = watchdog.command
        if tick.source == "hold":
            tick.command = self._last
        elif tick.source == "rest":
            tick.command = self._rest
            self.filters.reset(self._rest)
        self._send(tick)

    def _read(self, tick: Tick) -> None:
        """Take the latest reading, unless it is older than the last."""
        try:
            reading = self.robot.read()
        except Exception as error:
            raise self._gone(error) from error
        if reading is not None and reading.sequence > self._latest.sequence:
            self._books.lost += reading.sequence - self._latest.sequence - 1
            self._latest, self._fresh = reading, True
        tick.reading, tick.fresh, self._fresh = self._latest, self._fresh, False
        if tick.fresh:
            self._books.readings += 1
            self._age.take(tick.reading)
            if tick.reading.success and not self._succeeded:
                self._succeeded = True
                self._books.successes += 1
        tick.flat = flatten(self.spec, tick.reading)
        tick.age_s = 0.0 if self.lockstep else self._age.at(self.clock.now())

    def _ask(self, tick: Tick) -> None:
        """The policy's command, filtered and limited; faults it shows are raised."""
        begun = self.clock.stopwatch()
        try:
            action = np.array(self.policy(tick.reading.values), dtype=np.float64)
        except Exception as error:
            self.watchdog.raise_fault(Fault.POLICY, f"{type(error).__name__}: {error}")
            return
        finally:
            tick.policy_s = self.clock.stopwatch() - begun
        if action.shape != self._rest.shape:
            self.watchdog.raise_fault(Fault.POLICY, f"expected an action {self._rest.shape}, got {action.shape}")
            return
        tick.action = action
        if not np.isfinite(action).all():
            self.watchdog.raise_fault(Fault.NAN_COMMAND, f"the policy answered {action.tolist()}")
            return
        tick.filtered = self.filters(action)
        tick.command, faults = self.limits.apply(tick.filtered, tick.reading.values)
        if faults:
            for fault in faults:
                self.watchdog.raise_fault(fault, f"command {tick.filtered.tolist()} became {tick.command.tolist()}")

    def _send(self, tick: Tick) -> None:
        begun = self.clock.stopwatch()
        try:
            self.robot.send(tick.command)
        except ValueError as error:
            raise SafeStopError(Fault.COMMAND_LIMIT, str(error)) from error
        except Exception as error:
            raise self._gone(error) from error
        tick.send_s = self.clock.stopwatch() - begun
        self._last = tick.command
        self.limits.sent(tick.command)

    def _gone(self, error: Exception) -> SafeStopError:
        """What the driver's error amounts to: the robot was stopped from elsewhere, or is gone."""
        if self._switch.fired:
            return SafeStopError(Fault.HUNG, f"a tick took over {self._switch.hang_s:g} s")
        stopped = self.robot.stopped
        if stopped is not None:
            return SafeStopError(Fault.ROBOT_STOPPED, stopped)
        detail = str(error) if isinstance(error, RobotError) else f"{type(error).__name__}: {error}"
        return SafeStopError(Fault.CONNECTION, detail)


def forget(policy: Policy) -> None:
    """Have a policy that remembers begin an episode."""
    reset = getattr(policy, "reset", None)
    if callable(reset):
        reset()
