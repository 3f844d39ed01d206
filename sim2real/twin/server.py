"""The twin's process: a socket, a network that is not perfect, and a simulated robot behind both."""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from cairngym.sim2real.lockstep import HoldingRobot
from cairngym.sim2real.twin.config import TwinConfig
from cairngym.sim2real.twin.logic import Address, Out, TwinLogic
from cairngym.sim2real.twin.network import Link
from cairngym.sim2real.twin.protocol import HEADER, Kind

POLL_S = 0.05
"""The server looks up at least this often, to see whether it is to end."""
BURST = 64
"""Datagrams that are read at once before the clock is looked at."""
KILLED = 9
"""Exit code of a twin that was told to die."""


class TwinServer:
    """A twin that listens on a UDP port.

    Args:
        config: of the twin.
        robot: what moves; it is not closed with the server.

    Raises:
        OSError: the port is taken.
        ValueError: the robot has more sensors than a datagram holds.
    """

    def __init__(self, config: TwinConfig, robot: HoldingRobot) -> None:
        self.robot = robot
        self.logic = TwinLogic(robot, config, time.monotonic())
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.bind((config.host, config.port))
        except OSError as error:
            self.socket.close()
            raise OSError(f"The twin can't listen on udp {config.host}:{config.port}: {error}.") from error
        self.socket.setblocking(False)
        self._inward: Link[tuple[bytes, Address]] = Link(config.network, f"{config.network_seed}/in")
        self._outward: Link[tuple[bytes, Address]] = Link(config.network, f"{config.network_seed}/out")

    @property
    def address(self) -> Address:
        """Host and port it listens on."""
        host, port = self.socket.getsockname()
        return host, port

    def run(self, leaving: Callable[[], bool]) -> None:
        """Serve until `leaving()`; the client is told."""
        while not leaving():
            now = time.monotonic()
            if now < self.logic.faults.stalled_until():
                self._stall(leaving)
            self._collect(now)
            for data, address in self._inward.pop(now):
                self._answer(self.logic.receive(data, address, now), now)
            self._answer(self.logic.advance(now), now)
            self._send(self._outward.pop(now))
            self._sleep()
        self._send(self.logic.farewell())

    def _stall(self, leaving: Callable[[], bool]) -> None:
        """Do nothing, and go on as if no time had passed."""
        while not leaving() and (left := self.logic.faults.stalled_until() - time.monotonic()) > 0.0:
            time.sleep(min(left, POLL_S))
        self.logic.metronome.start(time.monotonic())

    def _collect(self, now: float) -> None:
        """Read what has come; faults are injected past the network."""
        self._inward.loss = self._outward.loss = self.logic.faults.loss(now)
        self._inward.delay_s = self._outward.delay_s = self.logic.faults.delay_s(now)
        for _ in range(BURST):
            try:
                data, address = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:  # some systems report here that an earlier datagram found nobody
                continue
            if len(data) > HEADER.size and data[5] == Kind.FAULT:
                self._send(self.logic.receive(data, address, now))
                if self.logic.died:
                    os._exit(KILLED)
            else:
                self._inward.push((data, address), now)

    def _answer(self, out: Out, now: float) -> None:
        for item in out:
            self._outward.push(item, now)

    def _send(self, out: Out) -> None:
        for data, address in out:
            try:
                self.socket.sendto(data, address)
            except OSError:
                self.logic.counts["unsent"] += 1

    def _sleep(self) -> None:
        due = min(self.logic.next_s, self._inward.next_s, self._outward.next_s)
        select.select([self.socket], [], [], min(max(due - time.monotonic(), 0.0), POLL_S))

    def close(self) -> None:
        """Release the port."""
        self.socket.close()


def make_robot(config: TwinConfig) -> HoldingRobot:
    """The simulated robot of a twin.

    Raises:
        UnknownNameError: no such env or fleet.
        TypeError: an env that is no robot.
        ValueError: a fleet that does not fit the env.
    """
    from cairngym.sim2real.simulated import SimulatedRobot
    from cairngym.sim2real.twin.fleets import load_fleet

    return SimulatedRobot(
        config.env, seed=config.seed, options=config.options, unit=config.unit, randomization_seed=config.fleet_seed,
        randomization=None if config.fleet is None else load_fleet(config.fleet), control_dt=config.control_dt,
    )  # fmt: skip


def serve(config: TwinConfig, ready: Callable[[TwinServer], None], leaving: Callable[[], bool]) -> None:
    """Run a twin until `leaving()`; `ready` is called once it listens.

    Raises:
        OSError: the port is taken.
        ValueError: what `make_robot` and `TwinServer` refuse; likewise TypeError and UnknownNameError.
    """
    import torch

    torch.set_num_threads(1)
    with make_robot(config) as robot:
        server = TwinServer(config, robot)
        try:
            gc.collect()
            gc.freeze()  # what stays for good need not be looked at again, which would cost milliseconds
            ready(server)
            server.run(leaving)
        finally:
            server.close()


def until_signalled() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set; to be called in the main thread."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def _watch(event: threading.Event) -> None:
    """Set the event when the process at the other end of the standard input is gone."""

    def wait_for_end() -> None:
        while os.read(0, 1):
            pass
        event.set()

    threading.Thread(target=wait_for_end, daemon=True).start()


def main() -> int:
    """Run a twin that ends with the process that started it, and say on the standard output where it listens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", help="JSON of a TwinConfig")
    config = TwinConfig.from_json(parser.parse_args().config)
    event = until_signalled()
    _watch(event)

    def ready(server: TwinServer) -> None:
        host, port = server.address
        print(json.dumps({"host": host, "port": port}), flush=True)

    serve(config, ready, event.is_set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
