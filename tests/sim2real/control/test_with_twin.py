"""The loop against a twin in a process of its own: what the doubles can't show."""

import numpy as np
import pytest

from cairngym.sim2real.control.faults import CONTINUE
from cairngym.sim2real.control.flight_log import read_flight_log
from cairngym.sim2real.control.loop import ControlLoop, LoopConfig
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.watchdog import Moving, WatchdogConfig
from cairngym.sim2real.twin.config import Fault, TwinConfig
from cairngym.sim2real.twin.launch import TwinProcess

pytestmark = pytest.mark.slow

CALM = {"stale_s": 30.0, "deadline_misses": 10**6, "clock_window_s": 0.0}
"""So that a machine with other work is no fault."""


@pytest.fixture(scope="module")
def twin():
    with TwinProcess(TwinConfig(env="PointMaze_UMaze-v3", control_dt=0.01)) as process:
        yield process


@pytest.fixture
def flight(twin, tmp_path):
    """Control the twin with a fault that begins with the twentieth action."""

    def control(fault=None, *, seconds=2.0, **watchdog):
        calls = []
        with twin.connect(silence_s=20.0) as robot:

            def policy(observation):
                calls.append(1)
                if len(calls) == 20 and fault is not None:
                    twin.kill() if fault == "killed" else robot.inject(fault)
                return np.clip(observation["desired_goal"] - observation["achieved_goal"], -1, 1)

            recorder = FlightRecorder(tmp_path / "x.log", robot.spec, period_s=0.01)
            config = LoopConfig(seconds=seconds, hang_s=30.0, watchdog=WatchdogConfig(**CALM | watchdog))
            report = ControlLoop(robot, policy, config, recorder=recorder).run()
            if twin.alive:
                robot.inject(Fault(kind="none"))
        log = read_flight_log(tmp_path / "x.log")
        assert (log.torn_bytes, log.damaged) == (0, 0)
        assert log.notes == (report.reason,)
        assert len(log.ticks) + 1 == report.recorded
        assert len(calls) >= 20
        return report, log

    return control


def test_a_twin_is_controlled(flight):
    report, log = flight()
    assert (report.outcome, report.fault) == ("finished", None)
    assert report.slots >= 200
    assert report.readings > 20
    assert np.ptp(log.sensors["achieved_goal"], axis=0).max() > 1e-3
    assert np.isfinite(log.command).all()


def test_loss_is_bridged(flight):
    report, _ = flight(Fault(kind="loss", amount=0.3))
    assert report.outcome == "finished"


def test_a_spike_of_delay_is_bridged(flight):
    report, _ = flight(Fault(kind="delay", amount=0.1, duration_s=0.1))
    assert report.outcome == "finished"


def test_frozen_values_stop_the_robot(flight):
    report, _ = flight(Fault(kind="freeze_values"), seconds=20.0, moving=(Moving(within_s=0.2),))
    assert (report.outcome, report.fault) == ("stopped", "frozen")


def test_nan_stops_the_robot(flight):
    report, log = flight(Fault(kind="nan", channel="velocity"), seconds=20.0)
    assert (report.outcome, report.fault) == ("stopped", "nan_reading")
    assert np.isnan(log.sensors["velocity"][-1]).all()


def test_a_twin_that_stalls_stops_the_loop(flight):
    report, _ = flight(Fault(kind="stall", duration_s=1.5), seconds=20.0, stale_s=1.0, deadline=CONTINUE)
    assert (report.outcome, report.fault) == ("stopped", "stale")


def test_a_twin_that_is_killed_stops_the_loop(flight, twin):
    report, log = flight("killed", seconds=20.0)
    assert (report.outcome, report.fault) == ("stopped", "connection")
    assert log.ticks["source"][-1] == 3
    assert not twin.alive
