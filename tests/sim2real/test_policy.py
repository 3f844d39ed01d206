"""Exported policies at play: what they refuse, what they remember, and that they drive a twin without torch."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import cairngym
from cairngym.agents.registry import make_agent
from cairngym.sim2real.export import export_policy
from cairngym.sim2real.export_metadata import KEY
from cairngym.sim2real.policy import OnnxPolicy, PolicyFileError, PolicyMismatchError
from cairngym.sim2real.robot import Channel, RobotSpec
from cairngym.sim2real.simulated import SimulatedRobot
from cairngym.sim2real.twin.config import TwinConfig
from cairngym.sim2real.twin.launch import TwinProcess

POINT = "PointMaze_UMaze-v3"
ROOT = Path(__file__).parents[2]
OBSERVATION = {"observation": np.zeros(4), "achieved_goal": np.ones(2), "desired_goal": np.full(2, 2.0)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A recurrent policy whose actions depend on what was seen before."""
    env = cairngym.make(POINT, num_envs=4)
    agent = make_agent("ppo", env, memory=8)
    agent.model.actor.weight.data.normal_(0.0, 0.7, generator=torch.Generator().manual_seed(2))
    file = tmp_path_factory.mktemp("policy") / "policy.onnx"
    export_policy(agent, env, file, states=200)
    return file


@pytest.fixture
def spec(path):
    """A robot that the policy fits."""
    said = OnnxPolicy(path).metadata
    goal = Channel(name="achieved_goal", size=2, unit="m")
    return RobotSpec(
        robot=POINT, control_dt=said["control_dt"], rest=(0.0, 0.0),
        command=Channel(name="action", size=2, unit="1", low=(-1.0, -1.0), high=(1.0, 1.0)),
        sensors=(
            Channel(name="observation", size=4, unit="m, m/s"), goal, replace(goal, name="desired_goal"),
            Channel(name="qpos", size=2, unit="SI"),
        ),
    )  # fmt: skip


# Acting ---------------------------------------------------------------------------------------------------------------


def test_memory_is_carried_and_forgotten(path):
    policy = OnnxPolicy(path)
    first, second = policy(OBSERVATION), policy(OBSERVATION)
    assert np.abs(first - second).max() > 1e-3
    policy.reset()
    np.testing.assert_array_equal(policy(OBSERVATION), first)
    np.testing.assert_array_equal(policy(OBSERVATION), second)
    assert (first.dtype, first.shape) == (np.float32, (2,))


def test_entries_that_it_does_not_know_are_ignored_and_shapes_may_be_flat(path):
    policy, other = OnnxPolicy(path), OnnxPolicy(path)
    more = {**OBSERVATION, "qpos": np.zeros(2), "observation": np.zeros((1, 4), np.float32)}
    np.testing.assert_array_equal(policy(OBSERVATION), other(more))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": np.zeros(3)}, r"'observation' of shape \(4,\), got \(3,\)"),
        ({"achieved_goal": np.array([0.0, np.nan])}, "finite numbers in 'achieved_goal'"),
        ({"desired_goal": np.array([np.inf, 0.0])}, "finite numbers in 'desired_goal'"),
    ],
)
def test_observations_that_cannot_be_used(path, change, message):
    policy = OnnxPolicy(path)
    with pytest.raises(ValueError, match=message):
        policy({**OBSERVATION, **change})


def test_a_missing_entry_is_named(path):
    with pytest.raises(ValueError, match="'observation' in the observation, got only achieved_goal, desired_goal"):
        OnnxPolicy(path)({name: OBSERVATION[name] for name in ("achieved_goal", "desired_goal")})


def test_a_refused_observation_leaves_the_memory(path):
    policy, undisturbed = OnnxPolicy(path), OnnxPolicy(path)
    policy(OBSERVATION), undisturbed(OBSERVATION)
    with pytest.raises(ValueError, match="finite"):
        policy({**OBSERVATION, "desired_goal": np.full(2, np.nan)})
    np.testing.assert_array_equal(policy(OBSERVATION), undisturbed(OBSERVATION))


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_file_of_another_env_is_refused(path):
    with pytest.raises(PolicyFileError, match=r"Expected a policy of 'FetchPush-v4' in .*, got one of 'PointMaze"):
        OnnxPolicy(path, env_id="FetchPush-v4")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, tmp_path, keep):
    data = path.read_bytes()
    broken = tmp_path / "policy.onnx"
    broken.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(PolicyFileError):
        OnnxPolicy(broken)


def test_what_is_no_onnx_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="cairn export RUN"):
        OnnxPolicy(tmp_path / "policy.onnx")
    (tmp_path / "policy.onnx").write_text("weights: 3\n" * 100)
    with pytest.raises(PolicyFileError, match="1100 bytes that onnxruntime can't read"):
        OnnxPolicy(tmp_path / "policy.onnx")


def rewritten(path, folder, metadata):
    """A copy whose metadata are these, given as text; None for none."""
    model = onnx.load(path)
    model.ClearField("metadata_props")
    if metadata is not None:
        onnx.helper.set_model_props(model, {KEY: metadata})
    onnx.save(model, folder / "other.onnx")
    return folder / "other.onnx"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [(None, "without its metadata"), ("{", "Expected JSON"), ('{"format": "x"}', "the format 'cairngym policy 1'")],
)
def test_metadata_that_say_nothing_are_refused(path, tmp_path, metadata, message):
    with pytest.raises(PolicyFileError, match=message):
        OnnxPolicy(rewritten(path, tmp_path, metadata))


def test_metadata_of_another_graph_are_refused(path, tmp_path):
    said = OnnxPolicy(path).metadata
    with pytest.raises(PolicyFileError, match="changed after it was written"):
        OnnxPolicy(rewritten(path, tmp_path, json.dumps({**said, "memory": []})))


# Robots ---------------------------------------------------------------------------------------------------------------


def test_a_robot_that_fits(path, spec):
    OnnxPolicy(path).check(spec)
    unsaid = tuple(replace(sensor, unit="mixed") for sensor in spec.sensors)
    OnnxPolicy(path).check(replace(spec, sensors=unsaid))
    wide = replace(spec.command, low=(-2.0, -2.0), high=None)
    OnnxPolicy(path).check(replace(spec, command=wide))


def changed(spec, name, **change):
    sensors = tuple(replace(each, **change) if each.name == name else each for each in spec.sensors)
    return replace(spec, sensors=sensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, robot="PointMaze_Large-v3"), "a robot that is a PointMaze_UMaze-v3, got PointMaze_Large"),
        (lambda s: replace(s, control_dt=2 * s.control_dt), "control_dt 0.01 s, got 0.02 s. Run the robot at"),
        (lambda s: changed(s, "observation", size=5), "'observation' of size 4, got 5"),
        (lambda s: changed(s, "desired_goal", unit="cm"), "'desired_goal' in 'm', got 'cm'. Convert the units"),
        (lambda s: replace(s, sensors=s.sensors[1:]), "a sensor 'observation', got achieved_goal"),
        (lambda s: replace(s, command=replace(s.command, unit="N")), "'action' in '1', got 'N'"),
        (lambda s: replace(s, command=replace(s.command, size=3, low=None, high=None)), "'action' of size 2, got 3"),
        (lambda s: replace(s, command=replace(s.command, high=(1.0, 0.5))), r"\(high\) include \[1.0, 1.0\], got"),
    ],
)
def test_a_robot_that_does_not_fit(path, spec, change, message):
    with pytest.raises(PolicyMismatchError, match=f"The policy does not fit the robot: expected .*{message}"):
        OnnxPolicy(path).check(change(spec))


def test_parts_of_the_observation_that_a_robot_lacks(path, spec, tmp_path):
    said = OnnxPolicy(path).metadata
    policy = OnnxPolicy(rewritten(path, tmp_path, json.dumps({**said, "requires": ["TemporalObservation"]})))
    with pytest.raises(PolicyMismatchError, match="made by TemporalObservation, got a robot's sensors alone"):
        policy.check(spec)


# Alone ----------------------------------------------------------------------------------------------------------------


def test_the_module_runs_alone(path, tmp_path):
    """Copied to a folder of its own, as to a robot."""
    shutil.copy(ROOT / "sim2real" / "policy.py", tmp_path / "policy.py")
    code = (
        "import sys, json, numpy as np; from policy import OnnxPolicy; p = OnnxPolicy(sys.argv[1]); "
        "o = {e['name']: np.ones(e['shape']) for e in p.metadata['inputs']}; "
        "foreign = [m for m in ('torch', 'cairngym', 'gymnasium', 'onnx') if m in sys.modules]; "
        "print(json.dumps([foreign, p(o).tolist()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    foreign, action = json.loads(done.stdout)
    assert foreign == []
    here = OnnxPolicy(path)({name: np.ones(value.shape) for name, value in OBSERVATION.items()})
    np.testing.assert_array_equal(np.array(action, np.float32), here)


def play(path, episodes):
    """Steps of a simulated robot in this process, by `OnnxPolicy`, and the last command of each episode."""
    policy, steps, last = OnnxPolicy(path, env_id=POINT), 0, []
    with SimulatedRobot(POINT, seed=5) as robot:
        policy.check(robot.spec)
        for _ in range(episodes):
            policy.reset()
            reading, command = robot.reset(), np.zeros(2)
            while not reading.over:
                command = policy(reading.values)
                reading = robot.step(command)
                steps += 1
            last.append(command.tolist())
    return steps, last


def drive(path, twin, episodes):
    """What docs/deploy_with_onnxruntime.py prints, run in a process of its own."""
    script = ROOT / "docs" / "deploy_with_onnxruntime.py"
    command = [sys.executable, str(script), str(path), twin.host, str(twin.port), "--episodes", str(episodes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_onnxruntime_alone_drives_the_twin(path):
    """The twin in lockstep does the same as the simulation in this process, step by step."""
    steps, last = play(path, 2)
    with TwinProcess(TwinConfig(env=POINT, seed=5, clock="lockstep")) as twin:
        found = drive(path, twin, 2)
    assert found["foreign_modules"] == []
    assert (found["episodes"], found["steps"]) == (2, 600)
    assert (found["steps"], found["last_commands"]) == (steps, last)
    assert last[0] != last[1]
    assert 0.0 < found["latency_p50_us"] <= found["latency_p99_us"]


def test_the_script_refuses_another_twin(path):
    with TwinProcess(TwinConfig(env="PointMaze_Open-v3", seed=5, clock="lockstep")) as twin:
        script = ROOT / "docs" / "deploy_with_onnxruntime.py"
        done = subprocess.run(
            [sys.executable, str(script), str(path), twin.host, str(twin.port)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "expected robot PointMaze_UMaze-v3, got PointMaze_Open-v3" in done.stderr
