"""Where runs are executed: one small interface, and a pool of local processes behind it.

An engine for a cluster takes the pool's place by offering the same `launch`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PARENT = "CAIRNGYM_PARENT_PID"
"""Environment variable that tells a run which process it must not outlive."""
TRACEBACK = "CAIRN_TRACEBACK"
"""Environment variable that asks the `cairn` command for the traceback of an error."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command to run."""

    name: str
    command: tuple[str, ...]
    folder: Path
    """The run's folder."""
    log: Path
    """Takes stdout and stderr; appended to."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A job that came to its end."""

    job: Job
    returncode: int
    """0 for success; negative for a signal."""
    seconds: float


class Launcher(Protocol):
    """Runs jobs somewhere."""

    def launch(self, jobs: Iterable[Job]) -> Generator[Finished, None, None]:
        """Run the jobs and yield each when it ends, in whatever order; closing the iterator stops what still runs."""
        ...


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_job(name: str, folder: Path) -> Job:
    """The job that trains the run whose config.yaml lies in `folder`."""
    command = ("-m", "cairngym", "train", "--config", str(folder / "config.yaml"), "--folder", str(folder))
    return Job(name=name, command=(sys.executable, *command), folder=folder, log=folder / "log.txt")


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    started: float


class LocalPool:
    """Runs jobs as processes on this machine, so many at a time, with threads shared out so that cores suffice.

    Args:
        workers: jobs at a time; default is one per core.
        patience: seconds a job gets to write its checkpoint when it is stopped.

    Raises:
        ValueError: `workers` below one.
    """

    def __init__(self, workers: int | None = None, *, patience: float = 10.0) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"Expected workers >= 1, got {workers}.")
        self.workers = workers or cores()
        self.threads = max(1, cores() // self.workers)
        self.patience = patience
        self._running: list[_Running] = []

    def launch(self, jobs: Iterable[Job]) -> Generator[Finished, None, None]:
        """Run the jobs in order, `workers` at a time; a job that fails is yielded like any other."""
        waiting = deque(jobs)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self.workers:
                    self._running.append(self._start(waiting.popleft()))
                yield from self._reap()
                time.sleep(0.05)
        finally:
            self._stop()

    def _start(self, job: Job) -> _Running:
        environment = {**os.environ, PARENT: str(os.getpid()), TRACEBACK: "1"}
        environment |= dict.fromkeys(_THREADS, str(self.threads))
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            # A session of its own keeps Ctrl-C from reaching it: the pool stops it, once, in order.
            process = subprocess.Popen(
                job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return _Running(job, process, time.monotonic())

    def _reap(self) -> list[Finished]:
        ended = [running for running in self._running if running.process.poll() is not None]
        self._running = [running for running in self._running if running not in ended]
        now = time.monotonic()
        return [
            Finished(job=running.job, returncode=running.process.returncode, seconds=now - running.started)
            for running in ended
        ]

    def _stop(self) -> None:
        for running in self._running:
            _signal_group(running.process, signal.SIGTERM)
        deadline = time.monotonic() + self.patience
        for running in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.0, deadline - time.monotonic()))
            _signal_group(running.process, getattr(signal, "SIGKILL", signal.SIGTERM))
            running.process.wait()
        self._running = []


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a job and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)
