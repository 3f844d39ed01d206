"""A robot at the far end of Zenoh: payloads are those of the twin's protocol, keys are those of `Keys`."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cairngym.sim2real.robot import Reading, RobotError, RobotSpec
from cairngym.sim2real.streamed import StreamedRobot
from cairngym.sim2real.transport.sessions import KEY, Keys, open_session, zenoh_module
from cairngym.sim2real.twin.protocol import (
    EPISODE,
    Flag,
    Kind,
    MalformedError,
    Packet,
    decode,
    encode,
    from_json,
    unpack_reading,
)

if TYPE_CHECKING:
    import zenoh

RETRY_S = 0.1
"""A robot that is not there yet is asked for again after this time."""


class ZenohRobot(StreamedRobot):
    """A robot that a `ZenohBridge` serves elsewhere.

    Who began the last episode commands the robot; commands of others are ignored by the bridge.

    Args:
        connect: endpoints of the bridge or of a router, such as "tcp/192.168.0.7:7448".
        key: what the robot's keys begin with.
        timeout_s: how long an answer is waited for.
        silence_s: how long it may be silent before it counts as gone.

    Raises:
        ImportError: Zenoh is not installed.
        RobotError: no robot answers, or an endpoint can't be reached.
    """

    def __init__(
        self, connect: Sequence[str], key: str = KEY, *, timeout_s: float = 5.0, silence_s: float = 1.0
    ) -> None:
        self._keys, self._timeout_s = Keys(key), timeout_s
        self.session_number = int.from_bytes(os.urandom(4), "little") | 1
        self._sequence = itertools.count(1)
        self._session = open_session(connect=connect)
        try:
            super().__init__(self._ask_spec(), silence_s=silence_s)
            self._publisher = self._session.declare_publisher(self._keys.command, express=True)
            self._subscriber = self._session.declare_subscriber(self._keys.reading, self._sort)
            self._watcher = self._session.liveliness().declare_subscriber(self._keys.alive, self._watch)
        except BaseException:
            self._session.close()
            raise

    def _ask_spec(self) -> RobotSpec:
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            answer = self._ask(self._keys.spec, b"", self._timeout_s)
            if answer is not None:
                try:
                    return RobotSpec.from_dict(from_json(answer))
                except (KeyError, TypeError, ValueError) as error:
                    raise RobotError(f"What serves {self._keys.spec!r} is no robot of ours: {error!r}") from error
            time.sleep(RETRY_S)
        raise RobotError(f"No robot answers at {self._keys.spec!r} within {self._timeout_s:g} s. Is its bridge up?")

    def _ask(self, key: str, payload: bytes, timeout_s: float) -> bytes | None:
        """The answer to a query; None if there is none.

        Raises:
            RobotError: the other side refuses.
        """
        for reply in self._session.get(key, payload=payload, timeout=timeout_s):
            if reply.ok is not None:
                return reply.ok.payload.to_bytes()
            if reply.err is not None:
                raise RobotError(f"The robot refuses: {reply.err.payload.to_bytes().decode(errors='replace')}")
        return None

    def _packet(self, kind: Kind, body: bytes) -> bytes:
        packet = Packet(kind=kind, session=self.session_number, sequence=next(self._sequence), body=body)
        return encode(packet)

    # What comes from the robot ----------------------------------------------------------------------------------------

    def _sort(self, sample: zenoh.Sample) -> None:
        self._heard()
        try:
            reading, flags = self._read(sample.payload.to_bytes())
        except MalformedError:
            return
        if reading is not None:
            self._take(reading, stopped=bool(flags & Flag.STOPPED))

    def _read(self, data: bytes) -> tuple[Reading | None, int]:
        packet = decode(data)
        if packet.kind is not Kind.READING:
            return None, 0
        reading, _ = unpack_reading(self.spec, packet.sequence, packet.flags, packet.body, time.monotonic())
        return reading, packet.flags

    def _watch(self, sample: zenoh.Sample) -> None:
        if sample.kind == zenoh_module().SampleKind.DELETE:
            self._lose("its bridge has gone.")

    # What goes to the robot -------------------------------------------------------------------------------------------

    def _transmit(self, command: np.ndarray) -> None:
        self._put(self._packet(Kind.COMMAND, command.astype("<f8").tobytes()))

    def _put(self, payload: bytes) -> None:
        try:
            self._publisher.put(payload)
        except zenoh_module().ZError as error:
            self._lose(str(error))
            self._check_there()

    def _transmit_stop(self, reason: str) -> None:
        try:
            self._session.get(self._keys.stop, _ignore, payload=reason.encode(), timeout=self._timeout_s)
        except zenoh_module().ZError as error:
            self._lose(str(error))

    def _ask_reset(self, episode: int | None) -> Reading:
        payload = self._packet(Kind.RESET, EPISODE.pack(-1 if episode is None else episode))
        answer = self._ask(self._keys.reset, payload, self._timeout_s)
        try:
            reading = None if answer is None else self._read(answer)[0]
        except MalformedError as error:
            raise RobotError(f"The robot answers a reset with what is no reading: {error}") from error
        if reading is None:
            raise RobotError(f"The robot does not answer a reset within {self._timeout_s:g} s.")
        return reading

    def close(self) -> None:
        """Let go of the robot, which rests once its bridge has heard no command for a while."""
        self._lose("it was closed.")
        self._session.close()


def _ignore(reply: Any) -> None:
    """Answers to a stop are not waited for."""
