"""What takes a process's means away: files, network, processes, memory, time and privileges.

It stands behind the language's own allow-list (`program.py`), for a program that found a way around that list: no file
or socket can be opened, no process or thread started, and the kernel refuses all calls but those of `syscalls.py`.
Limits on memory, and the filter of calls, are Linux's; elsewhere those on descriptors, processes and time remain.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from cairngym.reward_shaping.llm.syscalls import restrict_calls

NOBODY = 65534
"""The user and group without rights, by convention."""
RESULT = 3
"""The descriptor that the answer is written to; no other is open but 0, 1 and 2, which lead nowhere."""
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one verification may take."""

    wall_s: float = 20.0
    """Seconds until it is killed."""
    cpu_s: int = 15
    """Seconds of processor time until it is killed."""
    memory_bytes: int = 2**30
    """Memory beyond what torch and the recording take."""
    answer_bytes: int = 2**18
    """Of the answer; it is refused when longer."""

    def __post_init__(self) -> None:
        for name in ("wall_s", "cpu_s", "memory_bytes", "answer_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"Expected a positive limit {name}, got {getattr(self, name)}.")


def confine(limits: Limits, result: int) -> None:
    """Give up everything but the descriptor `result`, which becomes `RESULT`; there is no way back."""
    os.setsid()
    os.environ.clear()
    _keep_only(result)
    _limit(limits)
    _drop_privileges()
    # After the change of user, which would undo it: no child outlives the worker.
    _die_with_parent()
    restrict_calls()


def _keep_only(result: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    moved = os.dup(result)
    while moved <= RESULT:  # so that the next lines cannot overwrite it
        moved = os.dup(moved)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.dup2(moved, RESULT)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(RESULT + 1, 65536 if most == resource.RLIM_INFINITY else most)


def _limit(limits: Limits) -> None:
    """Soft and hard limits alike, so that they cannot be raised again."""
    fixed = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        # Descriptors that are open stay usable; no file, socket or pipe can be opened.
        resource.RLIMIT_NOFILE: 0,
        # Neither processes nor threads.
        resource.RLIMIT_NPROC: 0,
    }
    for kind, value in fixed.items():
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))


def limit_memory(limits: Limits) -> None:
    """Let the process map `limits.memory_bytes` more than it has."""
    for kind, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        held = memory_of_process(field)
        if held:
            most = held + limits.memory_bytes
            resource.setrlimit(kind, (most, most))


def memory_of_process(field: str) -> int:
    """Bytes of a line of /proc/self/status; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":")), 0)


def _drop_privileges() -> None:
    """Become nobody, where the process belongs to root, whom limits on processes do not hold."""
    if os.getuid() != 0:
        return
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    except OSError:  # a namespace that knows no such user: its root is nobody outside of it
        return


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
