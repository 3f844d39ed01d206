"""Gymnasium-Robotics runs on this MuJoCo with the shim, whichever is imported first, and not without it."""

import json
import subprocess
import sys

import mujoco
import pytest

from cairngym.envs import compat

SHIM = "import cairngym.envs.compat"
ROBOTICS = "import gymnasium, gymnasium_robotics; gymnasium.register_envs(gymnasium_robotics)"
PLAY = """
import json, warnings
import numpy as np
warnings.simplefilter("ignore")
env = gymnasium.make({env_id!r})
env.reset(seed=0)
data, moved = env.unwrapped.data, 0.0
for _ in range(3):
    before = data.mocap_pos.copy()
    action = np.ones(env.action_space.shape, dtype=env.action_space.dtype)
    obs = env.step(np.clip(0.5 * action, env.action_space.low, env.action_space.high))[0]
    moved += float(np.abs(data.mocap_pos - before).sum())
values = np.concatenate([np.ravel(v) for v in (obs["observation"], data.qpos)])
print(json.dumps({{"moved": moved, "finite": bool(np.isfinite(values).all()), "time": data.time}}))
"""
MISSING = """
import sys
sys.modules["gymnasium_robotics"] = None
import cairngym.envs.compat as compat
print(compat.install())
"""


def run(*parts):
    return subprocess.run([sys.executable, "-c", "\n".join(parts)], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("order", [(SHIM, ROBOTICS), (ROBOTICS, SHIM)], ids=["shim first", "shim last"])
def test_the_fetch_arm_follows_its_mocap_body(order):
    done = run(*order, PLAY.format(env_id="FetchPush-v4"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["finite"]
    assert result["moved"] > 0.1  # three steps of 2.5 cm along three axes, less what the arm lags
    assert result["time"] > 0.12


@pytest.mark.parametrize("env_id", ["HandReach-v3", "HandManipulateBlock-v1", "FrankaKitchen-v1"])
def test_hands_and_kitchen_step(env_id):
    done = run(SHIM, ROBOTICS, PLAY.format(env_id=env_id))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["finite"]
    assert result["time"] > 0.0


def test_without_the_shim_it_breaks():
    if compat.enums_equal_integers():
        pytest.skip("this MuJoCo compares enums with integers")
    done = run(ROBOTICS, PLAY.format(env_id="FetchPush-v4"))
    assert done.returncode != 0
    assert "AssertionError" in done.stderr


def test_a_missing_package_is_no_error():
    done = run(MISSING)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "False"


def test_mujoco_itself_stays_as_it_is():
    proxy = compat.IntegerEnums()
    assert type(proxy.mjtJoint.mjJNT_SLIDE) is int
    assert proxy.mjtJoint.mjJNT_SLIDE == int(mujoco.mjtJoint.mjJNT_SLIDE)
    assert type(mujoco.mjtJoint.mjJNT_SLIDE) is not int
    assert proxy.mj_step is mujoco.mj_step
    assert proxy.mjtObj is mujoco.mjtObj


def test_installing_twice_changes_nothing():
    if not compat.install():
        pytest.skip("nothing to install here")
    from gymnasium_robotics.utils import mujoco_utils

    first = mujoco_utils.mujoco
    assert compat.install()
    assert mujoco_utils.mujoco is first
