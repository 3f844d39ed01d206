"""Robots that do as they are told by a script, on a clock that only the script moves."""

import math
import threading

import numpy as np

from cairngym.sim2real.control.clock import Clock
from cairngym.sim2real.robot import Channel, LockstepRobot, Reading, RobotError, RobotInterface, RobotSpec

DT = 0.005
SPEC = RobotSpec(
    robot="Scripted", control_dt=DT, rest=(0.0, 0.25),
    command=Channel(name="action", size=2, unit="1", low=(-1.0, -1.0), high=(1.0, 1.0)),
    sensors=(
        Channel(name="observation", size=3, unit="1"),
        Channel(name="position", size=2, unit="m"),
    ),
)  # fmt: skip
REST = np.array(SPEC.rest)


class ScriptedClock(Clock):
    """Time passes where somebody waits or takes their time."""

    def __init__(self):
        self.time_s = 100.0

    def now(self):
        return self.time_s

    def wait_until(self, due_s):
        self.time_s = max(self.time_s, due_s)

    def advance(self, seconds):
        self.time_s += seconds


def moving(k):
    """Values of reading k."""
    return {"observation": np.array([math.sin(0.1 * k), math.cos(0.1 * k), 1.0]), "position": np.array([0.001 * k, 0])}


class ScriptedRobot(RobotInterface):
    """Makes reading k at start + k * DT; the script says when it arrives and what it holds."""

    spec = SPEC

    def __init__(self, clock):
        self.clock, self.commands, self.stops, self._stopped = clock, [], [], None
        self.values = moving
        self.delay = lambda k: 0.001
        self.stamp = lambda k: 5000.0 + k * DT
        self.dies_at = self.ends_at = math.inf
        self.episodes = 0
        self.send_error = None

    def reset(self, episode=None):
        if self.episodes and self.clock.now() - self.start >= self.dies_at:
            raise RobotError("it does not answer")
        self.episodes += 1
        self._stopped, self.start = None, self.clock.now()
        self.base = 1000 * self.episodes
        self.arrival(0)
        return self.reading(0)

    def arrival(self, k):
        return self.start + k * DT + self.delay(k)

    def reading(self, k):
        return Reading(
            sequence=self.base + k, time_s=self.stamp(k), received_s=self.arrival(k), values=self.values(k),
            episode=self.episodes, over=k >= self.ends_at, success=k >= self.ends_at,
        )  # fmt: skip

    def read(self):
        passed = self.clock.now() - self.start
        if passed >= self.dies_at:
            raise RobotError("the robot is gone")
        made = int(passed / DT + 1e-9)
        for k in range(made, max(-1, made - 1000), -1):
            if self.arrival(k) <= self.clock.now() + 1e-9:
                return self.reading(k)
        return None

    def wait(self, after, timeout_s):
        raise AssertionError("the loop has a clock of its own")

    def send(self, command):
        values = self.check(command)
        if self._stopped is not None:
            raise RobotError(f"stopped: {self._stopped}")
        if self.send_error is not None:
            raise self.send_error
        self.commands.append((self.clock.now() - self.start, values))

    def stop(self, reason):
        self.stops.append((reason, threading.current_thread().name))
        self._stopped = self._stopped or reason

    @property
    def stopped(self):
        return self._stopped

    def close(self):
        self.stop("closed")


class Integrator(LockstepRobot):
    """Position and velocity under accelerations, exactly; an episode has 50 steps and begins where its number says."""

    spec = RobotSpec(
        robot="Integrator", control_dt=0.02, rest=(0.0,),
        command=Channel(name="action", size=1, unit="m/s^2", low=(-1.0,), high=(1.0,)),
        sensors=(Channel(name="observation", size=2, unit="m"),),
    )  # fmt: skip

    def __init__(self, mass=1.0):
        self.mass, self.episode, self.sequence, self._stopped = mass, 0, 0, None

    def _read(self):
        self.sequence += 1
        over = self.steps >= 50
        return Reading(
            sequence=self.sequence, time_s=0.02 * self.sequence, received_s=0.0, episode=self.episode, over=over,
            success=over and self.state[0] > 0, values={"observation": self.state.copy()},
        )  # fmt: skip

    def reset(self, episode=None):
        self.episode = self.episode + 1 if episode is None else episode
        self._stopped, self.steps, self.state = None, 0, np.array([0.1 * self.episode, 0.0])
        self.latest = self._read()
        return self.latest

    def step(self, command):
        self.send(command)
        acceleration = self.check(command)[0] / self.mass
        self.state = self.state + 0.02 * np.array([self.state[1], acceleration])
        self.steps += 1
        self.latest = self._read()
        return self.latest

    def send(self, command):
        self.check(command)
        if self._stopped is not None:
            raise RobotError(f"stopped: {self._stopped}")

    def read(self):
        return self.latest

    def wait(self, after, timeout_s):
        return self.latest

    def stop(self, reason):
        self._stopped = reason

    @property
    def stopped(self):
        return self._stopped

    def close(self):
        self.stop("closed")


def towards(observation):
    """A policy for either robot."""
    values = observation["observation"]
    return np.full(1 if len(values) == 2 else 2, 0.5 * values[0])
