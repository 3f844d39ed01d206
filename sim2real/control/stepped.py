"""Robots that wait for commands, for a loop that reads and sends."""

from __future__ import annotations

import numpy as np

from cairngym.sim2real.robot import LockstepRobot, Reading, RobotInterface


class Stepped(RobotInterface):
    """A robot that waits for commands, as one that does not: sending a command makes the next reading."""

    def __init__(self, robot: LockstepRobot) -> None:
        self.robot, self.spec = robot, robot.spec
        self._reading: Reading | None = None

    def read(self) -> Reading | None:
        """The reading that the last command or reset made."""
        return self._reading

    def wait(self, after: int, timeout_s: float) -> Reading | None:
        """The same; nothing else will come."""
        return self._reading

    def send(self, command: np.ndarray) -> None:
        """Step the robot."""
        self._reading = self.robot.step(command)

    def stop(self, reason: str) -> None:
        """Stop it."""
        self.robot.stop(reason)

    @property
    def stopped(self) -> str | None:
        """Why it is stopped, or None."""
        return self.robot.stopped

    def reset(self, episode: int | None = None) -> Reading:
        """Begin an episode."""
        self._reading = self.robot.reset(episode)
        return self._reading

    def close(self) -> None:
        """Let it go."""
        self.robot.close()
