"""A task's oracle on a robot: by its readings alone, disturbed alike on every robot."""

from contextlib import closing

import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.identification.collecting import collect_played
from cairngym.sim2real.identification.oracle_excitation import OracleConfig, OraclePlayer
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.events import SensorNoise
from cairngym.sim2real.robot import Reading
from cairngym.sim2real.simulated import SimulatedRobot

MAZE = "PointMaze_Open-v3"


def played(config, randomization=None, episode=0):
    with closing(OraclePlayer(MAZE, config)) as player, SimulatedRobot(MAZE, randomization=randomization) as robot:
        player.begin(episode)
        return collect_played(robot, player, duration_s=config.duration_s, meta={"excitation_seed": config.seed})


def test_the_oracle_reaches_the_goal_and_its_log_has_a_row_for_each_reading():
    log = played(OracleConfig(duration_s=2.5))
    dt = log.spec.control_dt
    np.testing.assert_allclose(np.diff(log.time_s), dt)
    assert len(set(log.episode)) == 1
    assert log.meta == {"excitation_seed": 0}
    distance = np.linalg.norm(log.sensors["achieved_goal"] - log.sensors["desired_goal"], axis=1)
    assert distance[-1] < 0.5 < distance[0]


def test_it_acts_on_what_is_measured():
    """A camera that is off by a metre leads it elsewhere: it stops where it sees itself at the goal."""
    off = RandomizationConfig(events=(SensorNoise(field="position", component=0, bias_range=(1.0, 1.0)),))
    config = OracleConfig(duration_s=2.5)
    straight, led = played(config), played(config, off)
    assert np.abs(straight.command - led.command[: len(straight)]).max() > 0.1


def test_the_noise_is_the_same_on_every_robot_and_another_in_every_episode():
    reading = Reading(sequence=0, time_s=0.0, received_s=0.0, values={})
    asked = OracleConfig(duration_s=1.0, noise=0.3, random_actions=0.2, seed=4)
    with closing(OraclePlayer(MAZE, asked)) as player:
        player._oracle = lambda obs, state: torch.zeros(1, 2)

        def drawn(number, count=2000):
            player.begin(number)
            return np.array([player(reading) for _ in range(count)])

        one, again, other = drawn(0), drawn(0), drawn(1)
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert np.abs(one).max() <= 1.0
    # Uniform draws have variance 1/3, Gaussian ones 0.09.
    assert one.std() == pytest.approx((0.2 / 3 + 0.8 * 0.09) ** 0.5, rel=0.1)


def test_episodes_end_with_the_time_or_the_robots_own_end():
    assert len(played(OracleConfig(duration_s=0.35))) == 35 + 1


def test_tasks_without_an_oracle_and_robots_that_measure_too_little_are_refused():
    config = OracleConfig(duration_s=1.0)
    with pytest.raises(UnknownNameError, match="no oracle for the task 'FetchSlide-v4'"):
        OraclePlayer("FetchSlide-v4", config)
    with closing(OraclePlayer(MAZE, config)) as player, pytest.raises(ValueError, match="measures what the oracle of"):
        player(Reading(sequence=0, time_s=0.0, received_s=0.0, values={}))
