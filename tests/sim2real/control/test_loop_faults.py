"""Every fault ends in a safe stop or in continued operation, as configured, with the log whole."""

import math
import threading

import numpy as np
import pytest
from robot_doubles import DT, REST, SPEC, ScriptedRobot, moving, towards

from cairngym.sim2real.control.clock import MonotonicClock
from cairngym.sim2real.control.faults import CONTINUE, STOP, Fault, Response
from cairngym.sim2real.control.filters import LowPass
from cairngym.sim2real.control.flight_log import read_flight_log
from cairngym.sim2real.control.loop import ControlLoop, LoopConfig
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.watchdog import Moving, WatchdogConfig
from cairngym.sim2real.robot import RobotError


@pytest.fixture
def flight(robot, tmp_path):
    """Control the robot for a second: report and log."""

    def control(policy=towards, *, config=None, recorder=None, **watchdog):
        recorder = recorder or FlightRecorder(tmp_path / "x.log", SPEC, period_s=DT)
        config = config or LoopConfig(seconds=1.0, hang_s=60.0, watchdog=WatchdogConfig(**watchdog))
        report = ControlLoop(robot, policy, config, clock=robot.clock, recorder=recorder).run()
        log = read_flight_log(tmp_path / "x.log")
        assert (log.torn_bytes, log.damaged) == (0, 0)
        assert log.notes[-1:] == (report.reason,) or report.recorder_error
        assert robot.stopped is not None
        return report, log

    return control


def stopped_at(report, fault):
    """When the safe stop came, s, which has to be for the fault."""
    assert (report.outcome, report.fault) == ("stopped", fault)
    assert report.reason.startswith(fault)
    assert report.commands["stop"] == 1
    return (report.slots - 1) * DT


def test_a_robot_that_is_killed_stops_the_loop(robot, flight):
    robot.dies_at = 0.4999
    report, log = flight()
    assert stopped_at(report, "connection") == pytest.approx(0.5)
    assert log.notes == ("connection: the robot is gone",)
    assert log.ticks["source"][-1] == 3
    assert log.ticks["command"][-1].tolist() == REST.tolist()
    assert log.flagged(Fault.CONNECTION).tolist() == [False] * 100 + [True]


def test_a_robot_that_falls_silent_is_stopped_after_its_time(robot, flight):
    robot.delay = lambda k: 0.001 if k < 100 else math.inf
    report, log = flight()
    # Reading 99 arrived at 0.496 s; it is stale from 0.546 s and may be so for 0.25 s.
    assert stopped_at(report, "stale") == pytest.approx(0.80, abs=DT)
    held = log.ticks[log.ticks["source"] == 1]
    assert len(held) == 50
    assert (held["command"] == held["command"][0]).all()
    assert report.commands["hold"] == 50


def test_readings_that_repeat_their_sequence_are_not_new(robot, flight):
    true_reading = robot.reading
    robot.reading = lambda k: true_reading(min(k, 100))
    true_arrival = robot.arrival
    robot.arrival = lambda k: max(true_arrival(k), robot.clock.now() if k > 100 else 0.0)
    report, _ = flight()
    assert stopped_at(report, "stale") < 0.85


def test_values_that_freeze_stop_the_robot(robot, flight):
    robot.values = lambda k: moving(min(k, 60))
    report, log = flight()
    assert stopped_at(report, "frozen") == pytest.approx(0.3 + 0.5, abs=3 * DT)
    assert "'observation'" in report.reason
    assert (log.sensors["observation"][60:] == log.sensors["observation"][60]).all()


def test_time_stamps_that_freeze_are_stale(robot, flight):
    robot.stamp = lambda k: 5000.0 + min(k, 60) * DT
    report, _ = flight()
    assert stopped_at(report, "stale") == pytest.approx(0.3 + 0.05 + 0.25, abs=3 * DT)


def test_frozen_values_are_nothing_to_those_who_say_so(robot, flight):
    robot.values = lambda k: moving(0)
    assert flight(moving=())[0].outcome == "finished"


def nan_between(first, last):
    def values(k):
        sound = moving(k)
        return sound | {"position": np.array([np.nan, 0.0])} if first <= k < last else sound

    return values


def test_a_few_readings_with_nan_are_bridged(robot, flight):
    robot.values = nan_between(50, 65)
    asked = []
    report, log = flight(lambda seen: asked.append(1) or towards(seen))
    assert report.outcome == "finished"
    assert (report.faults, report.commands["hold"], len(asked)) == ({"nan_reading": 15}, 15, 185)
    bridged = log.flagged(Fault.NAN_READING)
    assert (log.ticks["command"][bridged] == log.ticks["command"][50]).all()
    assert np.isnan(log.sensors["position"][50:65, 0]).all()


def test_nan_that_stays_stops_the_robot(robot, flight):
    robot.values = nan_between(50, 10**9)
    report, _ = flight()
    assert stopped_at(report, "nan_reading") == pytest.approx(51 * DT + 0.1, abs=DT)
    assert "number 0 of 'position'" in report.reason


def test_thirty_percent_loss_is_within_tolerance(robot, flight):
    lost = np.random.default_rng(0).random(400) < 0.3
    robot.delay = lambda k: math.inf if k > 0 and lost[k] else 0.001
    report, log = flight()
    assert report.outcome == "finished"
    assert report.lost == lost[1:198].sum()
    assert report.commands["policy"] == 200
    assert len(log) == report.readings == 199 - report.lost


@pytest.mark.parametrize(("meanwhile", "source"), [("hold", 1), ("rest", 2), ("policy", 0)])
def test_a_delay_of_a_hundred_milliseconds_is_within_tolerance(robot, flight, meanwhile, source):
    robot.delay = lambda k: 0.101 if 80 <= k < 100 else 0.001
    report, log = flight(stale=Response(meanwhile=meanwhile, stop_after_s=0.25))
    assert report.outcome == "finished"
    stale = log.flagged(Fault.STALE)
    # Nothing arrives from 0.396 s on, until reading 100 does at 0.501 s and overtakes the late ones.
    assert np.flatnonzero(stale).tolist() == list(range(90, 101))
    assert set(log.ticks["source"][stale].tolist()) == {source}
    if meanwhile == "rest":
        assert (log.ticks["command"][stale] == REST).all()


def test_a_delay_that_lasts_is_not(robot, flight):
    robot.delay = lambda k: 0.101 if k >= 80 else 0.001
    report, _ = flight()
    assert stopped_at(report, "stale") == pytest.approx(0.45 + 0.25, abs=3 * DT)


def fails_at(call, answer):
    calls = []

    def policy(observation):
        calls.append(1)
        if len(calls) >= call:
            return answer()
        return towards(observation)

    return policy


def fail():
    raise ZeroDivisionError("of the policy")


@pytest.mark.parametrize(
    ("answer", "fault", "words"),
    [
        (lambda: np.array([0.0, np.nan]), "nan_command", "nan"), (lambda: np.zeros(3), "policy", "(3,)"),
        (lambda: "left", "policy", "could not convert"), (lambda: None, "policy", "got ()"),
        (fail, "policy", "ZeroDivisionError: of the policy"),
    ],
)  # fmt: skip
def test_a_policy_that_fails_stops_the_robot(robot, flight, answer, fault, words):
    report, log = flight(fails_at(101, answer))
    assert stopped_at(report, fault) == pytest.approx(0.5)
    assert words in report.reason
    assert len(robot.commands) == 100
    assert np.isfinite(log.command).all()


def test_a_policy_that_fails_for_a_moment_may_be_bridged(robot, flight):
    calls = []

    def policy(observation):
        calls.append(1)
        return np.full(2, np.nan) if 50 <= len(calls) < 60 else towards(observation)

    report, _ = flight(policy, nan_command=Response(meanwhile="rest", stop_after_s=0.1))
    assert (report.outcome, report.commands["rest"], report.faults) == ("finished", 10, {"nan_command": 10})
    assert [command.tolist() for _, command in robot.commands[49:59]] == [REST.tolist()] * 10


def test_filters_begin_from_rest_after_rest(robot, tmp_path):
    config = WatchdogConfig(nan_command=Response(meanwhile="rest", stop_after_s=1.0))
    answers = iter([np.ones(2)] * 50 + [np.full(2, np.nan)] * 2 + [np.ones(2)] * 200)
    ControlLoop(
        robot, lambda _: next(answers), LoopConfig(seconds=0.5, hang_s=60.0, watchdog=config), clock=robot.clock,
        filters=[LowPass(2.0, dt=DT)],
    ).run()  # fmt: skip
    commands = np.array([command for _, command in robot.commands])
    np.testing.assert_allclose(commands[52:], commands[:48])


@pytest.mark.parametrize(("response", "outcome"), [(CONTINUE, "finished"), (STOP, "stopped")])
def test_commands_outside_of_the_limits(robot, flight, response, outcome):
    report, _ = flight(fails_at(50, lambda: np.array([2.0, 0.0])), command_limit=response)
    assert report.outcome == outcome
    assert report.faults["command_limit"] == (151 if outcome == "finished" else 1)
    assert max(command.max() for _, command in robot.commands) <= 1.0


def test_commands_that_the_robot_refuses_stop_it(robot):
    report = ControlLoop(
        robot, lambda _: np.array([2.0, 0.0]), LoopConfig(seconds=1.0), clock=robot.clock, limits=[]
    ).run()
    assert (report.fault, robot.commands) == ("command_limit", [])


def test_misses_in_a_row_stop_the_robot(robot, flight):
    def slow(observation):
        robot.clock.advance(0.008 if robot.clock.now() > 100.25 else 0.001)
        return towards(observation)

    report, log = flight(slow, deadline_misses=20)
    assert stopped_at(report, "deadline") == pytest.approx(0.25 + 22 * DT, abs=2 * DT)
    assert log.flagged(Fault.DEADLINE)[-1]
    assert not log.flagged(Fault.DEADLINE)[:-1].any()


def test_a_full_disk_ends_the_log_and_not_the_run(robot, flight, tmp_path):
    recorder = full(tmp_path)
    report, log = flight(recorder=recorder)
    assert report.outcome == "finished"
    assert report.recorder_error == "the disk is full"
    assert report.faults["recorder"] == 200
    assert len(log.ticks) == 0


def test_a_full_disk_may_end_the_run(robot, flight, tmp_path):
    report, _ = flight(recorder=full(tmp_path), config=LoopConfig(seconds=1.0, watchdog=WatchdogConfig(recorder=STOP)))
    assert (report.outcome, report.fault) == ("stopped", "recorder")
    assert robot.commands == []


def full(tmp_path):
    recorder = FlightRecorder(tmp_path / "x.log", SPEC, period_s=DT)
    recorder.error = "the disk is full"
    return recorder


def test_a_robot_stopped_by_others_ends_the_loop(robot, flight):
    policy = fails_at(101, lambda: robot.stop("the red button") or np.zeros(2))
    report, _ = flight(policy)
    assert stopped_at(report, "robot_stopped") == pytest.approx(0.5)
    assert report.reason == "robot_stopped: the red button"


@pytest.mark.parametrize("error", [RobotError("no route"), OSError("no route"), RuntimeError("no route")])
def test_errors_of_the_driver_stop_the_loop(robot, flight, error):
    policy = fails_at(101, lambda: setattr(robot, "send_error", error) or np.zeros(2))
    report, _ = flight(policy)
    assert stopped_at(report, "connection") == pytest.approx(0.5)
    assert "no route" in report.reason


def test_a_robot_that_does_not_begin_again_stops_the_loop(robot, flight):
    robot.ends_at, robot.dies_at = 40, 0.21
    robot.reset = counted(robot)
    report, _ = flight(config=LoopConfig(episodes=3, hang_s=60.0))
    assert (report.outcome, report.fault) == ("stopped", "connection")
    assert "does not answer" in report.reason


def counted(robot, reset=ScriptedRobot.reset):
    def begin(episode=None):
        if robot.episodes == 1:
            raise RobotError("it does not answer")
        return reset(robot, episode)

    return begin


def test_a_robot_that_never_answers_is_an_error(robot):
    robot.reset = lambda episode=None: (_ for _ in ()).throw(RobotError("no answer within 2 s"))
    with pytest.raises(RobotError, match="no answer"):
        ControlLoop(robot, towards, LoopConfig(seconds=1.0), clock=robot.clock).run()
    assert robot.stopped


def test_ctrl_c_stops_the_robot_and_keeps_the_log(robot, flight):
    def interrupt():
        raise KeyboardInterrupt

    report, log = flight(fails_at(101, interrupt))
    assert (report.outcome, report.fault) == ("stopped", "interrupted")
    assert len(log.ticks) == 101


def test_a_policy_that_hangs_is_no_danger(tmp_path):
    robot = ScriptedRobot(MonotonicClock())
    waiting, calls = threading.Event(), []
    stop = robot.stop

    def stopping(reason):
        stop(reason)
        waiting.set()

    def policy(observation):
        calls.append(1)
        if len(calls) == 5:
            assert waiting.wait(30.0)
        return towards(observation)

    robot.stop = stopping
    patient = WatchdogConfig(deadline_misses=10**6, stale_s=60.0)
    recorder = FlightRecorder(tmp_path / "x.log", SPEC, period_s=DT)
    config = LoopConfig(seconds=30.0, hang_s=0.2, watchdog=patient)
    report = ControlLoop(robot, policy, config, recorder=recorder).run()
    assert (report.outcome, report.fault) == ("stopped", "hung")
    assert robot.stops[0] == ("hung: a tick took over 0.205 s", "dead man's switch")
    assert len(robot.commands) <= 4
    assert read_flight_log(tmp_path / "x.log").notes == (report.reason,)


def test_moving_channels_are_configurable(robot, flight):
    robot.values = lambda k: moving(k) | {"position": np.zeros(2)}
    assert flight()[0].outcome == "finished"


def test_a_channel_of_ones_own_may_be_watched(robot, flight):
    robot.values = lambda k: moving(k) | {"position": np.zeros(2)}
    report, _ = flight(moving=(Moving(channel="position", within_s=0.2),))
    assert stopped_at(report, "frozen") == pytest.approx(0.2, abs=4 * DT)
