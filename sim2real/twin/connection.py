"""The client's end of a twin's protocol: requests, answers, and the handshake."""

from __future__ import annotations

import itertools
import os
import select
import socket
import time
from typing import Any

from cairngym.sim2real.robot import RobotError, RobotSpec
from cairngym.sim2real.twin.config import Fault
from cairngym.sim2real.twin.protocol import (
    CHUNK,
    Kind,
    MalformedError,
    Packet,
    decode,
    encode,
    from_json,
    to_json,
    unpack,
)

RETRY_S = 0.05
"""A request without an answer is repeated after this time."""


class Connection:
    """A session with a twin, over UDP.

    Args:
        host: of the twin.
        port: of the twin.

    Attributes:
        session: a random number that tells this session's datagrams from others.
        malformed: datagrams received that were none of the protocol.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.malformed = host, port, 0
        self.session = int.from_bytes(os.urandom(4), "little") | 1
        self._sequence, self._refused = itertools.count(1), False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.connect((host, port))  # so that the system reports a port where nobody listens
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def packet(self, kind: Kind, body: bytes = b"", flags: int = 0) -> Packet:
        """A new datagram of this session."""
        return Packet(kind=kind, session=self.session, sequence=next(self._sequence), flags=flags, body=body)

    def send(self, packet: Packet) -> None:
        """Send a datagram; whether it arrives is not known."""
        try:
            self._socket.send(encode(packet))
        except ConnectionRefusedError:  # tells of an earlier datagram
            self._refused = True
        except OSError:
            return  # what is wrong with the network shows in the answers that are missing

    def receive(self, timeout_s: float) -> Packet | None:
        """The next datagram of this session; None if none comes within the time.

        Raises:
            ConnectionRefusedError: nobody listens at the port.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self._refused:
                self._refused = False
                raise ConnectionRefusedError(f"Nobody listens at {self.host}:{self.port}.")
            left = deadline - time.monotonic()
            if not select.select([self._socket], [], [], max(left, 0.0))[0]:
                return None
            try:
                packet = decode(self._socket.recv(65536))
            except BlockingIOError:
                continue
            except ConnectionRefusedError:
                raise
            except OSError as error:  # the socket was closed meanwhile
                raise RobotError("The connection to the twin was closed.") from error
            except MalformedError:
                self.malformed += 1
                continue
            if packet.session == self.session or (packet.kind is Kind.NOTICE and packet.session == 0):
                return packet

    def handshake(self, timeout_s: float) -> dict[str, Any]:
        """Begin the session; the twin's description.

        Raises:
            RobotError: no answer, or the twin refuses.
        """
        parts: dict[int, bytes] = {}
        hello, deadline = self.packet(Kind.HELLO), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.send(hello)
            retry = time.monotonic() + RETRY_S
            while (left := retry - time.monotonic()) > 0.0:
                packet = self._answer(left)
                if packet is None or packet.kind is not Kind.DESCRIPTION:
                    continue
                index, count = unpack(CHUNK, packet.body)
                parts[index] = packet.body[CHUNK.size :]
                if len(parts) == count:
                    return from_json(b"".join(parts[at] for at in range(count)))
        raise RobotError(f"No twin answers at {self.host}:{self.port} within {timeout_s:g} s. Does it run?")

    def _answer(self, timeout_s: float) -> Packet | None:
        """A datagram; a refusal is raised, and nobody at the port is waited for."""
        try:
            packet = self.receive(timeout_s)
        except ConnectionRefusedError:
            time.sleep(min(timeout_s, RETRY_S))
            return None
        if packet is not None and packet.kind is Kind.NOTICE:
            raise RobotError(f"The twin at {self.host}:{self.port} refuses: {notice(packet)[1]}")
        return packet

    def ask(self, kind: Kind, body: bytes, timeout_s: float) -> Packet:
        """Send a request that is answered by its own kind, again until it is answered.

        Raises:
            RobotError: no answer, or the twin refuses.
        """
        request, deadline = self.packet(kind, body), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.send(request)
            packet = self._answer(RETRY_S)
            if packet is not None and (packet.kind, packet.sequence) == (kind, request.sequence):
                return packet
        raise RobotError(f"No twin answers at {self.host}:{self.port} within {timeout_s:g} s.")

    def close(self, *, farewell: bool = True) -> None:
        """Close the socket, and end the session unless none was begun."""
        if farewell:
            self.send(self.packet(Kind.BYE))
        self._socket.close()


def notice(packet: Packet) -> tuple[str, str]:
    """What was refused, and why, by a datagram of the kind NOTICE."""
    try:
        data = from_json(packet.body)
    except MalformedError:
        return "request", "it does not say why"
    return str(data.get("refused", "request")), str(data.get("message", ""))


def described(description: dict[str, Any]) -> tuple[RobotSpec, str]:
    """The spec and the clock of a twin's description.

    Raises:
        RobotError: it is none.
    """
    try:
        return RobotSpec.from_dict(description["spec"]), str(description["clock"])
    except (KeyError, TypeError, ValueError) as error:
        raise RobotError(f"The twin describes itself in a way that can't be read: {error!r}") from error


def inject_fault(host: str, port: int, fault: Fault, *, timeout_s: float = 5.0) -> None:
    """Bring a fault about in a twin, whoever controls it; returns when the twin has it.

    Raises:
        RobotError: no answer, or the twin refuses.
    """
    body = to_json({name: value for name, value in vars(fault).items() if value is not None})
    _ask_once(host, port, Kind.FAULT, body, timeout_s)


def twin_status(host: str, port: int, *, timeout_s: float = 5.0) -> dict[str, Any]:
    """A twin's counters: ticks, overruns, datagrams malformed, refused and late, and why it was stopped.

    Raises:
        RobotError: no answer.
    """
    return from_json(_ask_once(host, port, Kind.STATUS, b"", timeout_s).body)


def stop_twin(host: str, port: int, reason: str, *, timeout_s: float = 5.0) -> None:
    """Emergency stop of a twin by anyone, whoever controls it.

    Raises:
        RobotError: no answer.
    """
    _ask_once(host, port, Kind.STOP, reason.encode(), timeout_s)


def _ask_once(host: str, port: int, kind: Kind, body: bytes, timeout_s: float) -> Packet:
    connection = Connection(host, port)
    try:
        return connection.ask(kind, body, timeout_s)
    finally:
        connection.close(farewell=False)
