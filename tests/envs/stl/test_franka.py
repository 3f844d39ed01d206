"""The Franka arm: its model and kinematics, what actions do, predicates, the contract, and that tasks can be solved."""

from functools import partial

import contract
import mujoco
import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium_robotics")

from cairngym.envs.stl import franka_oracle
from cairngym.envs.stl.franka import START, FrankaWorld, make_franka
from cairngym.envs.stl.franka_kinematics import POINTS, FrankaKinematics
from cairngym.envs.stl.franka_model import HOME, JOINTS, SPEEDS, franka_model
from cairngym.envs.stl.oracle import Oracle

REACH, SEQUENCE = "StlFranka-ReachAvoid-v0", "StlFranka-Sequence-v0"


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(partial(make_franka, SEQUENCE, layout=None))


@pytest.mark.parametrize(
    "check", [contract.check_life_is_independent_of_batch, contract.check_snapshot_round_trip], ids=["life", "snapshot"]
)
def test_contract_of_a_fixed_layout(check):
    check(partial(make_franka, REACH))


# The model ------------------------------------------------------------------------------------------------------------


def test_the_model_is_the_arm_alone():
    model = franka_model()
    assert [model.joint(k).name for k in range(model.njnt)] == list(JOINTS)
    assert [model.actuator(k).name for k in range(model.nu)] == list(JOINTS)
    assert model.nq == model.nv == 7
    assert model.body("panda0_link0").pos.tolist() == [0.0, 0.0, 0.0]
    assert model.body_mass.sum() == pytest.approx(2.91242 + 2.7063 + 2.73046 + 2.04104 + 2.08129 + 3.00049 + 1.3235
                                                  + 0.2 + 0.81909 + 2 * 0.0927059)  # fmt: skip
    names = {model.body(k).name for k in range(model.nbody)}
    assert not names & {"desk", "kettle", "oven", "microwave"}
    assert model.actuator_gear[:, 0].tolist() == [87.0] * 4 + [12.0] * 3
    assert np.allclose(model.actuator_gear[:, 0] / model.dof_damping, SPEEDS)


def test_the_model_given_out_is_a_copy():
    first = franka_model()
    first.body_mass[:] = 0.0
    assert franka_model().body_mass.sum() > 0.0


def test_kinematics_are_mujoco_s():
    model = franka_model()
    arm, data = FrankaKinematics(model), mujoco.MjData(model)
    angles = np.random.default_rng(0).uniform(arm.low, arm.high, (4, 7))
    points, jacobians = arm.jacobians(torch.from_numpy(angles))
    assert torch.equal(points, arm.points(torch.from_numpy(angles)))
    for row, posture in enumerate(angles):
        data.qpos[:] = posture
        mujoco.mj_forward(model, data)
        for k, name in enumerate(POINTS):
            want = np.zeros((3, 7))
            mujoco.mj_jacSite(model, data, want, None, model.site(name).id)
            assert np.allclose(points[row, k], data.site(name).xpos, atol=1e-12), name
            assert np.allclose(jacobians[row, k], want, atol=1e-12), name


def test_start_is_where_the_end_effector_is_at_home():
    points = FrankaKinematics(franka_model()).points(torch.tensor([HOME]))
    assert torch.allclose(points[0, -1], torch.tensor(START, dtype=torch.float64), atol=1e-3)


# Moving ---------------------------------------------------------------------------------------------------------------


def test_the_arm_carries_its_own_weight():
    env = make_franka(REACH, num_envs=2)
    env.reset(seed=0)
    before = env.state["joint_angles"].clone()
    for _ in range(40):
        env.step(torch.zeros(2, 7))
    assert torch.allclose(env.state["joint_angles"], before, atol=1e-4)


def test_an_action_turns_its_joint_at_its_share_of_the_speed():
    env = make_franka(REACH, num_envs=14)
    env.reset(seed=0)
    shares = torch.tensor([0.5, -0.3]).repeat_interleave(7)
    action = torch.eye(7).repeat(2, 1) * shares.unsqueeze(1)
    for _ in range(3):
        env.step(action)
    before = env.state["joint_angles"]
    env.step(action)
    want = torch.tensor(SPEEDS) * action
    assert torch.allclose(env.state["joint_velocities"], want, atol=0.02)
    assert torch.allclose((env.state["joint_angles"] - before) / 0.05, want, atol=0.02)
    assert env.world.inner.time_step == pytest.approx(0.05)


def test_joints_stop_at_their_limits():
    env = make_franka(REACH, num_envs=2, horizon=200)
    env.reset(seed=0)
    push = torch.ones(2, 7)
    push[1] = -1.0
    push[:, 1] = 0.0  # or the arm would lie down on the floor
    for _ in range(120):
        _, _, _, _, info = env.step(push)
        assert not info["physics_error"].any()
    low, high = env.world.inner.arm.low.float(), env.world.inner.arm.high.float()
    angles, pushed = env.state["joint_angles"], [0, 2, 4, 6]
    assert torch.allclose(angles[0, pushed], high[pushed], atol=0.03)
    assert torch.allclose(angles[1, pushed], low[pushed], atol=0.03)


def test_episodes_begin_at_rest_where_the_layout_says():
    env = make_franka(SEQUENCE, num_envs=64, layout=None)
    env.reset(seed=1)
    start = env.world.layouts.start
    assert float((env.state["position"] - start).norm(dim=1).max()) < 0.015
    assert float((start - torch.tensor(START)).abs().max()) <= 0.06
    assert float(start.std(0).min()) > 0.02
    assert not env.state["joint_velocities"].any()
    assert torch.equal(env.state["links"][:, -1], env.state["position"])


# What is measured -----------------------------------------------------------------------------------------------------


def test_predicates_by_hand():
    measures = make_franka(REACH).world.predicates
    assert list(measures) == ["in_a", "in_b", "in_obstacle"]
    links = torch.tensor([[[0.0, 0.0, 0.6]] * 7 + [[0.5, 0.0, 0.3]]]).repeat(2, 1, 1)
    links[1, 0] = torch.tensor([0.5, 0.45, 0.3])  # the elbow, 5 cm from the obstacle's centre
    state = {
        "position": links[:, -1], "links": links,
        "regions": torch.tensor([[[0.5, 0.03, 0.34, 0.08], [0.5, 0.0, 0.6, 0.08]]]).repeat(2, 1, 1),
        "obstacles": torch.tensor([[[0.5, 0.4, 0.3, 0.1]]]).repeat(2, 1, 1),
    }  # fmt: skip
    assert torch.allclose(measures["in_a"].margin(state), torch.tensor([0.03, 0.03]))
    assert torch.allclose(measures["in_b"].margin(state), torch.tensor([-0.22, -0.22]))
    assert torch.allclose(measures["in_obstacle"].margin(state), torch.tensor([-0.3, 0.05]))
    assert torch.allclose(measures["in_b"].target(state), torch.tensor([[0.0, 0.0, 0.6]] * 2))
    assert {measure.unit for measure in measures.values()} == {"m"}


def test_predicates_see_what_mujoco_says():
    env = make_franka(REACH, num_envs=3, layout=None)
    env.reset(seed=0)
    for action in contract.actions_of(env, 6):
        env.step(action)
    data, world = mujoco.MjData(env.world.model), env.world.inner
    depth = world.predicates["in_obstacle"].margin(env.state)
    for i in range(3):
        world.driver.write_data(i, data)
        mujoco.mj_forward(world.model, data)
        places = np.stack([data.site(name).xpos for name in POINTS])
        balls = env.state["obstacles"][i].double().numpy()
        want = max(ball[3] - np.linalg.norm(place - ball[:3]) for place in places for ball in balls)
        assert float(depth[i]) == pytest.approx(want, abs=1e-6)
        assert np.allclose(env.state["position"][i], data.site("end_effector").xpos, atol=1e-6)


def test_the_observation_is_as_documented():
    env = make_franka(REACH, num_envs=2)
    env.reset(seed=0)
    obs, *_ = env.step(torch.full((2, 7), 0.5))
    state, scale = env.state, 0.5
    middle = torch.tensor([0.5, 0.0, 0.28])
    circles = torch.cat((state["regions"], state["obstacles"]), dim=1)
    circles = torch.cat((circles[..., :3] - state["position"].unsqueeze(1), circles[..., 3:]), dim=-1) / scale
    want = (
        state["joint_angles"], state["joint_velocities"] / torch.tensor(SPEEDS), (state["position"] - middle) / scale,
        circles.flatten(1), torch.full((2, 1), 0.01),
    )  # fmt: skip
    assert torch.allclose(obs, torch.cat(want, dim=1), atol=1e-6)


def test_markers_show_regions_and_obstacles():
    env = make_franka("StlFranka-Until-v0", num_envs=2, layout=None)
    env.reset(seed=0)
    state, balls = env.state, env.world.markers()
    circles = torch.cat((state["regions"], state["obstacles"]), dim=1)
    assert len(balls) == circles.shape[1] == 4
    for k, ball in enumerate(balls):
        assert torch.equal(ball.position, circles[:, k, :3])
        assert torch.allclose(circles[:, k, 3], torch.tensor(ball.radius))


# Can be solved --------------------------------------------------------------------------------------------------------


def play(env_id, act, episodes, **options):
    """Success of one episode in every env, float `(N,)`, and how deep the arm was in an obstacle at most."""
    env = make_franka(env_id, num_envs=episodes, seed=0, autoreset_mode="Disabled", **options)
    env.reset()
    deepest = torch.full((episodes,), -1.0)
    for _ in range(env.task.horizon):
        _, _, _, _, info = env.step(act(env))
        deepest = torch.maximum(deepest, env.world.predicates["in_obstacle"].margin(env.state))
    return info["success"].float(), deepest


@pytest.mark.parametrize("env_id", [REACH, SEQUENCE])
def test_the_scripted_controller_solves_layouts(env_id):
    oracles = {}
    success, deepest = play(
        env_id, lambda env: oracles.setdefault(0, Oracle(env.world.inner)).act(env.state), 64, layout=None
    )
    assert float(success.mean()) >= 0.95
    assert float(deepest.max()) < 0.0


def test_doing_nothing_solves_none():
    success, _ = play(REACH, lambda env: torch.zeros(8, 7), 8, layout=None)
    assert not success.any()


def test_no_check_point_is_driven_into_an_obstacle():
    arm = FrankaKinematics(franka_model())
    points, jacobians = arm.jacobians(torch.tensor([HOME]))
    beside = points[0, -1] + torch.tensor([0.15, 0.0, 0.0], dtype=torch.float64)
    ball = torch.cat((beside, beside.new_tensor([0.1]))).view(1, 1, 4)
    rates = franka_oracle.resolved(jacobians[:, -1], points.new_tensor([[0.6, 0.0, 0.0]]), points.new_zeros(1, 7))
    towards = (jacobians[0, -1] @ rates[0])[0]
    assert float(towards) == pytest.approx(0.6, abs=0.02)
    kept = franka_oracle.kept_clear(rates, points, jacobians, ball, 0.05)
    assert float((jacobians[0, -1] @ kept[0])[0]) <= 0.5 * (0.05 - franka_oracle.CLEARANCE) / 0.05 + 1e-3


# Bad input and the other driver ---------------------------------------------------------------------------------------


def test_bad_options():
    with pytest.raises(TypeError, match="no option 'goals'"):
        make_franka(REACH, goals="evaluation")
    with pytest.raises(ValueError, match="horizon from 50"):
        make_franka(REACH, horizon=10)
    with pytest.raises(KeyError, match="Did you mean 'threads'"):
        make_franka(REACH, driver="thread")


def test_a_snapshot_of_another_layout_is_refused():
    one, other = make_franka(REACH, layout=0), make_franka(REACH, layout=1)
    one.reset(seed=0)
    other.reset(seed=0)
    with pytest.raises(ValueError, match="layout 1"):
        other.set_state(one.get_state())


def test_warp_moves_the_arm_as_mujoco_c_does():
    pytest.importorskip("mujoco_warp")
    envs = [make_franka(REACH, num_envs=2, seed=3, layout=None, driver=driver) for driver in ("threads", "warp")]
    for env in envs:
        env.reset()
    assert torch.equal(envs[0].state["regions"], envs[1].state["regions"])
    for action in contract.actions_of(envs[0], 5):
        for env in envs:
            env.step(action)
    for name in FrankaWorld.moving:
        assert torch.allclose(envs[0].state[name], envs[1].state[name], atol=2e-3), name
