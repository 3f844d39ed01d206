import numpy as np
import pytest
import torch

import cairngym
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.sim2real.randomization.config import FieldEvent, RandomizationConfig, SensorNoise
from cairngym.sim2real.randomization.wrapper import Randomization
from cairngym.sim2real.robot import RobotError, RobotSpec
from cairngym.sim2real.sensing import robot_spec
from cairngym.sim2real.simulated import SimulatedRobot

MAZE = "PointMaze_UMaze-v3"
OTHER = RandomizationConfig(
    events=(
        FieldEvent(field="actuator_gear", names=("motor_x", "motor_y"), component=0, low=0.3, high=0.9),
        SensorNoise(field="position", std=0.05),
    )
)


@pytest.fixture
def robot():
    with SimulatedRobot(MAZE, seed=3) as made:
        yield made


def commands(count, size=2, seed=0):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (count, size)).astype(np.float32).astype(np.float64)


def test_the_spec_says_what_a_maze_robot_measures(robot):
    spec = robot.spec
    assert (spec.robot, spec.control_dt, spec.rest) == (MAZE, 0.01, (0.0, 0.0))
    assert (spec.command.size, spec.command.unit, spec.command.low, spec.command.high) == (2, "1", (-1, -1), (1, 1))
    assert {sensor.name: (sensor.size, sensor.unit) for sensor in spec.sensors} == {
        "observation": (4, "m, m/s"), "achieved_goal": (2, "m"), "desired_goal": (2, "m"),
        "position": (2, "m"), "velocity": (2, "m/s"), "goal": (2, "m"), "path_distance": (1, "m"),
        "qpos": (2, "SI"), "qvel": (2, "SI"),
    }  # fmt: skip
    assert RobotSpec.from_dict(spec.to_dict()) == spec


def test_fetch_moves_every_20_physics_steps():
    with SimulatedRobot("FetchPush-v4") as robot:
        assert robot.spec.control_dt == pytest.approx(0.04)
        reading = robot.reset()
        assert {name: len(values) for name, values in reading.values.items()} == {
            sensor.name: sensor.size for sensor in robot.spec.sensors
        }


def test_it_is_the_env(robot):
    env = cairngym.make(MAZE, num_envs=1, seed=3)
    obs, _ = env.reset()
    reading = robot.reset()
    np.testing.assert_array_equal(reading.values["observation"], obs["observation"][0].double().numpy())
    for k, command in enumerate(commands(40)):
        obs, *_ = env.step(torch.as_tensor(command[None], dtype=torch.float32))
        reading = robot.step(command)
        np.testing.assert_array_equal(reading.values["observation"], obs["observation"][0].double().numpy())
        np.testing.assert_array_equal(reading.values["velocity"], env.state["velocity"][0].double().numpy())
        np.testing.assert_array_equal(reading.values["qpos"], env.world.driver.view("qpos")[0].numpy())
        assert reading.sequence == k + 2
        assert reading.time_s == pytest.approx(0.01 * (k + 1))
        assert all(values.dtype == np.float64 for values in reading.values.values())


def test_readings_stay_as_they_were(robot):
    first = robot.reset()
    kept = {name: values.copy() for name, values in first.values.items()}
    robot.step(np.ones(2))
    for name, values in kept.items():
        np.testing.assert_array_equal(first.values[name], values)


def test_an_episode_begins_alike_whatever_came_before(robot):
    starts = [robot.reset().values["qpos"]]
    robot.step(np.ones(2))
    starts.append(robot.reset().values["qpos"])
    starts.append(robot.reset().values["qpos"])
    assert robot.read().episode == 2
    np.testing.assert_array_equal(robot.reset(1).values["qpos"], starts[1])
    np.testing.assert_array_equal(robot.reset().values["qpos"], starts[2])
    with SimulatedRobot(MAZE, seed=3) as fresh:
        reading = fresh.reset(2)
        assert reading.episode == 2
        np.testing.assert_array_equal(reading.values["qpos"], starts[2])
    assert not np.array_equal(starts[0], starts[1])
    with pytest.raises(ValueError, match="episode"):
        robot.reset(-1)


def test_it_rests_when_the_episode_is_over(robot):
    robot.reset()
    robot.env.unwrapped.episodes.length.fill_(robot.env.task.horizon - 1)
    assert robot.step(np.array([1.0, 1.0])).over
    speed = np.abs(robot.read().values["qvel"]).max()
    for _ in range(5):
        reading = robot.step(np.array([1.0, 1.0]))
    assert reading.over
    assert 0.0 < np.abs(reading.values["qvel"]).max() < speed  # it rolls out
    assert not robot.reset().over


def test_success_is_told(robot):
    robot.reset()
    robot.env.world.variables["goal"].copy_(robot.env.world.driver.view("qpos"))
    assert robot.step(np.zeros(2)).success


def test_a_stop_holds_the_rest_command(robot):
    with pytest.raises(RobotError, match="reset"):
        robot.send(np.zeros(2))
    robot.reset()
    robot.send(np.array([1.0, 0.0]))
    reading = robot.wait(robot.read().sequence, 1.0)
    assert reading.values["qvel"][0] > 0.1
    robot.stop("smoke")
    robot.stop("fire")
    assert robot.stopped == "smoke"
    with pytest.raises(RobotError, match="smoke"):
        robot.step(np.zeros(2))
    slower = robot.wait(reading.sequence, 1.0)
    assert slower.sequence == reading.sequence + 1
    assert slower.values["qvel"][0] < reading.values["qvel"][0]
    robot.reset()
    assert robot.stopped is None
    robot.step(np.zeros(2))


@pytest.mark.parametrize("wrong", [[1.01, 0.0], [np.nan, 0.0], [0.0], [[0.0, 0.0]]])
def test_a_command_outside_of_the_limits_moves_nothing(robot, wrong):
    before = robot.reset()
    with pytest.raises(ValueError, match="Expected"):
        robot.step(np.array(wrong))
    assert robot.read() is before
    np.testing.assert_array_equal(robot.env.world.driver.view("qpos")[0].numpy(), before.values["qpos"])


def test_a_closed_robot_says_so():
    robot = SimulatedRobot(MAZE)
    robot.close()
    robot.close()
    with pytest.raises(RobotError, match="closed"):
        robot.reset()


def test_a_unit_is_the_same_wherever_it_is_met():
    batch = Randomization(cairngym.make(MAZE, num_envs=3, seed=4), config=OTHER, seed=9, units=(5, 6, 7))
    obs, _ = batch.reset()
    with SimulatedRobot(MAZE, seed=4, randomization=OTHER, unit=5, randomization_seed=9) as robot:
        reading = robot.reset()
        for command in commands(20):
            np.testing.assert_array_equal(reading.values["observation"], obs["observation"][0].double().numpy())
            np.testing.assert_array_equal(reading.values["position"], reading.values["observation"][:2])
            obs, *_ = batch.step(torch.as_tensor(command, dtype=torch.float32).expand(3, 2))
            reading = robot.step(command)
        assert np.abs(reading.values["position"] - reading.values["qpos"]).max() > 1e-4  # seen noisily, encoders not


def test_units_differ():
    ends = []
    for unit in (0, 1):
        with SimulatedRobot(MAZE, randomization=OTHER, unit=unit) as robot:
            robot.reset()
            for _ in range(10):
                reading = robot.step(np.array([0.3, 0.3]))
            ends.append(reading.values["qvel"])
    assert np.abs(ends[0] - ends[1]).max() > 0.01


def test_what_is_no_robot_is_refused():
    with pytest.raises(TypeError, match="Box"):
        SimulatedRobot("MiniGrid-Empty-5x5-v0", control_dt=0.1)
    with pytest.raises(ValueError, match="control_dt"):
        SimulatedRobot(_unclocked())
    with pytest.raises(ValueError, match="control_dt"):
        SimulatedRobot(MAZE, control_dt=0.0)
    with pytest.raises(ValueError, match="num_envs=1"):
        robot_spec(cairngym.make(MAZE, num_envs=2))
    with pytest.raises(KeyError, match="PointMaze"):
        SimulatedRobot("PointMaze_UMaze-v9")


def _unclocked():
    return next(name for name in cairngym.list_envs() if name.startswith("StlLinear"))


def test_a_world_without_a_clock_takes_the_stated_one():
    with SimulatedRobot(_unclocked(), control_dt=0.5) as robot:
        assert robot.spec.control_dt == 0.5
        assert "qpos" not in robot.reset().values


def test_pictures_are_refused():
    env = make_wrapper("pixels", cairngym.make(MAZE), width=16, height=16)
    with pytest.raises(TypeError, match="images"):
        robot_spec(env)
