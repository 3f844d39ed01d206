"""Robots whose readings stream in from elsewhere, on a clock of their own."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod

import numpy as np

from cairngym.sim2real.lockstep import check_episode, stopped_error
from cairngym.sim2real.robot import Reading, RobotError, RobotInterface, RobotSpec

POLL_S = 0.05
"""Who waits for a reading looks this often whether the robot is still there."""


class StreamedRobot(RobotInterface):
    """The near side of a robot that is connected by some transport.

    A subclass calls `_heard` for everything that comes from the robot, `_take` for readings and `_lose` when the
    connection is gone, from any thread.

    Args:
        spec: what the robot measures and takes.
        silence_s: how long it may be silent before it counts as gone; it is back when it is heard again.
    """

    def __init__(self, spec: RobotSpec, *, silence_s: float = 1.0) -> None:
        if not silence_s > 0.0:
            raise ValueError(f"Expected silence_s > 0, got {silence_s}.")
        self.spec, self.silence_s = spec, silence_s
        self._condition = threading.Condition()
        self._latest: Reading | None = None
        self._heard_s = time.monotonic()
        self._stopped: str | None = None
        self._gone: str | None = None
        self._resetting = False

    @abstractmethod
    def _transmit(self, command: np.ndarray) -> None:
        """Send a checked command on its way."""

    @abstractmethod
    def _transmit_stop(self, reason: str) -> None:
        """Send a stop on its way, and see to it that it arrives; must not raise, nor wait."""

    @abstractmethod
    def _ask_reset(self, episode: int | None) -> Reading:
        """Have the robot begin an episode; its first reading.

        Raises:
            RobotError: it does not answer.
        """

    # What comes from the robot ----------------------------------------------------------------------------------------

    def _heard(self) -> None:
        self._heard_s = time.monotonic()

    def _take(self, reading: Reading, *, stopped: bool) -> None:
        """Take a reading in, unless a newer one was there before it."""
        with self._condition:
            self._heard()
            if self._latest is not None and reading.sequence <= self._latest.sequence:
                return
            self._latest = reading
            if stopped and not self._resetting and self._stopped is None:
                self._stopped = "it was stopped by someone else"
            self._condition.notify_all()

    def _lose(self, reason: str) -> None:
        with self._condition:
            self._gone = self._gone or reason
            self._condition.notify_all()

    def _check_there(self) -> None:
        if self._gone is not None:
            raise RobotError(f"The robot {self.spec.robot!r} is gone: {self._gone}")
        silent = time.monotonic() - self._heard_s
        if silent > self.silence_s:
            raise RobotError(f"The robot {self.spec.robot!r} has been silent for {silent:.2f} s.")

    # RobotInterface ---------------------------------------------------------------------------------------------------

    def read(self) -> Reading | None:
        """The latest reading, without waiting."""
        self._check_there()
        return self._latest

    def wait(self, after: int, timeout_s: float) -> Reading | None:
        """The latest reading with a `sequence` above `after`, or None if none comes within the time."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while True:
                if self._latest is not None and self._latest.sequence > after:
                    return self._latest
                self._check_there()
                left = deadline - time.monotonic()
                if left <= 0.0:
                    return None
                self._condition.wait(min(left, POLL_S))

    def send(self, command: np.ndarray) -> None:
        """Command the robot until the next command, without waiting."""
        values = self.check(command)
        self._check_there()
        if self._stopped is not None:
            raise stopped_error(self._stopped)
        self._transmit(values)

    def stop(self, reason: str) -> None:
        """Hold the rest command from here on."""
        if self._stopped is None:
            self._stopped = reason
        if self._gone is None:
            self._transmit_stop(reason)

    @property
    def stopped(self) -> str | None:
        """Why the robot was stopped; None if it was not."""
        return self._stopped

    def reset(self, episode: int | None = None) -> Reading:
        """Release a stop and begin an episode, the next or the given one; wait for its first reading.

        Raises:
            RobotError: it does not answer.
            ValueError: a negative episode.
        """
        check_episode(episode)
        self._check_there()
        before, self._stopped, self._resetting = self._stopped, None, True  # first, lest a stop meanwhile be lost
        try:
            reading = self._ask_reset(episode)
            self._take(reading, stopped=False)
            return reading
        except Exception:
            self._stopped = self._stopped or before
            raise
        finally:
            self._resetting = False
