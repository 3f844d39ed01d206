"""The Warp driver, on Warp's CPU device, against MuJoCo C.

mujoco_warp computes in float32 (relative precision 6e-8) and its solver stops at 1e-6, MuJoCo C computes in float64.
What was measured stands in each test; the tolerances are three times that or more.
"""

import mujoco
import numpy as np
import pytest
import torch
from warp_toys import SIZES, XML, N, swing

import cairngym
from cairngym.envs.manipulation.fetch import rest
from cairngym.envs.manipulation.fetch_config import FETCH
from cairngym.envs.physics.models import find_id, package_file
from cairngym.envs.physics.warp import WarpDriver
from cairngym.envs.physics.warp_fields import load_engine, put_model

INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION
LYING = """
<mujoco>
  <worldbody>
    <geom type="plane" size="5 5 .1" euler="{tilt}"/>
    <body><freejoint/><geom type="capsule" size=".1 .2"/></body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def push():
    model = mujoco.MjModel.from_xml_path(str(package_file("gymnasium_robotics", "envs/assets/fetch/push.xml")))
    start, _, _ = rest(model, FETCH["FetchPush-v4"])
    return model, start


def packed(model, data):
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def inject(driver, states):
    """Let world i be in row i of packed states."""
    driver.set_state(driver.get_state() | {"state": torch.as_tensor(states, dtype=torch.float32)})


# Long runs ------------------------------------------------------------------------------------------------------------


def test_pendulum_and_ball_follow_mujoco():
    """Measured over 1 s: 4e-7 rad and m (the ball falls and stays on the floor), 3e-6 m/s, 7e-6 m/s^2."""
    model = mujoco.MjModel.from_xml_string(XML)
    driver = WarpDriver(model, N, "cpu", **SIZES)
    data = [mujoco.MjData(model) for _ in range(N)]
    for each, control in zip(data, (0.5, -0.5, 0.2), strict=True):
        each.ctrl[:] = control
        mujoco.mj_step(model, each, nstep=200)
        mujoco.mj_forward(model, each)
    names = ["site_xpos", "site_xmat", "xquat", "cvel", "subtree_com", "sensordata", "time", "qpos", "qvel", "qacc"]
    for name in names:
        driver.view(name)
    swing(driver, 50)
    driver.forward()
    for name in names:
        expected = np.stack([getattr(each, name) for each in data])
        view = driver.view(name)
        assert tuple(view.shape) == expected.shape, name
        np.testing.assert_allclose(view.numpy(), expected, atol=3e-5, err_msg=name)
    assert not any(values.any() for values in driver.counters().values())


def test_fetch_push_follows_mujoco(push):
    """20 env steps of 20 substeps with mocap motion, from measured sizes.

    Measured at worst, gripper and object: 3e-5 m. The motion is closed over MuJoCo's wrist, so errors do not add up;
    one arm moves in the plane above the table, the other presses against it.
    """
    model, start = push
    driver = WarpDriver(model, 2, "cpu")
    driver.set_initial(start)
    data = [mujoco.MjData(model) for _ in range(2)]
    for each in data:
        each.time, each.qpos[:], each.qvel[:] = start.time, start.qpos, start.qvel
        mujoco.mj_forward(model, each)
    wrist = find_id(model, "body", "robot0:gripper_link")
    rng = np.random.default_rng(0)
    touched = 0
    for _ in range(20):
        for world, each in enumerate(data):
            each.mocap_pos[0] = each.xpos[wrist] + 0.05 * rng.uniform(-1, 1, 3) * (1, 1, world)
            each.mocap_quat[0] = each.xquat[wrist]
            driver.view("mocap_pos")[world] = torch.from_numpy(each.mocap_pos)
            driver.view("mocap_quat")[world] = torch.from_numpy(each.mocap_quat)
            mujoco.mj_step(model, each, nstep=20)
            mujoco.mj_forward(model, each)
            touched = max(touched, each.ncon)
        driver.step(20)
        driver.forward()
        expected = np.stack([each.site_xpos for each in data])
        np.testing.assert_allclose(driver.view("site_xpos").numpy(), expected, atol=1e-4)
    assert np.abs(data[0].site_xpos - start.site_xpos).max() > 0.02
    assert touched > 4  # more than the object's four corners on the table
    assert not any(values.any() for values in driver.counters().values())


@pytest.mark.parametrize(
    ("env_id", "near", "tolerance", "contacts"),
    [
        ("FetchReach-v4", 1e-5, 1e-5, False),
        ("PointMaze_UMaze-v3", 1e-5, 1e-5, False),
        ("AntMaze_UMaze-v4", 1e-4, 3e-3, True),
    ],
)
def test_envs_on_both_drivers_show_the_same(env_id, near, tolerance, contacts):
    """20 steps from the same seed with the same actions: goals achieved, observations, rewards, flags, state.

    Measured without contacts that matter: 7e-7 m (arm), 2e-7 m (point). Measured for ants, whose feet strike the floor:
    2e-5 m, and 7e-4 rad/s at worst among the velocities. There it is rounding that grows: MuJoCo C itself, its state
    rounded to float32 once a step, ends up 6e-5 rad/s off.
    """
    options = {"num_envs": 3, "seed": 0, "dtype": torch.float64}
    exact = cairngym.make(env_id, driver="threads", driver_options={"threads": 1}, **options)
    env = cairngym.make(env_id, driver="warp", **options)
    (obs, _), (expected, _) = env.reset(), exact.reset()
    for name, values in expected.items():
        torch.testing.assert_close(obs[name], values, atol=1e-6, rtol=0)
    model, generator, struck = exact.world.model, torch.Generator().manual_seed(0), 0
    host = mujoco.MjData(model)
    for _ in range(20):
        action = 2 * torch.rand(3, env.single_action_space.shape[0], generator=generator) - 1
        obs, *judged, info = env.step(action)
        expected, *rightly, true = exact.step(action)
        torch.testing.assert_close(obs["achieved_goal"], expected["achieved_goal"], atol=near, rtol=0)
        for name, values in [*expected.items(), *true["final_state"].items()]:
            given = obs[name] if name in obs else info["final_state"][name]
            torch.testing.assert_close(given, values, atol=tolerance, rtol=0)
        assert all(torch.equal(a, b) for a, b in zip(judged, rightly, strict=True))
        assert torch.equal(info["success"], true["success"])
        assert not any(values.any() for values in info["physics"].values())
        for world in range(3):
            exact.world.driver.write_data(world, host)
            mujoco.mj_forward(model, host)
            struck += host.ncon > 0
    assert struck > 5 or not contacts


# One substep ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ["AntMaze_UMaze-v4", "FetchPush-v4"])
def test_one_substep_from_every_state_of_an_episode(env_id):
    """Every state MuJoCo C meets after a step is injected: no error is carried on, whatever contacts do.

    Measured at worst over feet that strike and fingers that press: 2e-7 m or rad; 4e-5 m/s or rad/s, at speeds of 20.
    """
    env = cairngym.make(env_id, num_envs=1, seed=1, driver="threads", driver_options={"threads": 1})
    env.reset()
    model, host, size = env.world.model, mujoco.MjData(env.world.model), env.single_action_space.shape[0]
    generator, before, after, contacts = torch.Generator().manual_seed(1), [], [], []
    for _ in range(60):
        env.step(2 * torch.rand(1, size, generator=generator) - 1)
        env.world.driver.write_data(0, host)
        before.append(packed(model, host).astype(np.float32))
        mujoco.mj_setState(model, host, before[-1].astype(np.float64), INTEGRATION)
        mujoco.mj_step(model, host)
        after.append(np.concatenate([host.qpos, host.qvel]))
        contacts.append(host.ncon > 0)
    driver = WarpDriver(model, len(before), "cpu", nconmax=32, njmax=160)
    inject(driver, np.stack(before))
    driver.step(1)
    qpos, qvel = np.split(np.stack(after), [model.nq], axis=1)
    np.testing.assert_allclose(driver.view("qpos").numpy(), qpos, atol=1e-6)
    np.testing.assert_allclose(driver.view("qvel").numpy(), qvel, atol=2e-4)
    assert sum(contacts) > 10
    assert not any(values.any() for values in driver.counters().values())


# What is corrected ----------------------------------------------------------------------------------------------------


def found(model, poses):
    """The contacts of geoms in the given poses `(N, nq)`: their world, frame `(9,)` and place."""
    engine, placed = load_engine(), put_model(model, deterministic=False)
    data = engine.make_data(model, nworld=len(poses), nconmax=2, njmax=16)
    data.qpos.assign(poses.astype(np.float32))
    engine.kinematics(placed, data)
    engine.collision(placed, data)
    count, contact = int(data.nacon.numpy()[0]), data.contact
    return contact.worldid.numpy()[:count], contact.frame.numpy()[:count].reshape(-1, 9), contact.pos.numpy()[:count]


@pytest.mark.parametrize("tilt", ["0 0 0", "30 20 0", "0 90 0"])
def test_a_capsule_on_a_plane_has_mujocos_frame(tilt):
    """In 200 poses, some of them steep, where the engine itself takes another frame. Measured: 1e-6."""
    model = mujoco.MjModel.from_xml_string(LYING.format(tilt=tilt))
    poses = np.zeros((200, 7))
    poses[:, 3:] = np.random.default_rng(0).standard_normal((200, 4))
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    worlds, frames, places = found(model, poses)
    host, steep = mujoco.MjData(model), 0
    for world in range(200):
        host.qpos[:] = poses[world]
        mujoco.mj_forward(model, host)
        mine = (worlds == world).nonzero()[0]
        assert len(mine) == host.ncon > 0
        for index in mine:
            nearest = np.abs(host.contact.pos - places[index]).sum(1).argmin()
            np.testing.assert_allclose(frames[index], host.contact.frame[nearest], atol=1e-5)
        steep += abs(host.contact.frame[0, :3] @ host.geom_xmat[1].reshape(3, 3)[:, 2]) > np.cos(np.pi / 6)
    assert steep > 20


def test_an_upright_capsule_has_some_frame():
    model = mujoco.MjModel.from_xml_string(LYING.format(tilt="30 20 0"))
    _, frames, _ = found(model, np.concatenate([np.zeros(3), model.geom_quat[0]])[None])
    frame = frames[0].reshape(3, 3)
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-6)


def test_welds_do_not_remember_the_evaluation_before(push):
    """Their rows depend on velocities, which the engine itself takes from the substep before.

    Measured over three substeps: 3e-8 rad, 3e-6 rad/s; 7e-5 rad where it does.
    """
    model, start = push
    data, wrist = mujoco.MjData(model), find_id(model, "body", "robot0:gripper_link")
    mujoco.mj_setState(model, data, packed(model, start), INTEGRATION)
    mujoco.mj_forward(model, data)
    data.mocap_pos[0] = data.xpos[wrist] + (0.05, -0.05, 0.03)
    data.mocap_quat[0] = data.xquat[wrist]
    mujoco.mj_step(model, data, nstep=5)
    driver = WarpDriver(model, 2, "cpu", nconmax=40, njmax=180)
    driver.read_data(0, data)
    driver.step(3)
    mujoco.mj_step(model, data, nstep=3)
    np.testing.assert_allclose(driver.view("qpos")[0].numpy(), data.qpos, atol=1e-6)
    np.testing.assert_allclose(driver.view("qvel")[0].numpy(), data.qvel, atol=5e-5)
