"""What a loop needs beyond its schedule: no garbage collection within it, priority, and a dead man's switch."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from cairngym.sim2real.control.faults import Fault
from cairngym.sim2real.robot import RobotInterface


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect now, then not until the end: a full collection takes tens of milliseconds beside a large program.

    What references count is freed as always; only cycles stay. Objects that exist are kept out of later collections
    too, which `gc.unfreeze` ends. All is as before afterwards.
    """
    enabled = gc.isenabled()
    gc.collect()
    frozen = gc.get_freeze_count()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if frozen == 0:  # else somebody else has frozen what is theirs
            gc.unfreeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def realtime_priority(priority: int | None) -> Iterator[str]:
    """Run the calling thread under SCHED_FIFO where the system permits it; says what came of it.

    Args:
        priority: 1 to 99; None leaves all as it is.
    """
    if priority is None:
        yield "not asked for"
        return
    if not hasattr(os, "sched_setscheduler"):
        yield "not offered by this system"
        return
    before, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, ValueError) as error:
        yield f"refused: {error}"
        return
    try:
        yield f"SCHED_FIFO {priority}"
    finally:
        os.sched_setscheduler(0, before, parameter)


class DeadMansSwitch:
    """Stops the robot from a thread of its own when the loop no longer says that it lives.

    A policy or driver that never returns keeps the loop from its own checks; this one needs the interpreter only.

    Args:
        robot: what is stopped.
        hang_s: how long a tick may take, s.

    Attributes:
        fired: whether it has stopped the robot.
    """

    def __init__(self, robot: RobotInterface, hang_s: float) -> None:
        self.robot, self.hang_s, self.fired = robot, hang_s, False
        self._alive_s: float | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="dead man's switch", daemon=True)

    def alive(self) -> None:
        """Say that the loop lives."""
        self._alive_s = time.monotonic()

    def pause(self) -> None:
        """Don't watch until the next `alive`: what comes now may take its time."""
        self._alive_s = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        self._thread.join(self.hang_s)

    def _watch(self) -> None:
        while not self._leave.wait(self.hang_s / 4):
            alive = self._alive_s
            if alive is not None and time.monotonic() - alive > self.hang_s and not self.fired:
                self.fired = True
                self.robot.stop(f"{Fault.HUNG.label}: a tick took over {self.hang_s:g} s")
