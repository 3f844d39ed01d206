"""Adroit's tasks against Gymnasium-Robotics, and against what their docstrings say."""

from functools import partial

import contract
import mujoco
import numpy as np
import pytest
import torch
from gymnasium_robotics.envs.adroit_hand import adroit_door, adroit_hammer, adroit_pen, adroit_relocate
from gymnasium_robotics.utils.rotations import euler2quat

from cairngym.envs.manipulation.adroit import check_model, euler_to_quaternion
from cairngym.envs.manipulation.adroit_config import ADROIT
from cairngym.envs.manipulation.adroit_task import make_adroit
from cairngym.envs.physics.kinematics import matrix_to_euler

UPSTREAM = {
    "AdroitHandDoorSparse-v1": adroit_door.AdroitHandDoorEnv,
    "AdroitHandHammerSparse-v1": adroit_hammer.AdroitHandHammerEnv,
    "AdroitHandPenSparse-v1": adroit_pen.AdroitHandPenEnv,
    "AdroitHandRelocateSparse-v1": adroit_relocate.AdroitHandRelocateEnv,
}
each_id = pytest.mark.parametrize("env_id", ADROIT)


def reference_of(env_id, seed):
    """Upstream's env, but for one `mj_forward` before it observes and judges."""

    class Fresh(UPSTREAM[env_id]):
        def do_simulation(self, ctrl, n_frames):
            super().do_simulation(ctrl, n_frames)
            mujoco.mj_forward(self.model, self.data)

    reference = Fresh(reward_type="sparse")
    reference.reset(seed=seed)
    return reference


def solve(env_id, reference):
    """Put a reference env where its task is done."""
    model, data = reference.model, reference.data
    if "Door" in env_id:
        data.joint("door_hinge").qpos = 1.4
    elif "Hammer" in env_id:
        data.joint("nail_dir").qpos = 0.085
    elif "Pen" in env_id:
        model.body("target").quat = data.body("Object").xquat
    else:
        model.site("target").pos = data.body("Object").xpos
    mujoco.mj_forward(model, data)


def strike(reference):
    """Hold the side of the hammer's head against the nail."""
    model, data = reference.model, reference.data
    parent = data.body("Object").xmat.reshape(3, 3).copy()
    data.joint("OBJRy").qpos = 2.8
    mujoco.mj_forward(model, data)
    nail, outward = data.site("S_target"), data.site("S_target").xmat.reshape(3, 3)[:, 2]
    offset = parent.T @ (nail.xpos + 0.04 * outward - data.geom("head").xpos)
    for name, value in zip(("OBJTx", "OBJTy", "OBJTz"), offset, strict=True):
        data.joint(name).qpos = value
    mujoco.mj_forward(model, data)


def actions_like(env, steps, seed=0):
    """Actions `(steps, N, servos)` that go to the ends of the range half of the time."""
    draw = np.random.default_rng(seed).uniform(-2.0, 2.0, (steps, env.num_envs, *env.single_action_space.shape))
    return torch.as_tensor(draw.clip(-1.0, 1.0).astype(np.float32))


@each_id
def test_parity_with_upstream(env_id):
    references = [reference_of(env_id, seed) for seed in range(3)]
    solve(env_id, references[0])
    if "Hammer" in env_id:
        strike(references[1])
    env = make_adroit(env_id, num_envs=3, dtype="float64")
    env.reset(seed=7)
    env.world.inject(references)
    first = env.task.observe(env.state)
    np.testing.assert_allclose(first, [one._get_obs() for one in references], rtol=0.0, atol=1e-9)
    rewards, last = [], []
    for t, action in enumerate(actions_like(env, 50)):
        obs, reward, terminated, truncated, info = env.step(action)
        steps = [one.step(row) for one, row in zip(references, action.numpy(), strict=True)]
        want = [np.array(column) for column in list(zip(*steps, strict=True))[:4]]
        np.testing.assert_allclose(obs, want[0], rtol=0.0, atol=1e-9, err_msg=f"observation of step {t}")
        np.testing.assert_array_equal(reward, want[1].astype(np.float32), f"reward of step {t}")
        np.testing.assert_array_equal(terminated, want[2])
        np.testing.assert_array_equal(truncated, want[3])
        np.testing.assert_array_equal(info["success"], [step[4]["success"] for step in steps])
        assert not info["physics_error"].any()
        rewards.append(reward.clone())
        last.append(obs[:, -1].clone())
    assert set(torch.stack(rewards).flatten().tolist()) == {10.0, float(np.float32(-0.1))}
    if "Hammer" in env_id:
        assert bool(((torch.stack(last) > 0.0) & (torch.stack(last) < 1.0)).any()), "no force on the nail was compared"


@each_id
@pytest.mark.parametrize("ends", [False, True])
def test_success_is_rewarded(env_id, ends):
    solved, started = reference_of(env_id, 0), reference_of(env_id, 1)
    solve(env_id, solved)
    env = make_adroit(env_id, num_envs=2, terminate_on_success=ends)
    env.reset()
    env.world.inject([solved, started])
    _, reward, terminated, truncated, info = env.step(torch.zeros(2, *env.single_action_space.shape))
    assert info["success"].tolist() == [True, False]
    assert reward.tolist() == [10.0, np.float32(-0.1)]
    assert env.task.reward_range == (-0.1, 10.0)
    assert terminated.tolist() == [ends, False]
    assert not truncated.any()
    done, begun = env.task.progress(info["final_state"]).tolist()
    assert done == 1.0
    assert 0.0 <= begun < 1.0


@each_id
def test_draws_cover_upstreams_ranges(env_id):
    env, reference = make_adroit(env_id, num_envs=128), UPSTREAM[env_id](reward_type="sparse")
    env.reset(seed=3)
    for placement in ADROIT[env_id].placements:
        find = env.world.model.body if placement.field.startswith("body") else env.world.model.site
        row = find(placement.name).id
        theirs = []
        for seed in range(128):
            reference.reset(seed=seed)
            theirs.append(getattr(reference.model, placement.field)[row].copy())
        theirs, ours = np.stack(theirs), env.world.driver.field(placement.field)[:, row].numpy()
        span = np.ptp(theirs, axis=0)
        np.testing.assert_allclose(ours.min(0), theirs.min(0), rtol=0.0, atol=0.1 * span.max() + 1e-12)
        np.testing.assert_allclose(ours.max(0), theirs.max(0), rtol=0.0, atol=0.1 * span.max() + 1e-12)
        assert ((np.ptp(ours, axis=0) > 0) == (span > 0)).all()
        if placement.field != "body_quat":
            drawn = ours[:, list(placement.axes)]
            assert (drawn >= np.array(placement.low) - 1e-9).all()
            assert (drawn <= np.array(placement.high) + 1e-9).all()


def test_quaternions_are_upstreams():
    angles = torch.as_tensor(np.random.default_rng(0).uniform(-1.5, 1.5, (100, 3)))
    np.testing.assert_allclose(euler_to_quaternion(angles), euler2quat(angles.numpy()), rtol=0.0, atol=1e-12)
    matrices = np.empty((100, 9))
    for quaternion, matrix in zip(euler_to_quaternion(angles).numpy(), matrices, strict=True):
        mujoco.mju_quat2Mat(matrix, quaternion)
    np.testing.assert_allclose(matrix_to_euler(torch.as_tensor(matrices)), angles, rtol=0.0, atol=1e-12)


@each_id
def test_servos_are_upstreams(env_id):
    ours, theirs = make_adroit(env_id).world.model, UPSTREAM[env_id](reward_type="sparse").model
    np.testing.assert_array_equal(ours.actuator_gainprm, theirs.actuator_gainprm)
    np.testing.assert_array_equal(ours.actuator_biasprm, theirs.actuator_biasprm)


@each_id
def test_extreme_actions_leave_nothing_infinite(env_id):
    env = make_adroit(env_id, num_envs=4)
    env.reset(seed=1)
    signs = np.random.default_rng(2).integers(0, 2, (300, *env.action_space.shape)) * 2.0 - 1.0
    for action in torch.as_tensor(signs, dtype=torch.float32):
        obs, reward, *_, info = env.step(action)
        assert bool(obs.isfinite().all())
        assert bool(reward.isfinite().all())
        for values in (*env.state.values(), *info["final_state"].values()):
            assert bool(values.isfinite().all())


def test_progress_grows_on_the_way():
    env = make_adroit("AdroitHandDoorSparse-v1", num_envs=3)
    env.reset()
    state = dict(env.state)
    handle = state["handle_position"]
    state["door_angle"] = torch.tensor([0.0, 0.0, 0.675])
    state["palm_position"] = handle + torch.tensor([[0.25, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    # a fifth for the palm at the handle, the rest for the hinge's share of 1.35 rad
    assert env.progress(state).tolist() == pytest.approx([0.1, 0.2, 0.6], abs=1e-6)


def test_a_snapshot_keeps_contact_forces():
    reference = reference_of("AdroitHandHammerSparse-v1", 0)
    strike(reference)
    env = make_adroit("AdroitHandHammerSparse-v1", num_envs=1, dtype="float64")
    env.reset()
    env.world.inject([reference])
    env.step(torch.zeros(1, 26))
    assert float(env.state["nail_force"]) > 0.0
    other = make_adroit("AdroitHandHammerSparse-v1", num_envs=1, dtype="float64", seed=1)
    other.set_state(env.get_state())
    for _ in range(3):
        for name, value in env.state.items():
            assert torch.equal(value, other.state[name]), name
        assert torch.equal(env.step(torch.ones(1, 26))[0], other.step(torch.ones(1, 26))[0])


def test_a_model_without_a_hand_is_refused():
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><site name='S_grasp'/></worldbody></mujoco>")
    with pytest.raises(ValueError, match=r"without site 'S_handle'.*joint 'ARTz'.*actuator 'A_WRJ1'"):
        check_model(model, ADROIT["AdroitHandDoorSparse-v1"])


@each_id
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(env_id, check):
    check(partial(make_adroit, env_id))
