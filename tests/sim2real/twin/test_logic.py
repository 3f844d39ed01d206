import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from robot_toys import SPEC, Cart

from cairngym.sim2real.robot import Channel, RobotSpec
from cairngym.sim2real.twin.config import TwinConfig
from cairngym.sim2real.twin.logic import TwinLogic
from cairngym.sim2real.twin.protocol import EPISODE, Flag, Kind, Packet, decode, encode, unpack_reading

HERE, THERE = ("127.0.0.1", 5001), ("127.0.0.1", 5002)
MOVE = np.array([0.5, 1.5])


class Client:
    """A client on no network."""

    def __init__(self, logic, address=HERE, session=11):
        self.logic, self.address, self.session, self.sequence = logic, address, session, 0

    def ask(self, kind, body=b"", now=0.0, flags=0, sequence=None):
        """What the twin answers, as packets."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        packet = Packet(kind=kind, session=self.session, sequence=sequence, flags=flags, body=body)
        out = self.logic.receive(encode(packet), self.address, now)
        assert all(address == self.address for _, address in out)
        return [decode(data) for data, _ in out]

    def reading(self, *arguments, **options):
        (packet,) = self.ask(*arguments, **options)
        assert packet.kind is Kind.READING, packet
        return unpack_reading(SPEC, packet.sequence, packet.flags, packet.body, 0.0)[0], packet.flags

    def refusal(self, *arguments, **options):
        (packet,) = self.ask(*arguments, **options)
        assert packet.kind is Kind.NOTICE, packet
        return json.loads(packet.body)["refused"]


def begin(clock="lockstep", robot=None, **config):
    robot = robot or Cart()
    logic = TwinLogic(robot, TwinConfig(env="Cart", clock=clock, **config), 0.0)
    client = Client(logic)
    client.ask(Kind.HELLO)
    return robot, logic, client


def test_the_description_tells_spec_and_clock():
    _, logic, _ = begin()
    parts = Client(logic).ask(Kind.HELLO)
    text = b"".join(part.body[4:] for part in parts)
    data = json.loads(text)
    assert RobotSpec.from_dict(data["spec"]) == SPEC
    assert (data["clock"], data["command_timeout_s"]) == ("lockstep", 0.25)


def test_steps_are_done_once():
    robot, _, client = begin()
    client.reading(Kind.RESET, EPISODE.pack(4))
    first, _ = client.reading(Kind.STEP, MOVE.tobytes())
    again, _ = client.reading(Kind.STEP, MOVE.tobytes(), sequence=client.sequence)
    assert len(robot.told) == 1
    assert again.sequence == first.sequence
    np.testing.assert_array_equal(again.values["position"], [4.005, 0.015])
    assert client.ask(Kind.STEP, MOVE.tobytes(), sequence=client.sequence - 1) == []
    assert len(robot.told) == 1


def test_resets_are_done_once():
    robot, _, client = begin()
    client.reading(Kind.RESET, EPISODE.pack(-1))
    client.reading(Kind.RESET, EPISODE.pack(-1), sequence=client.sequence)
    assert robot.number == 0


@pytest.mark.parametrize("command", [[2.0, 0.0], [0.0, np.nan], [-np.inf, 0.0]])
@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
def test_commands_outside_of_limits_never_reach_the_robot(clock, command):
    robot, logic, client = begin(clock)
    client.reading(Kind.RESET, EPISODE.pack(-1))
    kind = Kind.STEP if clock == "lockstep" else Kind.COMMAND
    assert client.refusal(kind, np.array(command).tobytes()) in ("request", "command")
    logic.advance(0.01)
    assert all(np.array_equal(told, SPEC.rest) for told in robot.told)
    assert logic.counts["refused"] == 1


def test_the_last_command_holds_until_none_has_come_for_a_while():
    robot, logic, client = begin("realtime", command_timeout_s=0.035)
    client.reading(Kind.RESET, EPISODE.pack(-1))
    client.ask(Kind.COMMAND, MOVE.tobytes(), now=0.005)
    flags = []
    for tick in range(1, 7):
        ((data, address),) = logic.advance(tick * 0.01 + 1e-6)
        assert address == HERE
        flags.append(decode(data).flags)
    assert [told.tolist() for told in robot.told] == [[0.5, 1.5]] * 3 + [[0.0, 0.0]] * 3
    assert flags == [0, 0, 0, Flag.REST, Flag.REST, Flag.REST]


def test_commands_that_others_overtook_are_dropped():
    robot, logic, client = begin("realtime")
    client.reading(Kind.RESET, EPISODE.pack(-1))
    client.ask(Kind.COMMAND, MOVE.tobytes(), sequence=9)
    client.ask(Kind.COMMAND, np.zeros(2).tobytes(), sequence=8)
    logic.advance(0.01)
    assert robot.told[-1].tolist() == [0.5, 1.5]
    assert logic.counts["late"] == 1
    client.reading(Kind.RESET, EPISODE.pack(-1), sequence=12)
    client.ask(Kind.COMMAND, MOVE.tobytes(), sequence=11)
    logic.advance(0.02)
    assert robot.told[-1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("clock", "kind"), [("lockstep", Kind.COMMAND), ("realtime", Kind.STEP)])
def test_each_clock_has_its_requests(clock, kind):
    _, _, client = begin(clock)
    client.reading(Kind.RESET, EPISODE.pack(-1))
    assert client.refusal(kind, MOVE.tobytes()) == "clock"


def test_a_stop_is_latched_until_a_reset():
    robot, logic, client = begin("realtime")
    client.reading(Kind.RESET, EPISODE.pack(-1))
    client.ask(Kind.COMMAND, MOVE.tobytes())
    (echo,) = client.ask(Kind.STOP, b"smoke")
    assert echo.kind is Kind.STOP
    assert robot.stopped == "smoke"
    assert client.refusal(Kind.COMMAND, MOVE.tobytes()) == "stopped"
    ((data, _),) = logic.advance(0.01)
    assert decode(data).flags & Flag.STOPPED
    assert robot.told[-1].tolist() == [0.0, 0.0]
    _, flags = client.reading(Kind.RESET, EPISODE.pack(-1))
    assert not flags & Flag.STOPPED
    client.ask(Kind.STOP, b"smoke", sequence=3)  # a copy that was on its way when the reset came
    assert robot.stopped is None


def test_anyone_can_stop_but_not_command():
    robot, logic, client = begin("realtime")
    client.reading(Kind.RESET, EPISODE.pack(-1))
    stranger = Client(logic, THERE, session=99)
    assert stranger.refusal(Kind.COMMAND, MOVE.tobytes()) == "session"
    assert stranger.refusal(Kind.RESET, EPISODE.pack(-1)) == "session"
    stranger.ask(Kind.STOP, b"bystander")
    assert robot.stopped == "bystander"
    assert logic.counts["strangers"] == 2


def test_a_rest_step_moves_a_stopped_robot_at_rest():
    robot, _, client = begin()
    assert client.refusal(Kind.STEP, MOVE.tobytes()) == "request"  # no episode has begun
    client.reading(Kind.RESET, EPISODE.pack(-1))
    client.ask(Kind.STOP, b"smoke")
    assert client.refusal(Kind.STEP, MOVE.tobytes()) == "stopped"
    client.reading(Kind.STEP, MOVE.tobytes(), flags=Flag.REST)
    assert [told.tolist() for told in robot.told] == [[0.0, 0.0]]


def test_a_second_client_waits_for_the_first_to_leave():
    robot, logic, client = begin("realtime", session_timeout_s=2.0)
    client.reading(Kind.RESET, EPISODE.pack(-1))
    client.ask(Kind.COMMAND, MOVE.tobytes(), now=1.0)
    other = Client(logic, THERE, session=12)
    assert other.refusal(Kind.HELLO, now=2.9) == "busy"
    client.ask(Kind.STATUS, now=2.95)
    assert other.refusal(Kind.HELLO, now=4.9) == "busy"
    assert other.ask(Kind.HELLO, now=5.0)[0].kind is Kind.DESCRIPTION
    assert client.refusal(Kind.COMMAND, MOVE.tobytes(), now=5.0) == "session"
    logic.advance(5.0)
    assert robot.told[-1].tolist() == [0.0, 0.0]
    other.ask(Kind.BYE, now=5.1)
    assert client.ask(Kind.HELLO, now=5.1)[0].kind is Kind.DESCRIPTION


def test_malformed_datagrams_are_counted_and_not_answered():
    _, logic, client = begin()
    assert logic.receive(b"hello", HERE, 0.0) == []
    assert client.ask(Kind.READING) == []
    client.reading(Kind.RESET, EPISODE.pack(-1))
    assert client.ask(Kind.STEP, MOVE.tobytes()[:-1]) == []
    assert client.ask(Kind.RESET, b"123") == []
    assert logic.counts["malformed"] == 4
    assert logic.receive(struct.pack("<4sBBHIQ", b"CRNT", 9, 1, 0, 0, 0), HERE, 0.0)  # told the version it should take


@pytest.mark.parametrize(
    "body", [b"", b'{"kind": "fire"}', b'{"kind": "nan", "channel": "smell"}', b'{"kind": "nan", "duration_s": 1e999}']
)
def test_impossible_faults_are_refused(body):
    _, logic, client = begin()
    out = client.ask(Kind.FAULT, body)
    assert [json.loads(packet.body)["refused"] for packet in out] == ["fault"]
    assert logic.faults.loss(0.0) == 0.0


def test_too_many_sensors_are_refused():
    spec = RobotSpec(
        robot="Big", control_dt=0.1, command=SPEC.command, rest=SPEC.rest,
        sensors=(Channel(name="observation", size=8000, unit="1"),),
    )  # fmt: skip
    with pytest.raises(ValueError, match="datagram"):
        TwinLogic(Cart(spec), TwinConfig(env="Big"), 0.0)


requests = st.builds(
    Packet, kind=st.sampled_from(list(Kind)), session=st.sampled_from([0, 11, 12]), sequence=st.integers(0, 2**64 - 1),
    flags=st.integers(0, 2**16 - 1),
    body=st.one_of(
        st.binary(max_size=40),
        st.lists(st.floats(), min_size=2, max_size=2).map(lambda numbers: np.array(numbers).tobytes()),
        st.integers(-(2**63), 2**63 - 1).map(EPISODE.pack),
        st.dictionaries(
            st.sampled_from(["kind", "duration_s", "amount", "channel", "x"]),
            st.one_of(st.sampled_from(["nan", "loss", "stall"]), st.integers(), st.floats(), st.none(), st.booleans()),
        ).map(lambda data: json.dumps(data).encode()),
    ),
).map(encode)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["lockstep", "realtime"]), st.lists(st.one_of(requests, st.binary(max_size=60)), max_size=20))
def test_no_datagram_breaks_the_twin(clock, datagrams):
    robot, logic, client = begin(clock)
    for number, data in enumerate(datagrams):
        for answer, address in logic.receive(data, HERE, 0.001 * number):
            assert address == HERE
            decode(answer)
        logic.advance(0.01 * number)
    assert all((np.array(SPEC.command.low) <= told).all() and (told <= SPEC.command.high).all() for told in robot.told)
    assert client.ask(Kind.STATUS)[0].kind is Kind.STATUS
