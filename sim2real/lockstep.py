"""Robots whose clock waits, made of two motions: hold a command for one `control_dt`, and begin an episode."""

from __future__ import annotations

import threading
from abc import abstractmethod

import numpy as np

from cairngym.sim2real.robot import LockstepRobot, Reading, RobotError, RobotSpec


class HoldingRobot(LockstepRobot):
    """A lockstep robot that can also be driven as one that does not wait for commands.

    Time passes in `step`, and in `wait` where no reading is due: the robot then holds the last command sent for one
    `control_dt`. It holds `spec.rest` where no command was sent in the episode, when it is stopped, and when the
    episode is over.

    Args:
        spec: what the robot measures and takes.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self._rest = np.array(spec.rest, dtype=np.float64)
        self._held = self._rest
        self._latest: Reading | None = None
        self._stopped: str | None = None
        self._closed = False
        self._lock = threading.RLock()

    @abstractmethod
    def _hold(self, command: np.ndarray) -> Reading:
        """Hold a checked command `(command.size,)` for one `control_dt` and read."""

    @abstractmethod
    def _begin(self, episode: int | None) -> Reading:
        """Begin an episode, the next or the given one, and read."""

    def _halt(self, reason: str) -> None:
        """Tell others of a stop; nothing by default. Must not raise, nor wait long."""
        del reason

    def read(self) -> Reading | None:
        """The latest reading; no time passes."""
        self._check_open()
        return self._latest

    def wait(self, after: int, timeout_s: float) -> Reading | None:
        """The latest reading if its `sequence` is above `after`, else the one at the end of the next `control_dt`."""
        del timeout_s
        with self._lock:
            self._check_open()
            if self._latest is not None and self._latest.sequence <= after:
                self._advance(self._held)
            return self._latest if self._latest is not None and self._latest.sequence > after else None

    def send(self, command: np.ndarray) -> None:
        """Command the robot until the next command; no time passes."""
        values = self.check(command)
        with self._lock:
            self._check_moving()
            self._held = values.copy()

    def step(self, command: np.ndarray) -> Reading:
        """Hold a command for one `control_dt` and read; at rest where the episode is over."""
        with self._lock:
            self.send(command)
            return self._advance(self._held)

    def _advance(self, command: np.ndarray) -> Reading:
        resting = self._stopped is not None or (self._latest is not None and self._latest.over)
        self._latest = self._hold(self._rest if resting else command)
        return self._latest

    def stop(self, reason: str) -> None:
        """Hold the rest command from here on."""
        if self._stopped is None:
            self._stopped = reason
        if not self._closed:
            self._halt(reason)

    @property
    def stopped(self) -> str | None:
        """Why the robot was stopped; None if it was not."""
        return self._stopped

    def reset(self, episode: int | None = None) -> Reading:
        """Release a stop and begin an episode, the next or the given one.

        Raises:
            ValueError: a negative episode.
        """
        check_episode(episode)
        with self._lock:
            self._check_open()
            before, self._stopped = self._stopped, None  # first, so that a stop meanwhile is not lost
            try:
                self._latest = self._begin(episode)
            except Exception:
                self._stopped = self._stopped or before
                raise
            self._held = self._rest
            return self._latest

    def close(self) -> None:
        """Let go of the robot."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RobotError(f"The robot {self.spec.robot!r} was closed. Make or connect another one.")

    def _check_moving(self) -> None:
        """Raise where commands are refused."""
        self._check_open()
        if self._stopped is not None:
            raise stopped_error(self._stopped)
        if self._latest is None:
            raise RobotError("The robot has begun no episode. Call reset() before commands.")


def check_episode(episode: int | None) -> None:
    """Raise `ValueError` unless `episode` is None or a number of an episode."""
    if episode is not None and not 0 <= episode < 2**62:
        raise ValueError(f"Expected an episode in [0, 2**62), or None for the next, got {episode}.")


def stopped_error(reason: str) -> RobotError:
    """What a robot raises that was commanded after a stop."""
    return RobotError(f"The robot is stopped ({reason}) and holds its rest command. Call reset() to release it.")
