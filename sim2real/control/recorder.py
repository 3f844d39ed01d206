"""The flight recorder: a thread writes what the loop hands over, and the loop never waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cairngym.sim2real.control.flight_log import header_line, note_records, record_type, seal
from cairngym.sim2real.robot import RobotSpec

CLOSE_S = 5.0
"""How long `close` waits for the disk, s."""


class FlightRecorder:
    """Appends records to a log in the background.

    The loop appends to a queue without a lock; the thread wakes up by itself, so that handing over wakes nobody. A
    process that is killed loses what was handed over in the last `flush_s`; a computer that loses power also what was
    not yet synchronized. After an error (the disk is full) nothing more is written and the file ends with its last
    whole record.

    Args:
        path: the file.
        spec: the robot's.
        period_s: the loop's, s.
        meta: plain data for the header.
        overwrite: replace a file that is there.
        capacity: records that may wait; more are dropped and counted.
        flush_s: how often the thread writes, s.
        sync_s: how often it has the disk synchronized, s; infinity leaves that to the system.

    Attributes:
        written: records in the file.
        error: why nothing more is written; None as long as all is well.

    Raises:
        FileExistsError: the file is there, without `overwrite`.
        OSError: it can't be written, or is no ordinary file.
    """

    def __init__(
        self,
        path: str | Path,
        spec: RobotSpec,
        *,
        period_s: float,
        meta: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        capacity: int = 8192,
        flush_s: float = 0.05,
        sync_s: float = 1.0,
    ) -> None:
        self.path, self.spec, self.dtype = Path(path), spec, record_type(spec)
        self.capacity, self.flush_s, self.sync_s = capacity, flush_s, sync_s
        self.written, self.error = 0, None
        self._offered = self._refused = 0
        self._queue: deque[bytes] = deque()
        self._leave = threading.Event()
        header = header_line(spec, period_s, _origin() | dict(meta or {}))
        self._file = self._open(overwrite)
        try:
            self._write(header)
        except OSError:
            os.close(self._file)
            if not overwrite:  # what was made here: an empty file helps nobody
                self.path.unlink(missing_ok=True)
            raise
        self._end = len(header)
        self._thread = threading.Thread(target=self._run, name="flight recorder", daemon=True)
        self._thread.start()

    error: str | None

    def record(self, row: np.ndarray) -> None:
        """Hand over a tick, an array `(1,)` or a scalar of `dtype`; it is copied. Never waits, never raises."""
        self._hand_over(row.tobytes())

    def note(self, text: str) -> None:
        """Hand over a remark. Never waits, never raises."""
        self._hand_over(note_records(text, self.dtype.itemsize))

    def _hand_over(self, records: bytes) -> None:
        count = len(records) // self.dtype.itemsize
        self._offered += count
        if self.error is not None or len(self._queue) >= self.capacity:
            self._refused += count
        else:
            self._queue.append(records)

    @property
    def dropped(self) -> int:
        """Records that are not in the file, because the queue was full or writing had failed."""
        return self._refused if self.error is None else self._offered - self.written

    def close(self) -> None:
        """Write what waits and close the file; waits for the disk, but not for ever."""
        self._leave.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.error = f"{self.path} was not written within {CLOSE_S:g} s"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, overwrite: bool) -> int:
        if self.path.exists() and not self.path.is_file():
            raise OSError(f"Expected an ordinary file for the flight log, got {self.path}.")
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if overwrite else os.O_EXCL)
        try:
            return os.open(self.path, flags, 0o644)
        except FileExistsError as error:
            raise FileExistsError(
                f"Expected a new file for the flight log, but {self.path} is there. Name another, or overwrite it."
            ) from error

    def _run(self) -> None:
        unsynchronized = 0.0
        if hasattr(os, "sched_setscheduler"):
            with contextlib.suppress(OSError):  # a real-time priority of who made this thread is not meant for it
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        try:
            while not self._leave.wait(self.flush_s):
                self._drain()
                unsynchronized += self.flush_s
                if unsynchronized >= self.sync_s:
                    os.fsync(self._file)
                    unsynchronized = 0.0
            self._drain()
            os.fsync(self._file)
        except OSError as error:
            self._fail(error)
        finally:
            os.close(self._file)

    def _drain(self) -> None:
        rows = [self._queue.popleft() for _ in range(len(self._queue))]
        if rows:
            size = self.dtype.itemsize
            self._write(b"".join(seal(row) if len(row) == size else row for row in rows))
            count = sum(len(row) for row in rows) // size
            self.written += count
            self._end += count * size

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _fail(self, error: OSError) -> None:
        self.error = f"{self.path}: {error.strerror or error}"
        with contextlib.suppress(OSError):
            size = self.dtype.itemsize
            whole = (os.fstat(self._file).st_size - self._end) // size
            os.ftruncate(self._file, self._end + whole * size)
            self.written += whole
        self._queue.clear()


def _origin() -> dict[str, Any]:
    """When a log was begun, and by which versions."""
    versions = {}
    for package in ("cairngym", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {"begun": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions}
