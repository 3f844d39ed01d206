"""The reaching Franka arm: its model against the kitchen's, its servos, what is seen, and that it can be moved."""

import mujoco
import numpy as np
import pytest
import torch

from cairngym.envs.layout import action_quantities, observation_quantities
from cairngym.envs.manipulation.franka_reach import GOAL_HIGH, GOAL_LOW, START_RANGE
from cairngym.envs.manipulation.franka_reach_model import (
    ACTUATORS,
    ARMATURE,
    JOINT_DAMPING,
    LEAD,
    LINKS,
    SERVO_DAMPING,
    TIMESTEP,
    franka_reach_model,
    franka_reach_spec,
)
from cairngym.envs.manipulation.franka_reach_oracle import FrankaReachOracle
from cairngym.envs.manipulation.franka_reach_task import make_franka_reach
from cairngym.envs.physics.models import package_file
from cairngym.envs.stl.franka_kinematics import FrankaKinematics
from cairngym.envs.stl.franka_model import HOME, JOINTS, KITCHEN, SPEEDS, franka_model

ID = "FrankaReach-v0"


def make(**options):
    return make_franka_reach(ID, driver_options={"threads": 1}, **options)


# The model ------------------------------------------------------------------------------------------------------------


def test_links_and_servos_are_the_kitchen_s():
    kitchen = mujoco.MjModel.from_xml_path(str(package_file(*KITCHEN)))
    ours = franka_reach_model()
    assert (ours.nq, ours.nv, ours.nu) == (7, 7, 7)
    for name in LINKS:
        assert ours.body(name).mass == kitchen.body(name).mass
        assert np.array_equal(ours.body(name).inertia, kitchen.body(name).inertia)
    for joint, actuator in zip(JOINTS, ACTUATORS, strict=True):
        assert np.array_equal(ours.joint(joint).range, kitchen.joint(joint).range)
        for field in ("gainprm", "forcerange", "ctrlrange"):
            assert np.array_equal(getattr(ours.actuator(actuator), field), getattr(kitchen.actuator(actuator), field))
        assert ours.actuator(actuator).biasprm[1] == kitchen.actuator(actuator).biasprm[1]


def test_a_target_ahead_moves_a_joint_at_half_of_its_greatest_speed():
    stiffness = franka_reach_model().actuator_gainprm[:, 0]
    speeds = stiffness * LEAD / (np.array(JOINT_DAMPING) + SERVO_DAMPING)
    assert speeds == pytest.approx(SPEEDS, rel=1e-3)


def test_the_arm_carries_its_own_weight():
    model = franka_reach_model()
    data = mujoco.MjData(model)
    data.qpos[:] = data.ctrl[:] = HOME
    mujoco.mj_step(model, data, nstep=400)
    assert np.abs(data.qpos - HOME).max() < 1e-9


@pytest.mark.parametrize("joint", [0, 6])
def test_a_joint_answers_as_an_oscillator_does(joint):
    spec = franka_reach_spec()
    spec.option.timestep = 1e-4
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = data.ctrl[:] = HOME
    mujoco.mj_forward(model, data)
    full = np.zeros((7, 7))
    mujoco.mj_fullM(model, data, full)
    for other in range(7):
        if other != joint:
            model.dof_armature[other] = 1e6  # held still
    mujoco.mj_setConst(model, mujoco.MjData(model))
    stiffness, damping = model.actuator_gainprm[joint, 0], JOINT_DAMPING[joint] + SERVO_DAMPING[joint]
    data.ctrl[joint] += 0.01
    steps = 500
    mujoco.mj_step(model, data, nstep=steps)
    motion = np.array([[0.0, 1.0], [-stiffness / full[joint, joint], -damping / full[joint, joint]]])
    values, vectors = np.linalg.eig(motion)
    state = (vectors * np.exp(values * steps * 1e-4)) @ np.linalg.solve(vectors, np.array([-0.01, 0.0]))
    assert data.qpos[joint] - HOME[joint] == pytest.approx(0.01 + state[0].real, rel=0.01)
    assert full[joint, joint] > ARMATURE


def test_inertia_shows_within_a_step():
    moved = []
    for scale in (1.0, 1.5):
        model = franka_reach_model()
        model.body_mass[:] *= scale
        model.body_inertia[:] *= scale
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        data.qpos[:] = data.ctrl[:] = HOME
        data.ctrl[1] += LEAD
        mujoco.mj_step(model, data, nstep=round(0.05 / TIMESTEP))
        moved.append(data.qpos[1] - HOME[1])
    assert 0.3 * LEAD < moved[1] < 0.95 * moved[0]


# Acting and seeing ----------------------------------------------------------------------------------------------------


def test_episodes_begin_at_rest_near_one_posture():
    env = make(num_envs=300, dtype=torch.float64)
    env.reset(seed=0)
    spread = env.state["joint_position"] - torch.tensor(HOME, dtype=torch.float64)
    assert 0.95 * START_RANGE < float(spread.abs().max()) <= START_RANGE
    assert not env.state["joint_velocity"].any()
    for axis in range(3):
        goals = env.state["goal"][:, axis]
        assert GOAL_LOW[axis] <= float(goals.min()) < GOAL_LOW[axis] + 0.05
        assert GOAL_HIGH[axis] - 0.05 < float(goals.max()) < GOAL_HIGH[axis]
    near = float((env.task.distance(env.state) <= env.task.threshold).float().mean())
    assert near < 0.05


def test_the_end_effector_is_where_the_joints_bring_it():
    env = make(num_envs=3, dtype=torch.float64)
    env.reset(seed=2)
    for _ in range(5):
        obs, *_ = env.step(torch.linspace(-1.0, 1.0, 21).view(3, 7))
    points = FrankaKinematics(franka_model()).points(env.state["joint_position"])
    assert torch.allclose(env.state["end_effector"], points[:, -1], atol=1e-9)
    assert torch.equal(obs["observation"][:, :7], env.state["joint_position"])
    assert torch.equal(obs["observation"][:, 7:], env.state["joint_velocity"])
    assert torch.equal(obs["achieved_goal"], env.state["end_effector"])


def test_numbers_have_names():
    env = make()
    assert [quantity.name for quantity in observation_quantities(env)["observation"]] == [
        "joint_position",
        "joint_velocity",
    ]
    assert [quantity.name for quantity in action_quantities(env)] == list(ACTUATORS)


def test_sensors_say_what_the_state_says():
    env = make(num_envs=2, dtype=torch.float64)
    env.reset(seed=1)
    env.step(torch.full((2, 7), 0.5))
    sensors, model = env.world.driver.view("sensordata"), env.world.model
    for field in ("joint_position", "joint_velocity"):
        addresses = [int(model.sensor(f"{field}_{k}").adr[0]) for k in range(1, 8)]
        assert torch.allclose(sensors[:, addresses], env.state[field], atol=1e-12), field
    tip = int(model.sensor("end_effector").adr[0])
    assert torch.allclose(sensors[:, tip : tip + 3], env.state["end_effector"], atol=1e-12)
    torque = int(model.sensor("joint_torque_1").adr[0])
    env.world.driver.accelerations = True
    env.world.driver.forward()
    ctrl = env.world.driver.view("ctrl")
    stiffness, damping = float(model.actuator_gainprm[0, 0]), SERVO_DAMPING[0]
    servo = stiffness * (ctrl[:, 0] - env.state["joint_position"][:, 0]) - damping * env.state["joint_velocity"][:, 0]
    assert torch.allclose(sensors[:, torque], servo, atol=1e-9)


def test_targets_lead_the_joints_and_keep_their_limits():
    env = make(num_envs=2, dtype=torch.float64)
    env.reset(seed=0)
    before = env.state["joint_position"]
    action = torch.tensor([[1.0, -1.0, 0.5, 0.0, 0.2, -0.2, 1.0], [1.0] * 7])
    env.step(action)
    assert torch.allclose(env.world.driver.view("ctrl"), before + LEAD * action.double())
    moved = (env.state["joint_position"] - before)[0]
    for joint in (0, 1, 6):
        assert 0.3 * LEAD < float(moved[joint] * action[0, joint]) < LEAD
    low, high = (torch.as_tensor(limit) for limit in env.world.model.jnt_range.T)
    for _ in range(80):
        env.step(torch.ones(2, 7))
        assert bool((env.state["joint_position"] <= high + 0.01).all())
    assert bool((env.world.driver.view("ctrl") <= high).all())
    assert bool((env.state["joint_position"] >= low - 0.01).all())


# Reaching -------------------------------------------------------------------------------------------------------------


def test_the_scripted_arm_reaches_every_goal():
    env = make(num_envs=64, autoreset_mode="Disabled")
    env.reset(seed=0)
    oracle = FrankaReachOracle()
    for _ in range(env.task.horizon):
        action = oracle(env.state)
        assert float(action.abs().max()) <= 1.0 + 1e-6
        _, reward, _, truncated, info = env.step(action.clamp(-1.0, 1.0))
    assert truncated.all()
    assert float(info["success"].float().mean()) >= 0.98
    assert torch.equal(reward, info["success"].float() - 1.0)


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="goals"):
        make(goal="random")
