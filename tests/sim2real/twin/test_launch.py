import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from robot_toys import eventually

from cairngym.sim2real.robot import RobotError
from cairngym.sim2real.simulated import SimulatedRobot
from cairngym.sim2real.twin.config import Fault, TwinConfig
from cairngym.sim2real.twin.fleets import list_fleets, load_fleet
from cairngym.sim2real.twin.launch import TwinProcess
from cairngym.sim2real.twin.server import KILLED

MAZE = "PointMaze_UMaze-v3"
READY_S = 300.0
PARENT = """
import sys, time
from cairngym.sim2real.twin.config import TwinConfig
from cairngym.sim2real.twin.launch import TwinProcess
twin = TwinProcess(TwinConfig(env="PointMaze_UMaze-v3"), timeout_s=300.0)
print(twin.process.pid, flush=True)
time.sleep(600)
"""


def test_a_lockstep_twin_is_the_simulated_robot_bit_for_bit():
    config = TwinConfig(env=MAZE, fleet="point_maze", unit=3, fleet_seed=8, seed=5, clock="lockstep")
    own = SimulatedRobot(MAZE, seed=5, randomization=load_fleet("point_maze"), unit=3, randomization_seed=8)
    moves = np.random.default_rng(1).uniform(-1.0, 1.0, (40, 2))
    with TwinProcess(config, timeout_s=READY_S) as twin, twin.connect(timeout_s=60.0) as robot, own:
        assert robot.spec == own.spec
        for episode in (2, None):
            pairs = [(robot.reset(episode), own.reset(episode))]
            pairs += [(robot.step(move), own.step(move)) for move in moves]
            for far, near in pairs:
                assert (far.sequence, far.time_s, far.episode) == (near.sequence, near.time_s, near.episode)
                assert (far.over, far.success) == (near.over, near.success)
                assert far.values.keys() == near.values.keys()
                for name in far.values:
                    np.testing.assert_array_equal(far.values[name], near.values[name])
        assert robot.status()["repeated"] >= 0
        twin.process.send_signal(signal.SIGTERM)
        assert twin.process.wait(60.0) == 0
        with pytest.raises(RobotError, match="gone"):
            robot.step(moves[0])


def test_a_realtime_twin_keeps_the_time_and_dies_loudly():
    with TwinProcess(TwinConfig(env=MAZE, fleet="point_maze"), timeout_s=READY_S) as twin:
        with twin.connect(timeout_s=60.0, silence_s=20.0) as robot:
            reading = robot.reset()
            before, began = robot.status(), time.monotonic()
            while time.monotonic() - began < 2.0:
                robot.send(np.array([0.5, 0.5]))
                reading = robot.wait(reading.sequence, 20.0)
            assert eventually(lambda: _beats(before, robot.status()) >= (time.monotonic() - began) / 0.01 - 25)
            after, took = robot.status(), time.monotonic() - began
            owed = took + max(before["worst_lateness_s"], after["worst_lateness_s"]) + 0.5  # when `before` was asked
            assert _beats(before, after) <= owed / 0.01
            assert after["commands"] > 10
            began = time.monotonic()
            robot.inject(Fault(kind="die"))
            with pytest.raises(RobotError, match="gone"):
                _follow(robot, reading)
            assert time.monotonic() - began < 30.0
        assert twin.process.wait(60.0) == KILLED
        assert not twin.alive


def _beats(before, after):
    return sum(after[name] - before[name] for name in ("ticks", "skipped"))


def _follow(robot, reading):
    while True:
        reading = robot.wait(reading.sequence, 5.0) or reading


def test_a_twin_does_not_outlive_who_started_it():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(parent.stdout.readline())
        assert _runs(pid)
        parent.kill()
        parent.wait()
        assert eventually(lambda: not _runs(pid), timeout_s=60.0)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = f"/proc/{pid}/stat"
    if os.path.exists(stat):  # a process that has ended and that nobody has waited for
        with open(stat) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    return True


def test_a_twin_that_cannot_start_says_why():
    with pytest.raises(RobotError, match="Unknown env id 'PointMaze_UMaze-v9'"):
        TwinProcess(TwinConfig(env="PointMaze_UMaze-v9"), timeout_s=READY_S)


def test_clients_import_neither_torch_nor_a_simulator():
    code = (
        "import sys, cairngym.sim2real.twin.launch; print([m for m in ('torch', 'mujoco', 'warp') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("fleet", "env"), [("point_maze", MAZE), ("fetch_push", "FetchPush-v4"), ("quadrotor", "Quadrotor-v0")]
)
def test_units_of_a_fleet_differ_from_the_model_and_from_each_other(fleet, env):
    assert fleet in list_fleets()
    ends = [_travelled(env)] + [_travelled(env, randomization=load_fleet(fleet), unit=unit) for unit in (0, 1)]
    again = _travelled(env, randomization=load_fleet(fleet), unit=1)
    np.testing.assert_array_equal(ends[2], again)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(ends[i] - ends[j]).max() > 1e-4


def _travelled(env, **options):
    """Where the joints are after a while of equal commands, relative to the start."""
    with SimulatedRobot(env, **options) as robot:
        first = robot.reset()
        for _ in range(15):
            last = robot.step(np.full(robot.spec.command.size, 0.2))
        return last.values["qpos"] - first.values["qpos"]


def test_unknown_fleets_are_named():
    with pytest.raises(KeyError, match="point_maze"):
        load_fleet("point_mace")
    with pytest.raises(ValueError, match="nowhere"):
        load_fleet("nowhere.yaml")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"clock": "sundial"}, KeyError), ({"port": 70000}, ValueError), ({"unit": -1}, ValueError),
     ({"command_timeout_s": 0.0}, ValueError)],
)  # fmt: skip
def test_impossible_twins_are_refused(wrong, error):
    with pytest.raises(error, match=r"Expected|Unknown"):
        TwinConfig(env=MAZE, **wrong)


def test_configs_survive_json():
    config = TwinConfig(env=MAZE, options={"driver": "threads"}, fleet="point_maze", port=5)
    assert TwinConfig.from_json(config.to_json()) == config
