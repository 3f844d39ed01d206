"""The process in which strangers' programs are examined, one forked child for each.

It imports torch once, keeps the recording, and runs nothing of a program itself: that happens in the children, which
`confine` themselves first. Started by `Sandbox` as `python -I -m cairngym.reward_shaping.llm.worker`; frames come in
through descriptor 0 and go out through descriptor 1.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.confinement import RESULT, Limits, confine, limit_memory
from cairngym.reward_shaping.llm.findings import MAX_TEXT, Examination, error
from cairngym.reward_shaping.llm.frames import (
    BrokenFrame,
    receive_frame,
    send_frame,
    unpack,
    unpack_spec,
    wait_readable,
)
from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program
from cairngym.reward_shaping.llm.transitions import Recorded
from cairngym.reward_shaping.llm.verification import Standards, examine, says

Spec = Mapping[str, StateField]


def main() -> None:
    """Serve until the other end closes."""
    torch.set_num_threads(1)
    orders, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    header, block = receive_frame(orders)
    spec = unpack_spec(header["spec"])
    recorded = Recorded.from_tensors(unpack(header["tensors"], block), header["num_envs"])
    standards = Standards(**header["standards"])
    warm_up(spec, recorded)
    gc.collect()
    gc.freeze()  # so that children do not copy pages for the sake of the collector
    send_frame(answers, {"ready": True})
    while True:
        try:
            order, source = receive_frame(orders)
        except BrokenFrame:
            return
        status, answer = verify_in_child(source, spec, recorded, standards, Limits(**order["limits"]))
        send_frame(answers, status, answer)


def warm_up(spec: Spec, recorded: Recorded) -> None:
    """Examine a program known to be good, so that what is imported on first use has been: children open no files."""
    source = (
        "def reward(state, action, next_state, memory):\n"
        "    value = action.float().reshape(action.shape[0], -1).sum(-1)\n"
        "    return value, {'value': value}\n"
    )
    examine(compile_program(source, spec, action=action_of(recorded)), recorded, spec)


def action_of(recorded: Recorded) -> StateField:
    """What an action is, as far as a recording tells."""
    action = recorded.action
    return StateField(shape=tuple(action.shape[1:]), unit="", description="The action taken.", dtype=action.dtype)


def verify_in_child(
    source: bytes, spec: Spec, recorded: Recorded, standards: Standards, limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Fork, wait for the answer, and tell how it came.

    Returns:
        `{"end": "answered" | "timeout" | "oversized", "signal": int, "code": int, "cpu_s": float}` and the answer.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _live(source, spec, recorded, standards, limits, writing)
    os.close(writing)
    try:
        end, answer = _await(reading, limits)
    finally:
        os.close(reading)
    _kill(child)  # also where it closed its end and goes on; one that is about to end keeps its exit code
    _, state, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(state)
    return {"end": end, "code": code, "cpu_s": usage.ru_utime + usage.ru_stime}, answer


def _await(reading: int, limits: Limits) -> tuple[str, bytes]:
    """Read until the child closes its end, has lived too long, or has said too much."""
    deadline, answer = time.monotonic() + limits.wall_s, b""
    while len(answer) <= limits.answer_bytes:
        try:
            wait_readable(reading, deadline)
        except BrokenFrame:
            return "timeout", b""
        part = os.read(reading, 2**16)
        if not part:
            return "answered", answer
        answer += part
    return "oversized", b""


def _kill(child: int) -> None:
    """Kill the child's whole session, or the child alone where it has not made one yet."""
    for end in (os.killpg, os.kill):
        try:
            end(child, signal.SIGKILL)
        except OSError:
            continue


def _live(source: bytes, spec: Spec, recorded: Recorded, standards: Standards, limits: Limits, writing: int) -> None:
    """The child's whole life; it never returns."""
    code = 1
    try:
        limit_memory(limits)
        confine(limits, writing)
        answer = json.dumps(_judge(source, spec, recorded, standards)).encode()
        while answer:
            answer = answer[os.write(RESULT, answer) :]
        code = 0
    finally:
        os._exit(code)  # without the parent's exit handlers


def _judge(source: bytes, spec: Spec, recorded: Recorded, standards: Standards) -> dict[str, Any]:
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        program = compile_program(source.decode(), spec, action=action_of(recorded))
    except ProgramRefused as refusal:
        found = Examination(findings=(error("refused", str(refusal)[:MAX_TEXT]),))
    except Exception as problem:  # the compiler itself is held to refuse, but a bomb may exhaust it
        found = Examination(findings=(error("compilation", says(problem)),))
    else:
        found = examine(program, recorded, spec, standards)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
    return {**asdict(found), "memory_bytes": 1024 * grown}


if __name__ == "__main__":
    main()
