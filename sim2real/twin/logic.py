"""What a twin answers to datagrams, and what it does when its clock beats; no sockets here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cairngym.sim2real.lockstep import HoldingRobot
from cairngym.sim2real.robot import Reading, RobotError
from cairngym.sim2real.twin.config import Fault, TwinConfig
from cairngym.sim2real.twin.faults import Faults
from cairngym.sim2real.twin.metronome import Metronome
from cairngym.sim2real.twin.protocol import (
    EPISODE,
    MAX_BYTES,
    Flag,
    Kind,
    MalformedError,
    Packet,
    VersionError,
    chunks,
    decode,
    encode,
    from_json,
    numbers,
    pack_reading,
    reading_flags,
    reading_size,
    to_json,
    unpack,
)

Address = tuple[str, int]
Out = list[tuple[bytes, Address]]
MAX_REASON = 200
"""Letters of a stop's reason that are kept."""


@dataclass(kw_only=True)
class Session:
    """A client that may move the robot."""

    number: int
    address: Address
    heard_s: float
    moved: int = 0
    """Sequence number of the newest command or request that moved the robot."""
    reset: int = 0
    """Of the newest reset."""
    answer: bytes = b""
    """To the request `moved`, for when it is asked again."""


class TwinLogic:
    """A robot behind the twin's protocol.

    One client at a time moves the robot: the first that asks, until it says goodbye, or is silent for
    `session_timeout_s` and another one asks. Stops, faults and questions about the status are taken from anyone.

    Args:
        robot: what moves.
        config: clocks and timeouts.
        now: the time, s.

    Raises:
        ValueError: the robot has more sensors than a datagram holds.

    Attributes:
        counts: datagrams by what became of them.
        faults: those at work.
        metronome: of the real-time clock.
        died: whether the process is to end at once.
    """

    def __init__(self, robot: HoldingRobot, config: TwinConfig, now: float) -> None:
        if reading_size(robot.spec) > MAX_BYTES:
            raise ValueError(
                f"Expected sensors that fit into a datagram of {MAX_BYTES} bytes, got {reading_size(robot.spec)} for "
                f"{robot.spec.robot!r}."
            )
        self.robot, self.spec, self.config = robot, robot.spec, config
        self.faults, self.counts, self.died = Faults(), Counter[str](), False
        self.session: Session | None = None
        self._rest = np.array(self.spec.rest)
        self.metronome = Metronome(self.spec.control_dt)
        self.metronome.start(now)
        self._commanded_s, self._resting = -math.inf, False
        description = {
            "spec": self.spec.to_dict(), "clock": config.clock, "command_timeout_s": config.command_timeout_s
        }  # fmt: skip
        self._description = chunks(description)
        self._handlers: dict[Kind, Callable[[Packet, Address, float], Out]] = {
            Kind.HELLO: self._hello, Kind.STOP: self._stop, Kind.FAULT: self._fault, Kind.STATUS: self._status,
        }  # fmt: skip
        self._movers: dict[Kind, Callable[[Session, Packet, float], Out]] = {
            Kind.COMMAND: self._command, Kind.STEP: self._request, Kind.RESET: self._request, Kind.BYE: self._bye
        }  # fmt: skip

    # Datagrams --------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, address: Address, now: float) -> Out:
        """Take a datagram in; returns datagrams to send. What is malformed is counted and not answered."""
        self.counts["received"] += 1
        try:
            packet = decode(data)
            if packet.kind in self._handlers:
                return self._handlers[packet.kind](packet, address, now)
            if packet.kind not in self._movers:
                raise MalformedError(f"Expected a request, got {packet.kind.name}.")
            return self._move(packet, address, now)
        except VersionError as error:
            self.counts["malformed"] += 1
            return [(_notice(0, 0, "version", str(error)), address)]
        except MalformedError:
            self.counts["malformed"] += 1
            return []

    def _move(self, packet: Packet, address: Address, now: float) -> Out:
        session = self.session
        if session is None or (session.number, session.address) != (packet.session, address):
            self.counts["strangers"] += 1
            return self._refuse(packet, address, "session", "This session has ended, or another client has taken over.")
        session.heard_s = now
        return self._movers[packet.kind](session, packet, now)

    def _refuse(self, packet: Packet, address: Address, what: str, message: str) -> Out:
        self.counts["refused"] += 1
        return [(_notice(packet.session, packet.sequence, what, message), address)]

    def _hello(self, packet: Packet, address: Address, now: float) -> Out:
        held = self.session
        if held is None or (held.number, held.address) != (packet.session, address):
            if held is not None and now - held.heard_s < self.config.session_timeout_s:
                return self._refuse(packet, address, "busy", "The twin is controlled by another client.")
            self.session = Session(number=packet.session, address=address, heard_s=now)
            self.rest()
        return [
            (
                encode(Packet(kind=Kind.DESCRIPTION, session=packet.session, sequence=packet.sequence, body=part)),
                address,
            )
            for part in self._description
        ]

    def _stop(self, packet: Packet, address: Address, now: float) -> Out:
        session = self.session
        own = session is not None and (session.number, session.address) == (packet.session, address)
        if own and session is not None and packet.sequence < session.reset:
            self.counts["late"] += 1
        else:
            self.robot.stop(packet.body.decode(errors="replace")[:MAX_REASON] or "no reason given")
        return [(encode(packet), address)]

    def _fault(self, packet: Packet, address: Address, now: float) -> Out:
        try:
            fault = Fault.from_dict(from_json(packet.body))
            if fault.channel is not None:
                self.spec.sensor(fault.channel)
            self.faults.inject(fault, now)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            return self._refuse(packet, address, "fault", str(error))
        self.died = fault.kind == "die"
        return [(encode(packet), address)]

    def _status(self, packet: Packet, address: Address, now: float) -> Out:
        session = self.session
        if session is not None and (session.number, session.address) == (packet.session, address):
            session.heard_s = now
        body = to_json(self.status())
        return [
            (encode(Packet(kind=packet.kind, session=packet.session, sequence=packet.sequence, body=body)), address)
        ]

    def status(self) -> dict[str, Any]:
        """Counters for people and for tests."""
        clock = self.metronome
        return {
            "stopped": self.robot.stopped, "ticks": clock.beats, "overruns": clock.overruns, "skipped": clock.skipped,
            "worst_lateness_s": clock.worst_s, **{name: self.counts[name] for name in COUNTS},
        }  # fmt: skip

    def _bye(self, session: Session, packet: Packet, now: float) -> Out:
        self.session = None
        self.rest()
        return []

    def rest(self) -> None:
        """Hold the rest command until the next one."""
        if self.robot.read() is not None and self.robot.stopped is None:
            self.robot.send(self._rest)
        self._commanded_s = -math.inf

    def _command(self, session: Session, packet: Packet, now: float) -> Out:
        if self.config.clock != "realtime":
            return self._refuse(packet, session.address, "clock", "The twin's clock is lockstep: it takes steps.")
        if packet.sequence <= session.moved:
            self.counts["late"] += 1
            return []
        command = numbers(packet.body, self.spec.command.size)
        try:
            self.robot.send(command)
        except (ValueError, RobotError) as error:
            what = "command" if self.robot.stopped is None else "stopped"
            return self._refuse(packet, session.address, what, self.robot.stopped or str(error))
        session.moved, session.answer = packet.sequence, b""
        self._commanded_s = now
        self.counts["commands"] += 1
        return []

    def _request(self, session: Session, packet: Packet, now: float) -> Out:
        """Do what is asked once, however often it is asked."""
        if packet.sequence <= session.moved:
            self.counts["repeated"] += 1
            return [(session.answer, session.address)] if packet.sequence == session.moved and session.answer else []
        if packet.kind is Kind.STEP and self.config.clock != "lockstep":
            return self._refuse(packet, session.address, "clock", "The twin's clock is real-time: it takes commands.")
        try:
            reading = self._step(packet) if packet.kind is Kind.STEP else self._reset(session, packet, now)
        except (ValueError, RobotError) as error:
            if isinstance(error, MalformedError):
                raise
            what = "request" if self.robot.stopped is None else "stopped"
            return self._refuse(packet, session.address, what, self.robot.stopped or str(error))
        session.moved, session.answer = packet.sequence, self._datagram(reading, now, packet.sequence)
        return [(session.answer, session.address)]

    def _step(self, packet: Packet) -> Reading:
        command = numbers(packet.body, self.spec.command.size)
        if not packet.flags & Flag.REST:
            return self.robot.step(command)
        if self.robot.stopped is None:
            return self.robot.step(self._rest)
        latest = self.robot.read()
        reading = self.robot.wait(latest.sequence if latest else 0, 0.0)
        if reading is None:
            raise RobotError("The robot has begun no episode. Call reset() first.")
        return reading

    def _reset(self, session: Session, packet: Packet, now: float) -> Reading:
        (episode,) = unpack(EPISODE, packet.body)
        reading = self.robot.reset(None if episode < 0 else episode)
        session.reset, self._commanded_s, self._resting = packet.sequence, now, False
        self.metronome.start(now)
        return reading

    def _datagram(self, reading: Reading, now: float, answers: int = 0) -> bytes:
        shown = self.faults.altered(reading, now)
        flags = reading_flags(reading, stopped=self.robot.stopped is not None, resting=self._resting)
        number = self.session.number if self.session is not None else 0
        body = pack_reading(self.spec, shown, answers)
        return encode(Packet(kind=Kind.READING, session=number, sequence=reading.sequence, flags=flags, body=body))

    # The clock --------------------------------------------------------------------------------------------------------

    @property
    def next_s(self) -> float:
        """When the robot moves by itself; infinite under the lockstep clock."""
        return self.metronome.next_s if self.config.clock == "realtime" else math.inf

    def advance(self, now: float) -> Out:
        """Move if the clock beats; returns the reading to send."""
        if self.config.clock != "realtime" or not self.metronome.beat(now):
            return []
        latest = self.robot.read()
        if latest is None:
            return []
        self._resting = now - self._commanded_s > self.config.command_timeout_s
        if self._resting and self.robot.stopped is None:
            self.robot.send(self._rest)
        reading = self.robot.wait(latest.sequence, 0.0)
        if reading is None or self.session is None:
            return []
        return [(self._datagram(reading, now), self.session.address)]

    def farewell(self) -> Out:
        """What to send when the twin ends."""
        if self.session is None:
            return []
        return [(encode(Packet(kind=Kind.BYE, session=self.session.number, sequence=0)), self.session.address)]


COUNTS = ("received", "malformed", "strangers", "refused", "commands", "late", "repeated")
"""What becomes of datagrams, as counted."""


def _answer(packet: Packet, body: bytes, kind: Kind | None = None) -> bytes:
    """The answer to a request, by its own kind unless another is given."""
    return encode(replace(packet, kind=packet.kind if kind is None else kind, body=body))


def _notice(session: int, sequence: int, what: str, message: str) -> bytes:
    body = to_json({"refused": what, "message": message[: 4 * MAX_REASON]})
    return encode(Packet(kind=Kind.NOTICE, session=session, sequence=sequence, body=body))
