"""Robots that are twins in another process; imports neither torch nor a simulator.

Example::

    with connect_twin("127.0.0.1", 7447) as robot:
        reading = robot.reset()
        while not reading.over:
            robot.send(policy(reading.values["observation"]))
            reading = robot.wait(after=reading.sequence, timeout_s=1.0) or reading
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from cairngym.sim2real.lockstep import HoldingRobot
from cairngym.sim2real.robot import Reading, RobotError, RobotSpec
from cairngym.sim2real.streamed import StreamedRobot
from cairngym.sim2real.twin.config import Fault
from cairngym.sim2real.twin.connection import RETRY_S, Connection, described, inject_fault, notice, twin_status
from cairngym.sim2real.twin.protocol import EPISODE, Flag, Kind, MalformedError, Packet, unpack_reading

PING_S = 0.2
"""A client says this often that it is there."""
COPIES = 3
"""A stop is sent this often at once, since it may get lost."""


def connect_twin(
    host: str, port: int, *, timeout_s: float = 5.0, silence_s: float = 1.0
) -> TwinRobot | LockstepTwinRobot:
    """Take control of a twin: a `TwinRobot` where its clock is real-time, a `LockstepTwinRobot` where it waits.

    Args:
        host: of the twin.
        port: of the twin.
        timeout_s: how long an answer to a request is waited for.
        silence_s: how long a twin on the real-time clock may be silent before it counts as gone.

    Raises:
        RobotError: no twin answers, or another client controls it.
    """
    connection = Connection(host, port)
    try:
        spec, clock = described(connection.handshake(timeout_s))
        if clock == "lockstep":
            return LockstepTwinRobot(spec, connection, timeout_s=timeout_s)
        return TwinRobot(spec, connection, timeout_s=timeout_s, silence_s=silence_s)
    except Exception:
        connection.close()
        raise


class TwinRobot(StreamedRobot):
    """A twin that moves by itself; a thread takes in what it sends. Made by `connect_twin`.

    Args:
        spec: what the robot measures and takes.
        connection: a session that has begun.
        timeout_s: how long an answer to a request is waited for.
        silence_s: how long it may be silent before it counts as gone.
    """

    def __init__(
        self, spec: RobotSpec, connection: Connection, *, timeout_s: float = 5.0, silence_s: float = 1.0
    ) -> None:
        super().__init__(spec, silence_s=silence_s)
        self.connection, self._timeout_s = connection, timeout_s
        self._asked = 0
        self._answer: Reading | RobotError | None = None
        self._unconfirmed: Packet | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._listen, name="twin-client", daemon=True)
        self._thread.start()

    # Receiving --------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        pinged = 0.0
        while not self._closing and self._gone is None:
            try:
                packet = self.connection.receive(RETRY_S)
                if packet is not None:
                    self._heard()
                    self._sort(packet)
            except ConnectionRefusedError:
                self._lose(f"nobody listens at {self.connection.host}:{self.connection.port} any more.")
            except MalformedError:
                self.connection.malformed += 1
            now = time.monotonic()
            if now - pinged > PING_S:
                pinged = now
                self.connection.send(self.connection.packet(Kind.STATUS))
                self._repeat_stop()

    def _repeat_stop(self) -> None:
        if (unconfirmed := self._unconfirmed) is not None:
            self.connection.send(unconfirmed)

    def _sort(self, packet: Packet) -> None:
        if packet.kind is Kind.READING:
            reading, answers = unpack_reading(
                self.spec, packet.sequence, packet.flags, packet.body, time.monotonic()
            )  # fmt: skip
            if answers and answers == self._asked:
                self._settle(reading)
            self._take(reading, stopped=bool(packet.flags & Flag.STOPPED))
        elif packet.kind is Kind.STOP:
            if self._unconfirmed is not None and packet.sequence == self._unconfirmed.sequence:
                self._unconfirmed = None
        elif packet.kind is Kind.NOTICE:
            self._note(packet)
        elif packet.kind is Kind.BYE:
            self._lose("the twin has ended.")

    def _note(self, packet: Packet) -> None:
        refused, message = notice(packet)
        if refused in ("session", "version", "clock"):
            self._lose(message)
        elif packet.sequence == self._asked:
            self._settle(RobotError(f"The twin refuses: {message}"))
        elif refused == "stopped" and not self._resetting and self._stopped is None:
            self._stopped = message

    def _settle(self, answer: Reading | RobotError) -> None:
        with self._condition:
            self._answer = answer
            self._condition.notify_all()

    # Sending ----------------------------------------------------------------------------------------------------------

    def _transmit(self, command: np.ndarray) -> None:
        self.connection.send(self.connection.packet(Kind.COMMAND, command.astype("<f8").tobytes()))

    def _transmit_stop(self, reason: str) -> None:
        self._unconfirmed = stop = self.connection.packet(Kind.STOP, reason.encode())
        for _ in range(COPIES):
            self.connection.send(stop)

    def _ask_reset(self, episode: int | None) -> Reading:
        self._unconfirmed = None
        request = self.connection.packet(Kind.RESET, EPISODE.pack(-1 if episode is None else episode))
        deadline = time.monotonic() + self._timeout_s
        with self._condition:
            self._answer, self._asked = None, request.sequence
            while self._answer is None:
                if self._gone is not None:
                    self._check_there()
                if time.monotonic() > deadline:
                    raise RobotError(f"The twin does not answer a reset within {self._timeout_s:g} s.")
                self.connection.send(request)
                self._condition.wait(RETRY_S)
            if isinstance(self._answer, RobotError):
                raise self._answer
            return self._answer

    def inject(self, fault: Fault) -> None:
        """Bring a fault about in the twin; see `inject_fault`."""
        inject_fault(self.connection.host, self.connection.port, fault)

    def status(self) -> dict[str, Any]:
        """The twin's counters; see `twin_status`."""
        return twin_status(self.connection.host, self.connection.port)

    def close(self) -> None:
        """Let go of the robot, which rests."""
        if self._closing:
            return
        self._closing = True
        self._thread.join()
        self._lose("it was closed.")
        self.connection.close()


class LockstepTwinRobot(HoldingRobot):
    """A twin that moves when it is told to. Made by `connect_twin`.

    Args:
        spec: what the robot measures and takes.
        connection: a session that has begun.
        timeout_s: how long an answer is waited for.
    """

    def __init__(self, spec: RobotSpec, connection: Connection, *, timeout_s: float = 5.0) -> None:
        super().__init__(spec)
        self.connection, self._timeout_s = connection, timeout_s

    def _hold(self, command: np.ndarray) -> Reading:
        flags = 0 if self._stopped is None else Flag.REST
        return self._ask(Kind.STEP, command.astype("<f8").tobytes(), flags)

    def _begin(self, episode: int | None) -> Reading:
        return self._ask(Kind.RESET, EPISODE.pack(-1 if episode is None else episode))

    def _ask(self, kind: Kind, body: bytes, flags: int = 0) -> Reading:
        """Send a request, again until it is answered; the twin does what it is asked once."""
        request = self.connection.packet(kind, body, flags)
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            self.connection.send(request)
            retry = time.monotonic() + RETRY_S
            while (left := retry - time.monotonic()) > 0.0:
                reading = self._answered(request, left)
                if reading is not None:
                    return reading
        raise RobotError(f"The twin does not answer within {self._timeout_s:g} s.")

    def _answered(self, request: Packet, timeout_s: float) -> Reading | None:
        try:
            packet = self.connection.receive(timeout_s)
        except ConnectionRefusedError as error:
            where = f"{self.connection.host}:{self.connection.port}"
            raise RobotError(f"The twin is gone: nobody listens at {where} any more.") from error
        if packet is None:
            return None
        if packet.kind is Kind.BYE:
            raise RobotError("The twin is gone: it has ended.")
        if packet.kind is Kind.NOTICE and packet.sequence == request.sequence:
            refused, message = notice(packet)
            if refused == "stopped":
                self._stopped = self._stopped or message
            raise RobotError(f"The twin refuses: {message}")
        return self._read(request, packet)

    def _read(self, request: Packet, packet: Packet) -> Reading | None:
        if packet.kind is not Kind.READING:
            return None
        try:
            reading, answers = unpack_reading(
                self.spec, packet.sequence, packet.flags, packet.body, time.monotonic()
            )  # fmt: skip
        except MalformedError:
            self.connection.malformed += 1
            return None
        return reading if answers == request.sequence else None

    def _halt(self, reason: str) -> None:
        stop = self.connection.packet(Kind.STOP, reason.encode())
        for _ in range(COPIES):
            self.connection.send(stop)

    def inject(self, fault: Fault) -> None:
        """Bring a fault about in the twin; see `inject_fault`."""
        inject_fault(self.connection.host, self.connection.port, fault)

    def status(self) -> dict[str, Any]:
        """The twin's counters; see `twin_status`."""
        return twin_status(self.connection.host, self.connection.port)

    def close(self) -> None:
        """Let go of the robot, which rests."""
        if not self._closed:
            self.connection.close()
        super().close()
