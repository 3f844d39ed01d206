import socket
import time
from contextlib import contextmanager

import numpy as np
import pytest
from robot_toys import SPEC, Cart, connected, eventually

pytest.importorskip("zenoh")

from cairngym.sim2real.robot import RobotError
from cairngym.sim2real.transport.bridge import ZenohBridge
from cairngym.sim2real.transport.sessions import KEY, Keys, open_session
from cairngym.sim2real.transport.zenoh import ZenohRobot
from cairngym.sim2real.twin.protocol import Kind, Packet, encode

MOVE = np.array([0.5, -0.25])


def endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp/127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def bridged(robot=None, silence_s=20.0, **options):
    """A bridge to a cart, and a client of it."""
    where = endpoint()
    with (
        ZenohBridge(robot or Cart(), listen=[where], **options) as bridge,
        ZenohRobot([where], timeout_s=30.0, silence_s=silence_s) as client,
    ):
        yield bridge, client, where


def test_a_robot_is_driven_over_zenoh():
    robot = Cart()
    with bridged(robot, command_timeout_s=30.0) as (bridge, client, _):
        assert client.spec == SPEC
        assert client.read() is None
        first = client.reset(4)
        assert (first.episode, first.values["position"].tolist()) == (4, [4.0, 0.0])
        client.send(MOVE)
        assert eventually(lambda: any(np.array_equal(told, MOVE) for told in robot.told))
        reading = client.wait(client.read().sequence, 20.0)
        later = client.wait(reading.sequence, 20.0)
        steps = later.sequence - reading.sequence
        np.testing.assert_allclose(later.values["position"] - reading.values["position"], steps * 0.01 * MOVE)
        np.testing.assert_allclose(later.time_s - reading.time_s, steps * 0.01)
        assert bridge.counts == {"commands": 1}


def test_a_twin_is_driven_over_zenoh():
    robot = Cart()
    with connected(robot, command_timeout_s=30.0) as (_, twin), bridged(twin) as (_, client, _):
        reading = client.reset(3)
        client.send(MOVE)
        assert client.wait(reading.sequence, 20.0).episode == 3
        assert eventually(lambda: any(np.array_equal(told, MOVE) for told in robot.told))


def test_a_stop_is_latched_on_both_sides():
    robot = Cart()
    with bridged(robot) as (_, client, where):
        client.reset()
        client.stop("smoke")
        assert client.stopped == "smoke"
        with pytest.raises(RobotError, match="smoke"):
            client.send(MOVE)
        assert eventually(lambda: robot.stopped == "smoke")
        client.reset()
        assert (client.stopped, robot.stopped) == (None, None)
        with ZenohRobot([where], timeout_s=30.0, silence_s=20.0) as bystander:
            bystander.stop("bystander")
            assert eventually(lambda: client.stopped is not None)


def test_commands_are_checked_on_both_sides():
    robot = Cart()
    with bridged(robot) as (bridge, client, where):
        client.reset()
        with pytest.raises(ValueError, match="within"):
            client.send(np.array([5.0, 0.0]))
        far = np.array([5.0, 0.0])
        client._transmit(far)
        client._transmit(np.array([np.nan, 0.0]))
        assert eventually(lambda: bridge.counts["refused"] == 2)
        session = open_session(connect=[where])
        session.put(Keys(KEY).command, b"garbage")
        assert eventually(lambda: bridge.counts["malformed"] == 1)
        foreign = Packet(kind=Kind.COMMAND, session=1, sequence=99, body=MOVE.astype("<f8").tobytes())
        session.put(Keys(KEY).command, encode(foreign))
        assert eventually(lambda: bridge.counts["strangers"] == 1)
        session.close()
        assert not any(told.any() for told in robot.told)


def test_the_robot_rests_without_commands():
    robot = Cart()
    with bridged(robot, command_timeout_s=0.05) as (_, client, _):
        client.reset()
        client.send(MOVE)
        assert eventually(lambda: robot.told and any(told.any() for told in robot.told) and not robot.told[-1].any())


def test_a_bridge_that_is_gone_is_an_error_in_time():
    where, robot = endpoint(), Cart()
    bridge = ZenohBridge(robot, listen=[where])
    with ZenohRobot([where], timeout_s=2.0, silence_s=20.0) as client:
        reading = client.reset()
        bridge.close()
        began = time.monotonic()
        with pytest.raises(RobotError, match="gone"):
            client.wait(reading.sequence + 1_000_000, 30.0)
        with pytest.raises(RobotError, match="gone"):
            client.send(MOVE)
        with pytest.raises(RobotError, match="gone"):
            client.reset()
        client.stop("nobody hears")
        assert time.monotonic() - began < 25.0


def test_a_robot_that_is_gone_is_told():
    robot = Cart()
    with bridged(robot) as (bridge, client, _):
        client.reset()
        robot.close()
        assert eventually(lambda: isinstance(bridge.error, RobotError))
        with pytest.raises(RobotError, match="gone"):
            client.wait(1_000_000, 30.0)


def test_nobody_there_is_an_error():
    with pytest.raises(RobotError, match="No robot answers"):
        ZenohRobot([endpoint()], timeout_s=0.5)
    with pytest.raises(RobotError, match="Zenoh can't listen"):
        ZenohBridge(Cart(), listen=["pigeon/127.0.0.1:1"])
    where = endpoint()
    listening = open_session(listen=[where])
    with pytest.raises(RobotError, match="No robot answers"):
        ZenohRobot([where], timeout_s=0.5)
    listening.close()
