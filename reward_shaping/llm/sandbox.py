"""Verification of strangers' reward programs in processes of their own.

    verdict = verify(source, env.state_spec, record_transitions(env, 200, scripted(env)))
    print(verdict.table())

Whatever a program does there, whoever asks gets a `Verdict`, never an exception.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.confinement import Limits
from cairngym.reward_shaping.llm.findings import Verdict
from cairngym.reward_shaping.llm.frames import BrokenFrame, pack, pack_spec, receive_frame, send_frame
from cairngym.reward_shaping.llm.transitions import Recorded
from cairngym.reward_shaping.llm.verification import Standards

__all__ = ["Limits", "Sandbox", "SandboxUnavailable", "Standards", "Verdict", "verify"]

START_S = 120.0
"""Seconds that the worker may take to import torch."""
GRACE_S = 10.0
"""Seconds beyond a verification's own limit until the worker itself is given up."""
MAX_SOURCE = 100_000
"""Characters of a program."""


class SandboxUnavailable(RuntimeError):  # noqa: N818
    """The worker does not start, so that no program can be verified, whatever it says."""


def verify(
    source: str,
    state_spec: Mapping[str, StateField],
    recorded: Recorded,
    limits: Limits | None = None,
    standards: Standards | None = None,
) -> Verdict:
    """Compile and examine one program in a process of its own; for many, keep a `Sandbox`.

    Args:
        source: the program.
        state_spec: the fields it may read.
        recorded: what it is tried on; it should hold successes.
        limits: what it may take.
        standards: what it is held against.

    Raises:
        SandboxUnavailable: the process does not start.
    """
    with Sandbox(state_spec, recorded, standards=standards) as sandbox:
        return sandbox.verify(source, limits)


class Sandbox:
    """A worker that verifies programs on one recording, each in a child forked for it.

    The worker starts with the first verification and again after it died; it has imported torch, so a verification
    costs a fork and the checks. It lives in an empty folder, with an environment of its own that holds no keys.

    Args:
        state_spec: the fields programs may read.
        recorded: what they are tried on.
        limits: what each may take, by default.
        standards: what they are held against.
    """

    command: tuple[str, ...] = ("-I", "-m", "cairngym.reward_shaping.llm.worker")
    """Arguments of Python that start the worker."""

    def __init__(
        self,
        state_spec: Mapping[str, StateField],
        recorded: Recorded,
        *,
        limits: Limits | None = None,
        standards: Standards | None = None,
    ) -> None:
        self.state_spec, self.recorded = dict(state_spec), recorded
        self.limits, self.standards = limits or Limits(), standards or Standards()
        self._worker: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def verify(self, source: str, limits: Limits | None = None) -> Verdict:
        """Examine one program.

        Raises:
            SandboxUnavailable: the worker does not start.
        """
        limits, start = limits or self.limits, time.monotonic()
        if not isinstance(source, str) or len(source) > MAX_SOURCE:
            what = f"{len(source)} characters" if isinstance(source, str) else type(source).__name__
            return Verdict.refusal("source", f"Expected a program of at most {MAX_SOURCE} characters, got {what}.")
        orders, answers = self._start()
        try:
            send_frame(orders, {"limits": asdict(limits)}, source.encode(errors="replace"))
            deadline = time.monotonic() + limits.wall_s + GRACE_S
            status, answer = receive_frame(answers, deadline, limits.answer_bytes + 1)
        except BrokenFrame as problem:
            self.close()
            return Verdict.refusal(
                "process", f"The process that verified it was lost: {problem}", wall_s=time.monotonic() - start
            )
        return replace(read_verdict(status, answer, limits), wall_s=time.monotonic() - start)

    def _start(self) -> tuple[int, int]:
        """The worker's ends, orders and answers; starts it where it does not live."""
        if self._worker is not None and self._worker.poll() is not None:
            self.close()
        if self._worker is None:
            self._folder = tempfile.mkdtemp(prefix="cairngym-sandbox-")
            self._worker = subprocess.Popen(
                [sys.executable, *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, env=environment(), cwd=self._folder, start_new_session=True,
            )  # fmt: skip
            self._introduce(*self._ends())
        return self._ends()

    def _ends(self) -> tuple[int, int]:
        worker = self._worker
        if worker is None or worker.stdin is None or worker.stdout is None:
            raise SandboxUnavailable("The sandbox is closed.")
        return worker.stdin.fileno(), worker.stdout.fileno()

    def _introduce(self, orders: int, answers: int) -> None:
        """Hand over the recording, and wait until the worker is ready."""
        entries, block = pack(self.recorded.tensors())
        header = {
            "spec": pack_spec(self.state_spec), "tensors": entries, "num_envs": self.recorded.num_envs,
            "standards": asdict(self.standards),
        }  # fmt: skip
        try:
            send_frame(orders, header, block)
            receive_frame(answers, time.monotonic() + START_S)
        except BrokenFrame as problem:
            self.close()
            raise SandboxUnavailable(
                f"Expected `{sys.executable} {' '.join(self.command)}` to start and say that it is ready, but: "
                f"{problem} Run it by hand to see why; cairngym has to be installed for this Python."
            ) from problem

    def close(self) -> None:
        """Kill the worker, and all it started, and remove its folder; a later `verify` starts another."""
        worker, self._worker = self._worker, None
        if worker is not None:
            for end in (worker.stdin, worker.stdout):
                if end is not None:
                    end.close()
            try:
                os.killpg(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                worker.poll()
            worker.wait()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""


def environment() -> dict[str, str]:
    """The worker's whole environment: one thread, no GPU, and nothing of ours."""
    return {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LC_ALL": "C.UTF-8"}


def read_verdict(status: Mapping[str, Any], answer: bytes, limits: Limits) -> Verdict:
    """What the worker saw of a child, and what the child said, as a verdict; the child is not trusted."""
    cpu_s = float(status.get("cpu_s", math.nan))
    refusal = ended_badly(status, cpu_s, limits)
    if refusal is not None:
        return replace(Verdict.refusal(*refusal), cpu_s=cpu_s)
    try:
        report = json.loads(answer)
        return Verdict.from_report({**report, "cpu_s": cpu_s, "wall_s": math.nan})
    except (ValueError, TypeError, RecursionError) as problem:
        said = f"What came back from its verification is no report: {type(problem).__name__}: {problem}"
        return replace(Verdict.refusal("process", said), cpu_s=cpu_s)


def ended_badly(status: Mapping[str, Any], cpu_s: float, limits: Limits) -> tuple[str, str] | None:
    """The check and the message for a child that gave no answer; None for one that did."""
    if status.get("end") == "timeout":
        return "time", f"It had not finished after {limits.wall_s:g} s. Use a few operations on whole batches."
    if status.get("end") == "oversized":
        return "process", f"Its verification answered with more than {limits.answer_bytes} bytes."
    code = int(status.get("code", 1))
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu_s >= limits.cpu_s):
        return "time", f"It used more than {limits.cpu_s} s of processor time. Use a few operations on whole batches."
    if code < 0:
        return "process", f"It was killed by signal {-code} ({signal.strsignal(-code)})."
    if code > 0:
        return "process", "Its verification ended without an answer; it may have run out of memory."
    return None
