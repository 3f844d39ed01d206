import gc
import json
import math

import numpy as np
import pytest
from robot_doubles import DT, REST, SPEC, Integrator, ScriptedRobot, towards

from cairngym.sim2real.control.clock import MonotonicClock
from cairngym.sim2real.control.filters import LowPass
from cairngym.sim2real.control.flight_log import read_flight_log
from cairngym.sim2real.control.limits import CommandLimits, RateLimit, Workspace
from cairngym.sim2real.control.loop import ControlLoop, LoopConfig
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.watchdog import WatchdogConfig

PATIENT = {"hang_s": 60.0}


def control(robot, policy=towards, *, seconds=1.0, config=None, **options):
    config = config or LoopConfig(seconds=seconds, **PATIENT)
    return ControlLoop(robot, policy, config, clock=robot.clock, **options).run()


def test_commands_are_sent_at_the_rate(robot):
    report = control(robot)
    assert (report.outcome, report.fault, report.slots, report.missed) == ("finished", None, 200, 0)
    times, commands = zip(*robot.commands, strict=True)
    np.testing.assert_allclose(np.diff(times), DT, atol=1e-9)
    # The reading of 5 ms before has arrived, that of the moment has not.
    expected = [0.5 * math.sin(0.1 * max(0, k - 1)) for k in range(200)]
    np.testing.assert_allclose(np.array(commands)[:, 0], expected, atol=1e-12)
    assert report.commands["policy"] == 200
    assert robot.stopped == "1 s are over"


def test_latencies_of_each_part_are_measured(robot):
    def slow(observation):
        robot.clock.advance(0.003 if robot.clock.now() < 100.9 else 0.0045)
        return towards(observation)

    report = control(robot, slow)
    assert report.missed == 0
    assert report.latencies["policy"].p50 == pytest.approx(0.003, rel=0.011)
    assert report.latencies["policy"].p99 == pytest.approx(0.0045, rel=0.011)
    assert report.latencies["tick"].max == pytest.approx(0.0045)
    assert report.latencies["reading_age"].p50 == pytest.approx(0.004, rel=0.011)
    assert report.latencies["start"].max == pytest.approx(0.0, abs=1e-9)
    assert report.latencies["send"].max == 0.0


def test_each_deadline_is_met_overrun_or_skipped(robot):
    calls = []

    def slow(observation):
        calls.append(1)
        robot.clock.advance({50: 0.007, 100: 0.022}.get(len(calls), 0.0))
        return towards(observation)

    report = control(robot, slow)
    # 7 ms: one overrun, the next tick starts 2 ms late. 22 ms: one overrun, three skipped, and 2 ms late again.
    assert (report.overran, report.skipped, report.started_late) == (2, 3, 2)
    assert report.slots == 200
    assert len(calls) == report.latencies["tick"].count == 197
    assert report.missed == 5
    assert report.miss_rate == 0.025


def test_a_rate_of_ones_own(robot):
    report = control(robot, config=LoopConfig(rate_hz=100.0, seconds=1.0, **PATIENT))
    assert (report.slots, report.rate_hz, report.lost) == (
        100,
        100.0,
        98,
    )  # the first two see 0 and 1, the others every second one


def test_filters_then_limits(robot, tmp_path):
    with FlightRecorder(tmp_path / "x.log", SPEC, period_s=DT) as recorder:
        report = control(
            robot, lambda _: np.array([3.0, -3.0]), seconds=0.5, recorder=recorder, filters=[LowPass(2.0, dt=DT)],
            limits=[CommandLimits(SPEC.command), RateLimit(10.0, dt=DT, size=2)],
        )  # fmt: skip
    ticks = read_flight_log(tmp_path / "x.log").ticks
    time_s = DT * np.arange(1, 101)
    np.testing.assert_allclose(ticks["action"], np.tile([3.0, -3.0], (100, 1)))
    expected = REST + (np.array([3.0, -3.0]) - REST) * (1 - np.exp(-2 * np.pi * 2.0 * time_s))[:, None]
    np.testing.assert_allclose(ticks["filtered"], expected, atol=1e-12)
    np.testing.assert_allclose(ticks["command"][:, 0], np.minimum(1.0, DT * 10.0 * np.arange(1, 101)), atol=1e-9)
    np.testing.assert_array_equal(ticks["command"], [command for _, command in robot.commands])
    assert 20 <= report.faults["rate_limit"] <= 30
    assert report.faults["command_limit"] > 50
    assert report.outcome == "finished"


def test_a_workspace_has_the_robot_rest_and_then_stop(robot):
    limits = [Workspace(SPEC, "position", low=-1.0, high=[0.1, 1.0], margin=0.05)]
    report = control(robot, limits=limits)
    assert (report.outcome, report.fault) == ("stopped", "workspace_left")
    commands = [command.tolist() for _, command in robot.commands]
    assert commands[-1] == commands[-40] == REST.tolist()
    assert commands[-60] != REST.tolist()
    assert report.faults["workspace"] == 50


def test_a_filter_for_another_period_is_refused(robot):
    with pytest.raises(ValueError, match=r"0\.005 s"):
        ControlLoop(robot, towards, filters=[LowPass(2.0, dt=0.01)])


def test_garbage_collection_is_as_it_was(robot):
    seen = []

    def policy(observation):
        seen.append((gc.isenabled(), gc.get_freeze_count() > 0))
        return towards(observation)

    gc.enable()
    control(robot, policy, seconds=0.05)
    assert set(seen) == {(False, True)}
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    seen.clear()
    control(robot, policy, config=LoopConfig(seconds=0.05, collect_garbage=True, **PATIENT))
    assert set(seen) == {(True, False)}


def test_real_time_priority_is_never_required(robot):
    report = control(robot, config=LoopConfig(seconds=0.05, priority=1000, **PATIENT))
    assert report.priority.startswith("refused")
    assert report.outcome == "finished"


def test_episodes_of_a_robot_follow_each_other(robot):
    robot.ends_at = 40
    report = control(robot, config=LoopConfig(episodes=3, **PATIENT))
    assert (report.episodes, report.successes, robot.episodes) == (3, 3, 3)
    assert report.reason == "3 episodes are over"
    assert report.commands["over"] == 3
    assert report.missed == 0


def test_the_log_has_all_of_a_run(robot, tmp_path):
    with FlightRecorder(tmp_path / "x.log", SPEC, period_s=DT) as recorder:
        report = control(robot, recorder=recorder)
    log = read_flight_log(tmp_path / "x.log")
    assert report.recorded == 201
    assert len(log.ticks) == 200
    assert len(log) == report.readings == 199
    assert report.repeated == 1
    np.testing.assert_allclose(np.diff(log.time_s), DT, atol=1e-9)
    np.testing.assert_allclose(log.sensors["position"][:, 0], 0.001 * np.arange(199))
    np.testing.assert_allclose(log.ticks["due_s"], DT * np.arange(200), atol=1e-9)
    np.testing.assert_allclose(log.ticks["age_s"][1:], 0.004, atol=1e-9)
    assert log.notes == ("1 s are over",)


def test_reports_can_be_read_by_people_and_programs(robot):
    report = control(robot)
    data = json.loads(report.to_json())
    assert data["missed"] == 0
    assert data["latencies"]["policy"]["count"] == 200
    assert "200 deadlines, 0 missed (0.00%)" in report.text()
    assert "faults: none" in report.text()


def test_a_robot_that_waits_is_controlled_without_a_clock(tmp_path):
    robot = Integrator()
    with FlightRecorder(tmp_path / "x.log", robot.spec, period_s=0.02) as recorder:
        report = ControlLoop(robot, towards, LoopConfig(episodes=2), recorder=recorder).run()
    log = read_flight_log(tmp_path / "x.log")
    assert (report.clock, report.missed, report.lost, report.repeated) == ("lockstep", 0, 0, 0)
    assert report.episodes == report.successes == 2
    assert log.episode.tolist() == [1] * 51 + [2] * 51
    by_hand, _ = np.array([0.1, 0.0]), 0
    for row in range(50):
        np.testing.assert_allclose(log.sensors["observation"][row], by_hand, rtol=1e-12)
        np.testing.assert_allclose(log.command[row], 0.5 * by_hand[0])
        by_hand = by_hand + 0.02 * np.array([by_hand[1], 0.5 * by_hand[0]])
    assert report.latencies["policy"].p50 > 0
    assert report.latencies["reading_age"].max == 0


def test_lockstep_runs_end_with_their_time():
    report = ControlLoop(Integrator(), towards, LoopConfig(seconds=3.0)).run()
    assert (report.slots, report.reason) == (150, "3 s are over")
    assert report.episodes == 3


def test_a_loop_on_the_real_clock_keeps_its_schedule():
    robot = ScriptedRobot(MonotonicClock())
    patient = LoopConfig(seconds=0.5, watchdog=WatchdogConfig(deadline_misses=10**6), **PATIENT)
    report = ControlLoop(robot, towards, patient).run()
    assert (report.outcome, report.clock) == ("finished", "real")
    assert report.slots >= 100
    times = np.array([time_s for time_s, _ in robot.commands])
    assert len(times) == report.slots - report.skipped
    late = times - DT * np.round(np.floor(times / DT + 1e-6))
    assert 0 <= np.median(late) < DT
    assert times[-1] <= 0.5 + report.latencies["start"].max + report.latencies["tick"].max


def test_bad_configurations_are_refused():
    for options in ({"rate_hz": 0.0}, {"seconds": -1.0}, {"episodes": 0}, {"hang_s": math.nan}, {"spin_s": -1.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LoopConfig(**options)
