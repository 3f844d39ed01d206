"""A cart that integrates its command, and a twin of it in a thread."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import numpy as np

from cairngym.sim2real.lockstep import HoldingRobot
from cairngym.sim2real.robot import Channel, Reading, RobotSpec
from cairngym.sim2real.twin.client import connect_twin
from cairngym.sim2real.twin.config import TwinConfig
from cairngym.sim2real.twin.server import TwinServer

SPEC = RobotSpec(
    robot="Cart", control_dt=0.01, rest=(0.0, 0.0),
    command=Channel(name="action", size=2, unit="m/s", low=(-1.0, -1.0), high=(1.0, 2.0)),
    sensors=(Channel(name="observation", size=3, unit="1"), Channel(name="position", size=2, unit="m")),
)  # fmt: skip
HORIZON = 10_000


class Cart(HoldingRobot):
    """Starts at (episode, 0); `told` lists every command that reached it."""

    def __init__(self, spec=SPEC, horizon=HORIZON):
        super().__init__(spec)
        self.told, self.number, self.sequence, self.length, self.horizon = [], -1, 0, 0, horizon

    def _begin(self, episode):
        self.number = self.number + 1 if episode is None else episode
        self.position, self.length = np.array([float(self.number), 0.0]), 0
        return self._measure()

    def _hold(self, command):
        self.told.append(command.copy())
        self.position = self.position + self.spec.control_dt * command
        self.length += 1
        return self._measure()

    def _measure(self):
        self.sequence += 1
        values = {"observation": np.array([*self.position, self.length]), "position": self.position}
        return Reading(
            sequence=self.sequence, time_s=(self.sequence - 1) * self.spec.control_dt, received_s=time.monotonic(),
            values=values, episode=self.number, over=self.length >= self.horizon,
        )  # fmt: skip


@contextmanager
def serving(robot=None, **config):
    """A running server; its robot is a `Cart`."""
    server = TwinServer(TwinConfig(env="Cart", **config), robot or Cart())
    leaving = threading.Event()
    thread = threading.Thread(target=server.run, args=(leaving.is_set,))
    thread.start()
    try:
        yield server
    finally:
        leaving.set()
        thread.join()
        server.close()


@contextmanager
def connected(robot=None, silence_s=5.0, **config):
    """A running server and a client of it."""
    with (
        serving(robot, **config) as server,
        connect_twin(*server.address, timeout_s=20.0, silence_s=silence_s) as client,
    ):
        yield server, client


def eventually(condition, timeout_s=20.0):
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False
