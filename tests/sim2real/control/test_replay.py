import dataclasses

import numpy as np
import pytest
from robot_doubles import DT, SPEC, Integrator, ScriptedRobot, towards

from cairngym.sim2real.control.flight_log import read_flight_log
from cairngym.sim2real.control.loop import ControlLoop, LoopConfig
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.replay import replay_commands, replay_policy
from cairngym.sim2real.robot import RobotLog


@pytest.fixture
def log(tmp_path):
    robot = Integrator()
    with FlightRecorder(tmp_path / "x.log", robot.spec, period_s=0.02) as recorder:
        ControlLoop(robot, towards, LoopConfig(seconds=2.5), recorder=recorder).run()
    return read_flight_log(tmp_path / "x.log")


def test_the_same_robot_does_the_same_again(log):
    replay = replay_commands(log, Integrator())
    assert (replay.rows, replay.episodes, replay.ended_early) == (125, 3, 0)
    assert replay.channels["observation"].max == 0.0
    assert replay.same
    assert "125 rows of 3 episodes on Integrator" in replay.text()


def test_another_robot_does_otherwise(log):
    replay = replay_commands(log, Integrator(mass=1.25))
    deviation = replay.channels["observation"]
    assert not replay.same
    assert deviation.first_row == 1  # speed changes with the first command
    recorded = log.sensors["observation"][:51, 1]
    assert deviation.max >= recorded[50] * (1 - 1 / 1.25) - 1e-9
    assert 0 < deviation.rms < deviation.max
    assert replay_commands(log, Integrator(mass=1.25), tolerance=10.0).same


def test_commands_are_held_where_readings_were_lost(log):
    keep = np.r_[0:20:4, 20:51]
    gaps = dataclasses.replace(
        log, time_s=log.time_s[keep], command=np.tile(0.3, (len(keep), 1)), episode=log.episode[keep],
        sensors={name: values[keep] for name, values in log.sensors.items()}, rows=log.rows[keep],
    )  # fmt: skip
    robot, steps = Integrator(), []
    step = robot.step
    robot.step = lambda command: steps.append(float(command[0])) or step(command)
    replay_commands(gaps, robot)
    assert steps == [0.3] * 50
    plain = RobotLog(
        spec=gaps.spec, time_s=gaps.time_s, command=gaps.command, sensors=gaps.sensors, episode=gaps.episode
    )  # fmt: skip
    steps.clear()
    replay_commands(plain, robot)
    assert len(steps) == 50


def test_an_episode_that_ends_early_is_told(log):
    class Short(Integrator):
        def _read(self):
            return dataclasses.replace(super()._read(), over=self.steps >= 30)

    replay = replay_commands(log, Short())
    assert replay.ended_early == 2  # the third is cut by the time in the log, after 23 steps
    assert not replay.same


def test_robots_with_other_channels_are_refused(log, clock):
    with pytest.raises(ValueError, match="commands of 1 numbers"):
        replay_commands(log, ScriptedRobot(clock))
    empty = dataclasses.replace(log, time_s=log.time_s[:0])
    with pytest.raises(ValueError, match="with readings"):
        replay_commands(empty, Integrator())


def test_the_same_policy_answers_the_same(log):
    replay = replay_policy(log, towards)
    assert replay.ticks == 123  # of 125, two were over
    assert replay.deviation.max == 0.0
    assert replay.deviation.first_row is None
    assert replay.latency.count == 123
    assert "first tick off: none" in replay.text()


def test_another_policy_answers_otherwise(log):
    replay = replay_policy(log, lambda observation: towards(observation) + 0.25)
    assert replay.deviation.max == pytest.approx(0.25)
    assert replay.deviation.rms == pytest.approx(0.25)
    assert replay.deviation.first_row == 0


def test_a_policy_that_remembers_forgets_between_episodes(log, robot):
    class Counting:
        def __init__(self):
            self.resets = []
            self.calls = 0

        def reset(self):
            self.resets.append(self.calls)

        def __call__(self, observation):
            self.calls += 1
            return towards(observation)

    offline = Counting()
    replay_policy(log, offline)
    assert offline.resets == [0, 50, 100]
    online = Counting()
    robot.ends_at = 10
    ControlLoop(robot, online, LoopConfig(episodes=2, hang_s=60.0), clock=robot.clock).run()
    assert len(online.resets) == 2


def test_logs_without_actions_can_not_be_asked(robot, tmp_path):
    robot.values = lambda k: {}
    with FlightRecorder(tmp_path / "y.log", SPEC, period_s=DT) as recorder:
        ControlLoop(robot, towards, LoopConfig(seconds=0.05), clock=robot.clock, recorder=recorder).run()
    log = read_flight_log(tmp_path / "y.log")
    with pytest.raises(ValueError, match="none of its actions"):
        replay_policy(log, towards)
