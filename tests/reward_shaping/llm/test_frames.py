"""What passes between the trainer and the sandbox: frames that come whole or not at all, and the filter of calls."""

import json
import os
import time
from dataclasses import replace

import pytest
import torch
from line_recording import SPEC, record_line

from cairngym.reward_shaping.llm.frames import (
    BrokenFrame,
    pack,
    pack_spec,
    receive_frame,
    send_frame,
    unpack,
    unpack_spec,
)
from cairngym.reward_shaping.llm.syscalls import ALLOWED, ARCHITECTURES, REFUSE, filter_program

PLANNED = {**SPEC, "clock": replace(SPEC["clock"], privileged=True)}


@pytest.fixture(scope="module")
def line():
    return record_line()


def test_a_recording_survives_the_way(line):
    there = unpack(*pack(line.tensors()))
    assert there.keys() == line.tensors().keys()
    for name, tensor in line.tensors().items():
        assert there[name].dtype == tensor.dtype
        assert torch.equal(there[name], tensor)
    assert unpack(*pack({"empty": torch.zeros(0, 3)}))["empty"].shape == (0, 3)
    assert unpack_spec(json.loads(json.dumps(pack_spec(SPEC)))) == SPEC
    assert unpack_spec(json.loads(json.dumps(pack_spec(PLANNED)))) == PLANNED
    with pytest.raises(TypeError, match="complex"):
        pack({"phase": torch.zeros(1, dtype=torch.complex64)})


def test_frames_come_whole_or_not_at_all():
    reading, writing = os.pipe()
    send_frame(writing, {"a": [1, None]}, b"block")
    assert receive_frame(reading) == ({"a": [1, None]}, b"block")
    with pytest.raises(BrokenFrame, match="too long"):
        receive_frame(reading, time.monotonic() + 0.05)
    send_frame(writing, {}, b"12345")
    with pytest.raises(BrokenFrame, match="too long for a frame"):
        receive_frame(reading, max_block=4)
    os.read(reading, 100)
    os.write(writing, bytes(7) + b"\x02" + bytes(8) + b"[]")
    with pytest.raises(BrokenFrame, match="no frame"):
        receive_frame(reading)
    os.close(writing)
    with pytest.raises(BrokenFrame, match="gone"):
        receive_frame(reading)
    os.close(reading)


def passes(machine, architecture, number):
    """What the filter answers, by a reading of classic BPF written for this test."""
    place, value = 0, 0
    rows = filter_program(machine)
    while True:
        code, yes, no, operand = rows[place]
        if code == 0x20:
            value = {0: number, 4: architecture}[operand]
            place += 1
        elif code == 0x15:
            place += 1 + (yes if value == operand else no)
        else:
            return operand


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
def test_the_filter_allows_what_is_listed_and_nothing_else(machine):
    architecture, column = ARCHITECTURES[machine]
    allowed = {pair[column] for pair in ALLOWED.values()}
    assert len(allowed) == len(ALLOWED)
    for number in range(600):
        assert passes(machine, architecture, number) == (0x7FFF0000 if number in allowed else REFUSE)
    assert passes(machine, architecture, 0x40000000) == REFUSE
    assert passes(machine, 3, 0) == 0x80000000
