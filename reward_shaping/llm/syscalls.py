"""A seccomp filter that leaves a process memory, clocks, open descriptors and its own end, and nothing else.

See seccomp(2) and the kernel's Documentation/userspace-api/seccomp_filter.rst. The filter is a program of classic BPF:
pairs of comparisons with the numbers allowed, then a refusal, which callers see as EPERM.
"""

from __future__ import annotations

import ctypes
import platform
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
SECCOMP_MODE_FILTER = 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
KILL, ALLOW, REFUSE = 0x80000000, 0x7FFF0000, 0x00050001
NUMBER_AT, ARCHITECTURE_AT = 0, 4

ALLOWED: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233),
    "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93), "gettimeofday": (96, 169),
    "getrusage": (98, 165), "sysinfo": (99, 179), "sigaltstack": (131, 132), "gettid": (186, 178),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "restart_syscall": (219, 128), "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "getcpu": (309, 168), "getrandom": (318, 278),
}  # fmt: skip
"""Calls by name, with their numbers on x86-64 and on 64-bit ARM."""
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""By machine: the number that the kernel gives it, and the column of `ALLOWED`."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def filter_program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter's instructions: code, jump if it holds, jump if not, operand."""
    architecture, column = ARCHITECTURES[machine]
    numbers = sorted(pair[column] for pair in ALLOWED.values())
    jumps = [(JUMP_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    return [
        (LOAD, 0, 0, ARCHITECTURE_AT), (JUMP_IF_EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT), *jumps, (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip


def restrict_calls() -> bool:
    """Allow this process `ALLOWED` only, for good; returns whether the kernel took the filter.

    It does not on other systems and machines, nor in containers whose kernel knows no seccomp.
    """
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        return False
    rows = filter_program(platform.machine())
    instructions = (_Instruction * len(rows))(*(_Instruction(*row) for row in rows))
    program = _Program(len(rows), instructions)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)
