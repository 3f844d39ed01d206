"""Clocks and the schedule of a control loop: slot k begins at start + k periods, whatever came before."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Clock(ABC):
    """What a loop lives by, s."""

    @abstractmethod
    def now(self) -> float:
        """The time, s; it never runs backwards."""

    @abstractmethod
    def wait_until(self, due_s: float) -> None:
        """Return at `due_s`, or at once if it has passed."""

    def stopwatch(self) -> float:
        """A time that shows how long parts of a tick take, s."""
        return self.now()


class MonotonicClock(Clock):
    """`time.monotonic`, which no change of the date moves.

    A sleep alone wakes up late, by the kernel's timer slack and by what runs on the core; a spin alone burns the core
    that the policy, the driver's threads and the recorder need. So the loop sleeps until shortly before its time and
    spins for the rest.

    Args:
        spin_s: how long before its time the loop wakes up, s; 0 only sleeps.
    """

    def __init__(self, spin_s: float = 0.0002) -> None:
        self.spin_s = spin_s

    def now(self) -> float:
        """`time.monotonic()`."""
        return time.monotonic()

    def wait_until(self, due_s: float) -> None:
        """Sleep, then spin."""
        left = due_s - self.spin_s - time.monotonic()
        if left > 0:
            time.sleep(left)
        while time.monotonic() < due_s:
            pass


class LockstepClock(Clock):
    """The time of a robot whose clock waits for commands: it is always as late as the loop says."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Simulated time, s."""
        return self._now

    def wait_until(self, due_s: float) -> None:
        """Be there."""
        self._now = max(self._now, due_s)

    def stopwatch(self) -> float:
        """Computing takes real time, also where the robot waits."""
        return time.perf_counter()


@dataclass(frozen=True, slots=True)
class Slot:
    """A period in which one command is due."""

    number: int
    due_s: float
    """When it begins: the tick should start here and be done one period later."""
    start_s: float
    """When the tick started."""
    skipped: int
    """Slots before it that passed without a tick."""


class Schedule:
    """Slots without drift: a late tick delays none of the later ones, and slots that have passed are left out.

    After a long interruption the loop goes on in the slot that is open: commands are not made up for in a burst.

    Args:
        clock: what it waits by.
        period_s: length of a slot, s.
    """

    def __init__(self, clock: Clock, period_s: float) -> None:
        self.clock, self.period_s = clock, period_s
        self._next, self._base, self._origin = 0, 0, clock.now()

    def restart(self) -> None:
        """Begin the next slot now: the time since the last was not the loop's to use."""
        self._base, self._origin = self._next, self.clock.now()

    def wait(self) -> Slot:
        """Wait for the next slot that has not passed."""
        self.clock.wait_until(self._due(self._next))
        start = self.clock.now()
        # The small number keeps rounding from skipping a slot whose end is the next one's beginning.
        passed = self._base + math.floor((start - self._origin) / self.period_s + 1e-9)
        number = max(self._next, passed)
        slot = Slot(number=number, due_s=self._due(number), start_s=start, skipped=number - self._next)
        self._next = number + 1
        return slot

    def _due(self, number: int) -> float:
        return self._origin + (number - self._base) * self.period_s
