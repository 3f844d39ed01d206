import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from robot_toys import SPEC, Cart

from cairngym.sim2real.robot import RobotSpec
from cairngym.sim2real.twin import protocol
from cairngym.sim2real.twin.protocol import Flag, Kind, MalformedError, Packet, VersionError


def test_a_command_has_the_documented_bytes():
    packet = Packet(kind=Kind.COMMAND, session=0x01020304, sequence=7, body=np.array([1.0, -0.5]).tobytes())
    expected = struct.pack("<4sBBHIQ", b"CRNT", 1, 2, 0, 0x01020304, 7) + struct.pack("<2d", 1.0, -0.5)
    assert protocol.encode(packet) == expected
    assert len(expected) == 20 + 16


def test_a_reading_has_the_documented_bytes():
    reading = Cart().reset(episode=3)
    body = protocol.pack_reading(SPEC, reading, answers=9)
    assert body == struct.pack("<dqQ5d", 0.0, 3, 9, 3.0, 0.0, 0.0, 3.0, 0.0)
    assert protocol.reading_size(SPEC) == 20 + len(body)


@given(
    kind=st.sampled_from(list(Kind)), session=st.integers(0, 2**32 - 1), sequence=st.integers(0, 2**64 - 1),
    flags=st.integers(0, 2**16 - 1), body=st.binary(max_size=300),
)  # fmt: skip
def test_packets_survive_the_way(kind, session, sequence, flags, body):
    packet = Packet(kind=kind, session=session, sequence=sequence, flags=flags, body=body)
    assert protocol.decode(protocol.encode(packet)) == packet


@given(st.binary(max_size=200))
def test_garbage_is_read_or_refused(data):
    try:
        packet = protocol.decode(data)
    except MalformedError:
        return
    assert protocol.encode(packet) == data


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"CRNT", MalformedError),
        (struct.pack("<4sBBHIQ", b"NOPE", 1, 1, 0, 0, 0), MalformedError),
        (struct.pack("<4sBBHIQ", b"CRNT", 1, 200, 0, 0, 0), MalformedError),
        (struct.pack("<4sBBHIQ", b"CRNT", 2, 1, 0, 0, 0), VersionError),
        (struct.pack("<4sBBHIQ", b"CRNT", 1, 1, 0, 0, 0) + bytes(70_000), MalformedError),
    ],
)
def test_what_is_not_of_the_protocol_is_refused(data, error):
    with pytest.raises(error):
        protocol.decode(data)


def test_readings_survive_the_way():
    reading = Cart().reset()
    flags = protocol.reading_flags(reading, stopped=True)
    body = protocol.pack_reading(SPEC, reading, 4)
    read, answers = protocol.unpack_reading(SPEC, reading.sequence, flags, body, 1.5)
    assert answers == 4
    assert read.received_s == 1.5
    assert flags == Flag.STOPPED
    assert (read.sequence, read.time_s, read.episode) == (reading.sequence, reading.time_s, reading.episode)
    assert (read.over, read.success) == (False, False)
    for name, values in reading.values.items():
        np.testing.assert_array_equal(read.values[name], values)


@pytest.mark.parametrize("size", [0, 23, 24, 24 + 39, 24 + 48])
def test_a_reading_of_another_size_is_refused(size):
    with pytest.raises(MalformedError):
        protocol.unpack_reading(SPEC, 1, 0, bytes(size), 0.0)


def test_descriptions_are_cut_and_joined():
    parts = protocol.chunks({"spec": SPEC.to_dict(), "filling": "x" * 5000})
    heads = [protocol.unpack(protocol.CHUNK, part) for part in parts]
    assert heads == [(index, len(parts)) for index in range(len(parts))]
    assert len(parts) == 5
    data = protocol.from_json(b"".join(part[protocol.CHUNK.size :] for part in parts))
    assert RobotSpec.from_dict(data["spec"]) == SPEC


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_of_json_is_refused(body):
    with pytest.raises(MalformedError):
        protocol.from_json(body)
