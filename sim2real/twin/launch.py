"""Start a twin in a process of its own, and end it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Self

from cairngym.sim2real.robot import RobotError
from cairngym.sim2real.twin.client import LockstepTwinRobot, TwinRobot, connect_twin
from cairngym.sim2real.twin.config import TwinConfig

MODULE = "cairngym.sim2real.twin.server"
GRACE_S = 3.0
"""A twin that does not end within this time when it is told to is killed."""


class TwinProcess:
    """A twin as a child process; it ends with this process at the latest, however that ends.

    Args:
        config: of the twin.
        timeout_s: how long it may take to be ready.

    Raises:
        RobotError: it did not start; the message holds what it said last.

    Attributes:
        host: where it listens.
        port: likewise, UDP.

    Example::

        with TwinProcess(TwinConfig(env="PointMaze_UMaze-v3", fleet="point_maze", unit=3)) as twin:
            with twin.connect() as robot:
                reading = robot.reset()
    """

    def __init__(self, config: TwinConfig, *, timeout_s: float = 120.0) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, config.to_json()],
            stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            self.host, self.port = self._await_ready(timeout_s)
        except BaseException:
            self.close()
            raise

    def _await_ready(self, timeout_s: float) -> tuple[str, int]:
        deadline, line = time.monotonic() + timeout_s, b""
        stdout = self.process.stdout
        while stdout is not None and not line.endswith(b"\n"):
            if not select.select([stdout], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                raise RobotError(f"The twin was not ready within {timeout_s:g} s.{self._said()}")
            part = os.read(stdout.fileno(), 4096)
            if not part:
                raise RobotError(f"The twin did not start (exit code {self.process.wait()}).{self._said()}")
            line += part
        ready = json.loads(line)
        return ready["host"], ready["port"]

    def _said(self) -> str:
        """The last line on its standard error, for errors."""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f" It said: {lines[-1]}" if lines else ""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def connect(self, *, timeout_s: float = 5.0, silence_s: float = 1.0) -> TwinRobot | LockstepTwinRobot:
        """Take control of the twin; see `connect_twin`."""
        return connect_twin(self.host, self.port, timeout_s=timeout_s, silence_s=silence_s)

    def kill(self) -> None:
        """End the process at once, without a word to clients."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the process, which tells its client."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self._words):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
