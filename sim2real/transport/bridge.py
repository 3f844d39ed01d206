"""The robot's side of Zenoh: serves any robot to `ZenohRobot`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from cairngym.sim2real.robot import LockstepRobot, Reading, RobotError, RobotInterface
from cairngym.sim2real.transport.sessions import KEY, Keys, open_session
from cairngym.sim2real.twin.metronome import Metronome
from cairngym.sim2real.twin.protocol import (
    EPISODE,
    Kind,
    MalformedError,
    Packet,
    decode,
    encode,
    numbers,
    pack_reading,
    reading_flags,
    to_json,
    unpack,
)

if TYPE_CHECKING:
    import zenoh

SIGN_S = 0.2
"""Without a reading for this long, a sign of life is published."""


class ZenohBridge:
    """Publishes the readings of a robot, and hands commands, stops and resets on to it.

    A robot whose clock waits is moved in real time. Commands are taken from whoever began the last episode; when none
    has come for `command_timeout_s`, the rest command is sent. Commands that are malformed or outside of the limits
    are counted and go no further. The robot is not closed.

    Args:
        robot: any.
        listen: endpoints such as "tcp/0.0.0.0:7448"; may be empty where a router is connected to.
        connect: endpoints of routers or other peers.
        key: what the robot's keys begin with.
        command_timeout_s: time without a command, s, after which the robot rests.

    Raises:
        ImportError: Zenoh is not installed.
        RobotError: an endpoint that can't be opened.

    Attributes:
        counts: `commands` handed on, and those `malformed`, of `strangers`, `late` and `refused`.
        error: what the robot raised when it was gone; None as long as it is there.
    """

    def __init__(
        self,
        robot: RobotInterface,
        *,
        listen: Sequence[str] = (),
        connect: Sequence[str] = (),
        key: str = KEY,
        command_timeout_s: float = 0.25,
    ) -> None:
        if not 0.0 < command_timeout_s < float("inf"):
            raise ValueError(f"Expected command_timeout_s > 0, got {command_timeout_s}.")
        self.robot, self.counts = robot, Counter[str]()
        self.error: RobotError | None = None
        self._timeout_s, self._commanded_s = command_timeout_s, time.monotonic()
        self._commander, self._newest = 0, 0
        self._lock, self._leaving = threading.RLock(), threading.Event()
        self._keys, self._session = Keys(key), open_session(listen, connect)
        self._declared = [
            self._session.declare_queryable(self._keys.spec, self._tell_spec),
            self._session.declare_queryable(self._keys.stop, self._stop),
            self._session.declare_queryable(self._keys.reset, self._reset),
            self._session.declare_subscriber(self._keys.command, self._command),
        ]
        self._publisher = self._session.declare_publisher(self._keys.reading, express=True)
        self._token = self._session.liveliness().declare_token(self._keys.alive)
        self._thread = threading.Thread(target=self._run, name="zenoh-bridge", daemon=True)
        self._thread.start()

    # Requests ---------------------------------------------------------------------------------------------------------

    def _tell_spec(self, query: zenoh.Query) -> None:
        with query:
            query.reply(self._keys.spec, to_json(self.robot.spec.to_dict()))

    def _stop(self, query: zenoh.Query) -> None:
        with query:
            self.robot.stop(_payload(query).decode(errors="replace") or "no reason given")
            query.reply(self._keys.stop, b"")

    def _reset(self, query: zenoh.Query) -> None:
        with query:
            try:
                packet = decode(_payload(query))
                (episode,) = unpack(EPISODE, packet.body)
                with self._lock:
                    reading = self.robot.reset(None if episode < 0 else episode)
                    self._commander, self._newest = packet.session, packet.sequence
                    self._commanded_s = time.monotonic()
                query.reply(self._keys.reset, self._encoded(reading))
            except (RobotError, ValueError) as error:
                query.reply_err(str(error).encode())

    def _command(self, sample: zenoh.Sample) -> None:
        what = "commands"
        try:
            packet = decode(sample.payload.to_bytes())
            command = numbers(packet.body, self.robot.spec.command.size)
            with self._lock:
                if packet.session != self._commander:
                    what = "strangers"
                elif packet.sequence <= self._newest:
                    what = "late"
                else:
                    self.robot.send(command)
                    self._newest, self._commanded_s = packet.sequence, time.monotonic()
        except MalformedError:
            what = "malformed"
        except (RobotError, ValueError):
            what = "refused"
        self.counts[what] += 1

    # Readings ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if isinstance(self.robot, LockstepRobot):
                self._pace()
            else:
                self._follow()
        except RobotError as error:
            self.error = error
            self._token.undeclare()

    def _follow(self) -> None:
        """Publish what a robot measures that has a clock of its own."""
        newest = -1
        while not self._leaving.is_set():
            reading = self.robot.wait(newest, SIGN_S)
            if reading is not None:
                newest = reading.sequence
            self._publish(reading)

    def _pace(self) -> None:
        """Move a robot in real time whose clock waits."""
        clock, signed = Metronome(self.robot.spec.control_dt), 0.0
        clock.start(time.monotonic())
        while not self._leaving.wait(max(clock.next_s - time.monotonic(), 0.0)):
            now = time.monotonic()
            if not clock.beat(now):
                continue
            latest = self.robot.read()
            if latest is not None:
                self._publish(self.robot.wait(latest.sequence, 0.0))
            elif now - signed > SIGN_S:
                signed = now
                self._publish(None)

    def _publish(self, reading: Reading | None) -> None:
        self._rest_if_silent()
        sign = encode(Packet(kind=Kind.STATUS, session=0, sequence=0))
        self._publisher.put(sign if reading is None else self._encoded(reading))

    def _rest_if_silent(self) -> None:
        with self._lock:
            if self._commander and time.monotonic() - self._commanded_s > self._timeout_s:
                self._commanded_s = time.monotonic()
                self._rest()

    def _rest(self) -> None:
        try:
            self.robot.send(np.array(self.robot.spec.rest))
        except RobotError:
            if self.robot.stopped is None:  # else it rests anyway
                raise

    def _encoded(self, reading: Reading) -> bytes:
        flags = reading_flags(reading, stopped=self.robot.stopped is not None)
        body = pack_reading(self.robot.spec, reading)
        return encode(
            Packet(kind=Kind.READING, session=self._commander, sequence=reading.sequence, flags=flags, body=body)
        )

    def close(self) -> None:
        """Stop serving; the robot rests, and is left open."""
        if self._leaving.is_set():
            return
        self._leaving.set()
        self._thread.join()
        self._session.close()
        if self.error is None and self._commander:
            self._rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _payload(query: zenoh.Query) -> bytes:
    return b"" if query.payload is None else query.payload.to_bytes()
