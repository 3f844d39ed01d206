import json
import socket
import struct
import threading
import time

import numpy as np
import pytest
from robot_toys import SPEC, Cart, connected, eventually, serving

from cairngym.sim2real.robot import RobotError
from cairngym.sim2real.twin.client import LockstepTwinRobot, TwinRobot, connect_twin
from cairngym.sim2real.twin.config import Fault, NetworkConfig
from cairngym.sim2real.twin.connection import Connection, inject_fault, stop_twin, twin_status

MOVE = np.array([0.5, -0.25])


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_lockstep_steps_are_those_of_the_robot_itself():
    own = Cart()
    with connected(clock="lockstep") as (_, client):
        assert isinstance(client, LockstepTwinRobot)
        assert client.spec == SPEC
        expected, got = [own.reset(5)], [client.reset(5)]
        for _ in range(10):
            expected.append(own.step(MOVE))
            got.append(client.step(MOVE))
    for left, right in zip(expected, got, strict=True):
        assert (left.sequence, left.time_s, left.episode) == (right.sequence, right.time_s, right.episode)
        np.testing.assert_array_equal(left.values["observation"], right.values["observation"])


def test_lockstep_loses_nothing_on_a_bad_network():
    robot, network = Cart(), NetworkConfig(loss=0.2, reorder=0.2, jitter_s=0.002, hold_s=0.06)
    with connected(robot, clock="lockstep", network=network) as (server, client):
        client.reset()
        for _ in range(30):
            last = client.step(MOVE)
        assert twin_status(*server.address, timeout_s=10.0)["repeated"] > 0
    assert len(robot.told) == 30
    assert last.sequence == 31
    np.testing.assert_allclose(last.values["position"], 30 * 0.01 * MOVE)


def test_time_passes_in_lockstep_where_it_is_waited_for():
    robot = Cart()
    with connected(robot, clock="lockstep") as (_, client):
        assert client.wait(0, 1.0) is None  # no episode has begun
        first = client.reset()
        assert client.wait(0, 1.0) == first
        client.send(MOVE)
        second = client.wait(first.sequence, 1.0)
        client.stop("enough")
        third = client.wait(second.sequence, 1.0)
    np.testing.assert_array_equal(second.values["position"], 0.01 * MOVE)
    np.testing.assert_array_equal(third.values["position"], second.values["position"])
    assert [told.tolist() for told in robot.told] == [MOVE.tolist(), [0.0, 0.0]]


@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
def test_a_stop_is_latched_on_both_sides(clock):
    robot = Cart()
    with connected(robot, clock=clock) as (_, client):
        client.reset()
        client.send(MOVE)
        client.stop("smoke")
        client.stop("again")
        with pytest.raises(RobotError, match="smoke"):
            client.send(MOVE)
        assert client.stopped == "smoke"
        assert eventually(lambda: robot.stopped == "smoke")
        client.reset()
        assert client.stopped is None
        assert robot.stopped is None
        client.send(MOVE)


@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
@pytest.mark.parametrize(
    ("command", "words"), [([5.0, 0.0], "within"), ([np.nan, 0.0], "finite"), ([0.0], "shape")]
)  # fmt: skip
def test_commands_are_checked_before_they_leave(clock, command, words):
    with connected(clock=clock) as (server, client):
        client.reset()
        before = server.logic.counts["received"]
        with pytest.raises(ValueError, match=words):
            client.send(np.array(command))
        assert clock == "realtime" or server.logic.counts["received"] == before
        assert server.logic.counts["refused"] == 0


def test_realtime_readings_stream_and_commands_hold():
    robot = Cart()
    with connected(robot, command_timeout_s=30.0) as (_, client):
        assert isinstance(client, TwinRobot)
        assert client.read() is None
        first = client.reset(7)
        assert first.values["position"].tolist() == [7.0, 0.0]
        client.send(MOVE)
        assert eventually(lambda: any(np.array_equal(told, MOVE) for told in robot.told))
        reading = client.wait(client.read().sequence, 20.0)
        later = client.wait(reading.sequence, 20.0)
        steps = later.sequence - reading.sequence
        assert steps >= 1
        np.testing.assert_allclose(later.time_s - reading.time_s, steps * 0.01)
        np.testing.assert_allclose(later.values["position"] - reading.values["position"], steps * 0.01 * MOVE)
        assert later.received_s <= time.monotonic()


def test_realtime_rests_without_commands():
    robot = Cart()
    with connected(robot, command_timeout_s=0.05) as (_, client):
        client.reset()
        client.send(MOVE)
        assert eventually(lambda: robot.told and not robot.told[-1].any() and any(told.any() for told in robot.told))


def test_someone_elses_stop_is_told():
    with connected() as (server, client):
        client.reset()
        stop_twin(*server.address, "bystander")
        assert eventually(lambda: client.stopped is not None)
        with pytest.raises(RobotError, match="stopped"):
            client.send(MOVE)
        client.reset()
        client.send(MOVE)


def test_a_second_client_is_refused_while_the_first_is_there():
    with connected() as (server, client):
        client.reset()
        with pytest.raises(RobotError, match="another client"):
            connect_twin(*server.address, timeout_s=2.0)
        client.send(MOVE)
        client.close()
        with connect_twin(*server.address, timeout_s=20.0) as other:
            other.reset()
        with pytest.raises(RobotError, match="closed"):
            client.send(MOVE)


def test_nobody_at_the_port_is_an_error_in_time():
    began = time.monotonic()
    with pytest.raises(RobotError, match="No twin answers"):
        connect_twin("127.0.0.1", free_port(), timeout_s=0.3)
    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
def test_a_twin_that_ends_is_an_error_in_time(clock):
    with serving(clock=clock, port=(port := free_port())):
        client = connect_twin("127.0.0.1", port, timeout_s=20.0)
        client.reset()
    began = time.monotonic()
    with pytest.raises(RobotError, match="gone"):
        _wait_for_ever(client)
    with pytest.raises(RobotError, match="gone"):
        client.reset()
    client.stop("nobody hears")
    client.close()
    assert time.monotonic() - began < 20.0


def _wait_for_ever(client):
    while True:
        client.wait(1_000_000, 0.02)


def test_a_silent_twin_is_an_error_until_it_is_heard_again():
    with connected(silence_s=0.3) as (_, client):
        reading = client.reset()
        client.inject(Fault(kind="stall", duration_s=1.5))
        with pytest.raises(RobotError, match="silent"):
            client.wait(reading.sequence + 1_000_000, 20.0)
        assert eventually(lambda: _heard(client))


def _heard(client):
    try:
        return client.read() is not None
    except RobotError:
        return False


def test_faults_show_in_readings():
    with connected() as (server, client):
        client.reset()
        client.inject(Fault(kind="nan", channel="position"))
        assert eventually(lambda: np.isnan(client.read().values["position"]).all())
        assert np.isfinite(client.read().values["observation"]).all()
        client.inject(Fault(kind="none"))
        client.inject(Fault(kind="freeze_stamps"))
        assert eventually(lambda: _frozen(client))
        with pytest.raises(RobotError, match="sensor"):
            inject_fault(*server.address, Fault(kind="nan", channel="smell"))


def _frozen(client):
    first = client.read()
    second = client.wait(first.sequence, 20.0)
    return second.time_s == first.time_s and second.sequence > first.sequence


def test_garbage_at_the_door_does_not_disturb():
    with connected() as (server, client):
        client.reset()
        noise = np.random.default_rng(0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for size in range(1, 200, 3):
                stranger.sendto(noise.bytes(size), server.address)
                stranger.sendto(b"CRNT\x01" + noise.bytes(size), server.address)
        reading = client.read()
        assert client.wait(reading.sequence + 2, 20.0) is not None
        assert eventually(lambda: twin_status(*server.address)["malformed"] > 60)
        client.send(MOVE)


def test_garbage_at_the_client_does_not_disturb():
    connection = Connection("127.0.0.1", free_port())
    connection._socket.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as twin:
        twin.bind(("127.0.0.1", 0))
        connection = Connection(*twin.getsockname())
        connection.send(connection.packet(kind=7))
        _, address = twin.recvfrom(100)
        twin.sendto(b"nonsense", address)
        twin.sendto(struct.pack("<4sBBHIQ", b"CRNT", 1, 65, 0, connection.session + 2, 0), address)
        assert connection.receive(0.2) is None
        assert connection.malformed == 1
        connection.close(farewell=False)


def test_a_stop_interrupts_a_wait_of_another_thread():
    with connected() as (_, client):
        reading = client.reset()
        waited = []
        thread = threading.Thread(target=lambda: waited.append(client.wait(reading.sequence, 20.0)))
        thread.start()
        client.stop("from elsewhere")
        thread.join(20.0)
        assert waited[0].sequence > reading.sequence


def test_a_client_needs_nothing_but_sockets():
    """The document's example: the standard library and numpy alone."""
    head = struct.Struct("<4sBBHIQ")
    with serving(clock="lockstep") as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(20.0)
        wire.connect(server.address)
        count = 0

        def ask(kind, body=b""):
            nonlocal count
            count += 1
            wire.send(head.pack(b"CRNT", 1, kind, 0, 77, count) + body)
            data = wire.recv(65536)
            assert head.unpack_from(data)[:2] == (b"CRNT", 1)
            return data[head.size :]

        body = ask(1)
        parts = [body[4:]]
        for _ in range(struct.unpack_from("<HH", body)[1] - 1):
            parts.append(wire.recv(65536)[head.size + 4 :])
        spec = json.loads(b"".join(parts))["spec"]
        assert [sensor["name"] for sensor in spec["sensors"]] == ["observation", "position"]
        ask(4, struct.pack("<q", 2))
        body = ask(3, MOVE.tobytes())
        assert struct.unpack_from("<dqQ", body) == (0.01, 2, 3)
        np.testing.assert_allclose(np.frombuffer(body[24:], "<f8"), [2.005, -0.0025, 1.0, 2.005, -0.0025])
