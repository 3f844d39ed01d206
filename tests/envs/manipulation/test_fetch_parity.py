"""Fetch against Gymnasium-Robotics with one `mj_forward` before it observes: bit for bit the same physics."""

import functools

import gymnasium
import gymnasium_robotics
import mujoco
import numpy as np
import pytest
import torch
from gymnasium_robotics.utils import rotations
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import cairngym
import cairngym.envs.compat  # upstream needs it on this MuJoCo
from cairngym.envs.goals import GOAL_KEYS
from cairngym.envs.manipulation.fetch import CLEARANCE, MAX_AIR
from cairngym.envs.manipulation.fetch_config import FETCH
from cairngym.envs.manipulation.fetch_oracle import ORACLES
from cairngym.envs.physics.kinematics import matrix_to_euler

gymnasium.register_envs(gymnasium_robotics)

WORLDS, STEPS, TOLERANCE = 4, 50, 1e-9
IDS = tuple(FETCH)
RESETS = 300


def fresh_reference(env_id):
    """The upstream env, made to observe the kinematics of its present state."""
    env = gymnasium.make(env_id, disable_env_checker=True)
    inner = env.unwrapped

    def forward():
        if inner.block_gripper:
            type(inner)._step_callback(inner)  # locks the fingers, then forwards
        else:
            mujoco.mj_forward(inner.model, inner.data)

    inner._step_callback = forward
    return env


@functools.cache
def references(env_id):
    return [fresh_reference(env_id) for _ in range(WORLDS)]


def make(env_id, num_envs=WORLDS, **options):
    return cairngym.make(env_id, num_envs=num_envs, dtype=torch.float64, **options)


def injected(env_id, seed, **options):
    """References just reset, and an env in their states."""
    originals = references(env_id)
    shown = [original.reset(seed=100 * seed + i)[0] for i, original in enumerate(originals)]
    env = make(env_id, **options)
    env.reset(seed=seed)
    env.world.inject(originals)
    assert_observations(env.task.observe(env.state), shown, "after reset")
    return env, originals


def assert_observations(obs, shown, when):
    for key in GOAL_KEYS:
        want = np.stack([one[key] for one in shown])
        np.testing.assert_allclose(obs[key].numpy(), want, rtol=0.0, atol=TOLERANCE, err_msg=f"{key} {when}")


def reaching(state):
    """Hit the object, where there is one, with the gripper."""
    aim = state["object_position"] if "object_position" in state else state["goal"]
    shift = ((aim - state["gripper_position"]) / 0.05).clamp(-1.0, 1.0)
    return torch.cat((shift, torch.zeros(len(shift), 1)), dim=1)


def random_actions(seed):
    generator = np.random.default_rng(seed)
    return lambda state: torch.as_tensor(generator.uniform(-1.0, 1.0, (len(state["goal"]), 4)))


def compare(env, originals, policy):
    """Play an episode on both; returns how far the object moved and how often the goal was reached."""
    begin = env.task.achieved_goal(env.state)
    travel, reached = torch.zeros(WORLDS, dtype=torch.float64), 0
    for t in range(STEPS):
        action = policy(env.state).to(torch.float32)
        _, reward, terminated, truncated, info = env.step(action)
        steps = [original.step(action[i].numpy()) for i, original in enumerate(originals)]
        assert_observations(info["final_obs"], [step[0] for step in steps], f"at step {t}")
        np.testing.assert_array_equal(reward.numpy(), np.array([step[1] for step in steps]))
        assert terminated.tolist() == [step[2] for step in steps]
        assert truncated.tolist() == [step[3] for step in steps]
        assert info["success"].tolist() == [bool(step[4]["is_success"]) for step in steps]
        reached += int(info["success"].sum())
        travel = torch.maximum(travel, (info["final_obs"]["achieved_goal"] - begin).norm(dim=1))
    assert truncated.all()
    return travel, reached


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("env_id", IDS)
def test_random_actions_give_upstreams_trajectory(env_id, seed):
    env, originals = injected(env_id, seed)
    travel, _ = compare(env, originals, random_actions(seed))
    assert travel.isfinite().all()


@pytest.mark.parametrize("env_id", [name for name in IDS if FETCH[name].has_object])
def test_hitting_the_object_gives_upstreams_trajectory(env_id):
    env, originals = injected(env_id, 2)
    travel, _ = compare(env, originals, reaching)
    assert (travel > 0.01).all(), f"no contact: {travel}"


@pytest.mark.parametrize("env_id", ORACLES)
def test_solving_the_task_gives_upstreams_trajectory(env_id):
    env, originals = injected(env_id, 3)
    _, reached = compare(env, originals, ORACLES[env_id])
    assert reached > WORLDS, "the goal was hardly ever reached, so success was not compared"


@pytest.mark.parametrize("env_id", IDS)
def test_success_is_compared_at_the_threshold(env_id):
    """Goals put at distances around the threshold from where things are."""
    env, originals = injected(env_id, 4)
    for i, shift in enumerate((0.0, 0.0499999, 0.0500001, 0.2)):
        goal = originals[i].unwrapped._get_obs()["achieved_goal"] + (0.0, shift, 0.0)
        originals[i].unwrapped.goal = goal
    env.world.inject(originals)
    state = env.state
    want = [judge(original.unwrapped) for original in originals]
    assert env.task.success(state).tolist() == [bool(value) for value in want] == [True, True, False, False]


def judge(original):
    obs = original._get_obs()
    return original._is_success(obs["achieved_goal"], obs["desired_goal"])


@pytest.mark.parametrize("env_id", IDS)
def test_more_references_than_worlds_are_refused(env_id):
    env = make(env_id, num_envs=1)
    with pytest.raises(ValueError, match="at most 1 reference"):
        env.world.inject(references(env_id)[:2])


def test_euler_angles_are_upstreams():
    generator = np.random.default_rng(0)
    angles = generator.uniform(-np.pi, np.pi, (200, 3))
    angles[:50, 1] = np.pi / 2 * generator.choice([-1.0, 1.0], 50)  # gimbal lock
    matrices = rotations.euler2mat(angles)
    matrices[:25, 2, 2] = matrices[:25, 1, 2] = 0.0
    ours = matrix_to_euler(torch.from_numpy(matrices).reshape(100, 2, 9)).numpy().reshape(200, 3)
    np.testing.assert_allclose(ours, rotations.mat2euler(matrices), rtol=0.0, atol=1e-12)


# Resets --------------------------------------------------------------------------------------------------------------


@functools.cache
def upstream_resets(env_id):
    """Goals and achieved goals `(RESETS, 3)` of upstream resets."""
    env = references(env_id)[0]
    shown = [env.reset(seed=seed)[0] for seed in range(RESETS)]
    return tuple(np.stack([one[key] for one in shown]) for key in ("desired_goal", "achieved_goal"))


@functools.cache
def our_resets(env_id):
    obs, _ = make(env_id, num_envs=RESETS, driver_options={"threads": 1}).reset(seed=11)
    return obs["desired_goal"].numpy(), obs["achieved_goal"].numpy()


@pytest.mark.parametrize("env_id", IDS)
def test_the_arm_starts_where_upstreams_does(env_id):
    env = make(env_id, num_envs=1)
    original = references(env_id)[0]
    original.reset(seed=0)
    np.testing.assert_array_equal(env.world._gripper_start, original.unwrapped.initial_gripper_xpos)
    if FETCH[env_id].has_object:
        assert env.world._height == original.unwrapped.height_offset
    env.reset()
    robot = slice(0, env.world.model.nq - (7 if FETCH[env_id].has_object else 0))
    np.testing.assert_array_equal(env.world.driver.view("qpos")[0, robot].numpy(), original.unwrapped.data.qpos[robot])
    np.testing.assert_array_equal(env.world.driver.view("mocap_pos")[0].numpy(), original.unwrapped.data.mocap_pos)
    assert float(env.world.driver.view("time")[0]) == original.unwrapped.data.time


@pytest.mark.parametrize("env_id", IDS)
def test_goals_and_objects_are_drawn_as_upstream_draws_them(env_id):
    for name, ours, theirs in zip(("goal", "achieved"), our_resets(env_id), upstream_resets(env_id), strict=True):
        for axis in range(3):
            if np.ptp(theirs[:, axis]) < 1e-6:
                np.testing.assert_allclose(ours[:, axis], theirs[0, axis], atol=1e-9)
            else:
                assert stats.ks_2samp(ours[:, axis], theirs[:, axis]).pvalue > 1e-3, f"{name}, axis {axis}"


@pytest.mark.parametrize("env_id", IDS)
def test_goals_and_objects_keep_their_ranges(env_id):
    config, (goal, achieved) = FETCH[env_id], our_resets(env_id)
    world = make(env_id, num_envs=1).world
    away = goal - (world._gripper_start + np.array(config.target_offset))
    reach = np.abs(away[:, : 2 if config.has_object else 3])
    assert (reach <= config.target_range).all()
    assert (reach.max(0) > 0.95 * config.target_range).all()
    if not config.has_object:
        return
    offset = achieved[:, :2] - world._gripper_start[:2]
    assert (np.abs(offset) <= config.object_range + 1e-9).all()
    assert (np.linalg.norm(offset, axis=1) >= CLEARANCE - 1e-9).all()
    quadrant = (offset[:, 0] > 0) + 2 * (offset[:, 1] > 0)
    assert stats.chisquare(np.bincount(quadrant, minlength=4)).pvalue > 1e-3
    height = goal[:, 2] - world._height
    if not config.target_in_the_air:
        assert (height == 0.0).all()
        return
    air = height > 0.0
    assert stats.binomtest(int(air.sum()), RESETS, 0.5).pvalue > 1e-3
    assert stats.kstest(height[air] / MAX_AIR, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("env_id", IDS)
def test_each_episode_draws_anew_and_each_env_its_own(env_id):
    env = make(env_id, num_envs=8)
    first = env.reset(seed=1)[0]["desired_goal"]
    second = env.reset()[0]["desired_goal"]
    assert len(torch.cat((first, second)).unique(dim=0)) == 16
    assert torch.equal(first, env.reset(seed=1)[0]["desired_goal"])


@pytest.mark.parametrize("env_id", IDS)
def test_a_fresh_env_in_the_same_state_sees_the_same(env_id):
    env = make(env_id)
    obs, _ = env.reset(seed=5)
    twin = make(env_id)
    twin.set_state(env.get_state())
    for key, value in twin.task.observe(twin.state).items():
        assert torch.equal(value, obs[key]), key


# Rewards -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("env_id", IDS)
def test_the_reward_of_every_transition_is_compute_reward(env_id, dtype):
    env = cairngym.make(env_id, num_envs=WORLDS, dtype=dtype, horizon=10)
    env.reset(seed=6)
    policy = ORACLES.get(env_id, reaching)
    rewards = []
    for _ in range(12):
        _, reward, _, _, info = env.step(policy(env.state).to(torch.float32))
        goals = [info["final_obs"][key] for key in ("achieved_goal", "desired_goal")]
        assert torch.equal(reward, env.compute_reward(*goals))
        assert torch.equal(reward, torch.from_numpy(env.compute_reward(*(goal.numpy() for goal in goals))))
        assert torch.equal(info["success"], reward == 0.0)
        rewards.append(reward)
    assert torch.cat(rewards).unique().tolist() in ([-1.0, 0.0], [-1.0])


@pytest.mark.parametrize("env_id", ["FetchReach-v4", "FetchPush-v4"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_compute_reward_takes_any_batch_shape(env_id, data):
    original = references(env_id)[0].unwrapped
    task = tasks(env_id)
    shape = (*data.draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4, min_side=0)), 3)
    numbers = st.floats(-0.06, 0.06, width=64)
    achieved, desired = (data.draw(hnp.arrays(np.float64, shape, elements=numbers)) for _ in range(2))
    want = original.compute_reward(achieved, desired, {})
    ours = task.compute_reward(achieved, desired, {})
    distance = np.linalg.norm(achieved - desired, axis=-1)
    clear = np.abs(distance - task.threshold) > 1e-12
    assert ours.shape == shape[:-1]
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours[clear], want[clear])
    tensors = task.compute_reward(torch.from_numpy(achieved), torch.from_numpy(desired))
    assert isinstance(tensors, torch.Tensor)
    np.testing.assert_array_equal(tensors.numpy()[clear], ours[clear])


@functools.cache
def tasks(env_id):
    return make(env_id, num_envs=1).task


def test_goals_of_another_size_are_refused():
    with pytest.raises(ValueError, match="equal last axes"):
        tasks("FetchReach-v4").compute_reward(np.zeros((2, 3)), np.zeros((2, 2)))
