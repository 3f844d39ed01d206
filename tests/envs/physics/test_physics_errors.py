"""Physics that fails ends one episode alone, and bad input is refused with the way out."""

from collections.abc import Mapping

import mujoco
import pytest
import torch
from gymnasium.vector import AutoresetMode

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.driver import make_driver
from cairngym.envs.physics.models import find_id, package_file, require

XML = """
<mujoco>
  <worldbody>
    <body><joint name="hinge"/><geom size="0.1"/><site name="end"/></body>
  </worldbody>
</mujoco>
"""
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]


@pytest.fixture(autouse=True)
def warnings_elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings into the working folder."""
    monkeypatch.chdir(tmp_path)


def model():
    return mujoco.MjModel.from_xml_string(XML)


def arms(mode, **options):
    return cairngym.make("FetchReach-v4", num_envs=4, seed=3, autoreset_mode=mode, **options)


def assert_all_finite(values, what="step"):
    if isinstance(values, Mapping):
        for name, item in values.items():
            assert_all_finite(item, name)
    elif values.is_floating_point():
        assert values.isfinite().all(), what


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_an_episode_that_diverges_is_truncated_and_the_env_goes_on(mode):
    env, twin = arms(mode), arms(mode)
    action = torch.full((4, 4), 0.3)
    for each in (env, twin):
        each.reset()
        begin = each.world.driver.view("time").clone()
        each.step(action)
    # At its goal the arm succeeds in every step, but a step that failed earns no termination.
    env.world.variables["goal"][1] = env.state["gripper_position"][1].double()
    env.world.driver.view("qvel")[1, 3] = float("nan")
    obs, reward, terminated, truncated, info = env.step(action)
    other = twin.step(action)
    assert info["physics_error"].tolist() == truncated.tolist() == [False, True, False, False]
    assert info["_final_obs"].tolist() == [False, True, False, False]
    assert info["physics"]["warnings"].tolist() == [0, 1, 0, 0]
    assert not terminated.any()
    for values in (obs, {"reward": reward}, info["final_obs"], info["final_state"], dict(env.state)):
        assert_all_finite(values)
    rows = [0, 2, 3]
    assert torch.equal(obs["observation"][rows], other[0]["observation"][rows])
    assert torch.equal(reward[rows], other[1][rows])
    if mode is AutoresetMode.DISABLED:
        obs, _ = env.reset(options={"reset_mask": truncated})
    elif mode is AutoresetMode.NEXT_STEP:
        obs = env.step(action)[0]
    assert int(env.episodes.number[1]) == 1
    assert int(env.episodes.length[1]) == 0
    assert env.world.driver.view("time")[1] == begin[1]
    assert_all_finite(obs)
    _, _, _, truncated, info = env.step(action)
    assert not truncated.any()
    assert not info["physics"]["warnings"].any(), "counters outlive their episode"
    assert int(env.episodes.length[1]) == 1


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_success_in_a_step_that_failed_does_not_terminate(mode):
    env = arms(mode, terminate_on_success=True)
    env.reset()
    env.world.variables["goal"][:] = env.state["gripper_position"].double()
    env.world.driver.view("qvel")[1, 3] = float("nan")
    _, _, terminated, truncated, info = env.step(torch.zeros(4, 4))
    assert terminated.tolist() == [True, False, True, True]
    assert truncated.tolist() == [False, True, False, False]
    assert info["physics_error"].tolist() == [False, True, False, False]


def test_extreme_actions_leave_nothing_unsound():
    env = cairngym.make("FetchPush-v4", num_envs=8, seed=1, driver_options={"threads": 1})
    env.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        obs, reward, _, _, info = env.step(torch.rand(8, 4, generator=generator).round() * 2 - 1)
        for values in (obs, {"reward": reward}, info["final_obs"]):
            assert_all_finite(values)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads):
    with pytest.raises(ValueError, match="threads >= 1"):
        make_driver(model(), 2, "cpu", driver="threads", threads=threads)


def test_unknown_drivers_and_devices_are_refused():
    with pytest.raises(UnknownNameError, match=r"Unknown physics driver 'tpu'\. .*'threads'"):
        make_driver(model(), 2, "cpu", driver="tpu")
    with pytest.raises(ValueError, match="Expected device"):
        make_driver(model(), 2, "tpu")
    with pytest.raises(UnknownNameError, match="physics driver"):
        cairngym.make("FetchReach-v4", driver="thread")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_says_what_to_do():
    with pytest.raises(ValueError, match="device='cpu'"):
        cairngym.make("FetchReach-v4", device="cuda")


def test_a_model_without_what_is_measured_is_refused():
    needs = {"site": ["end", "robot0:grip"], "joint": ["hinge", "wrist"]}
    with pytest.raises(ValueError, match=r"a Fetch world.*site 'robot0:grip', joint 'wrist'"):
        require(model(), needs, "a Fetch world")
    require(model(), {"site": ["end"], "joint": ["hinge"]}, "a pole")
    with pytest.raises(UnknownNameError, match="Did you mean 'hinge'"):
        find_id(model(), "joint", "hing")


def test_missing_packages_and_files_are_named():
    with pytest.raises(ImportError, match="pip install no-such-robots"):
        package_file("no_such_robots", "arm.xml")
    with pytest.raises(FileNotFoundError, match=r"no_such\.xml"):
        package_file("mujoco", "no_such.xml")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, -2.0])
def test_unsound_and_excessive_actions_are_refused_on_the_cpu(value):
    env = arms(AutoresetMode.SAME_STEP)
    env.reset()
    before = env.world.driver.view("qpos").clone()
    action = torch.zeros(4, 4)
    action[2, 1] = value
    with pytest.raises(ValueError, match="Expected finite actions within"):
        env.step(action)
    assert torch.equal(before, env.world.driver.view("qpos"))


def test_half_precision_is_refused():
    with pytest.raises(ValueError, match="float32 or float64"):
        cairngym.make("FetchReach-v4", dtype="float16")
