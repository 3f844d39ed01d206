"""The differential drive: rolling against closed forms, how episodes begin, what is seen, and that it can be driven."""

import math

import mujoco
import numpy as np
import pytest
import torch

from cairngym.envs.layout import action_quantities, observation_quantities
from cairngym.envs.navigation.differential_drive import GOAL_RANGE, settled
from cairngym.envs.navigation.differential_drive_model import (
    ARMATURE,
    CASTER_PLACE,
    CHASSIS_MASS,
    DAMPING,
    FRICTION,
    MAX_WHEEL_SPEED,
    SERVO_GAIN,
    TIMESTEP,
    TRACK,
    WHEEL_MASS,
    WHEEL_RADIUS,
    WHEELS,
    differential_drive_model,
)
from cairngym.envs.navigation.differential_drive_oracle import drive
from cairngym.envs.navigation.differential_drive_task import make_differential_drive

ID = "DifferentialDrive-v0"


def make(**options):
    return make_differential_drive(ID, driver_options={"threads": 1}, **options)


@pytest.fixture
def robot():
    """A model and data at rest on the floor."""
    model = differential_drive_model()
    return model, settled(model)


def heading(data):
    """Its heading, of data whose robot stands upright, rad."""
    return 2.0 * math.atan2(data.qpos[6], data.qpos[3])


# Physics --------------------------------------------------------------------------------------------------------------


def test_it_rests_on_two_tires_and_the_caster(robot):
    model, data = robot
    mujoco.mj_step(model, data, nstep=200)
    assert np.abs(data.qvel).max() < 1e-4
    assert np.abs(data.qpos[:2]).max() < 1e-4
    touching = {model.geom(max(pair)).name for pair in data.contact.geom}
    assert touching == {"left_tire", "right_tire", "caster"}
    forces = np.zeros((data.ncon, 6))
    for k, force in enumerate(forces):
        mujoco.mj_contactForce(model, data, k, force)
    weight = (CHASSIS_MASS + 2 * WHEEL_MASS) * 9.81
    assert forces[:, 0].sum() == pytest.approx(weight, rel=1e-3)
    caster = [k for k in range(data.ncon) if model.geom(max(data.contact.geom[k])).name == "caster"]
    share = CHASSIS_MASS * 9.81 * 0.03 / CASTER_PLACE  # torques about the axle
    assert forces[caster, 0].sum() == pytest.approx(share, rel=0.01)
    assert not forces[caster, 1:].any()


def test_wheels_come_to_the_speed_the_servo_leaves(robot):
    model, data = robot
    data.ctrl[:] = 4.0
    mujoco.mj_step(model, data, nstep=400)
    speed = (SERVO_GAIN * 4.0 - FRICTION) / (SERVO_GAIN + DAMPING)
    assert data.qvel[6:] == pytest.approx([speed, speed], rel=1e-3)


def test_wheels_speed_up_with_the_inertia_of_robot_and_gears(robot):
    model, data = robot
    data.ctrl[:] = 4.0
    spin = WHEEL_MASS * WHEEL_RADIUS**2 / 2
    inertia = ARMATURE + spin + (CHASSIS_MASS + 2 * WHEEL_MASS) * WHEEL_RADIUS**2 / 2
    rate = (SERVO_GAIN + DAMPING) / inertia
    mujoco.mj_step(model, data, nstep=10)
    speed = (SERVO_GAIN * 4.0 - FRICTION) / (SERVO_GAIN + DAMPING) * (1.0 - math.exp(-rate * 10 * TIMESTEP))
    assert data.qvel[6] == pytest.approx(speed, rel=0.06)


def test_it_rolls_without_slip(robot):
    model, data = robot
    data.ctrl[:] = 4.0
    mujoco.mj_step(model, data, nstep=600)
    assert data.qpos[7] > 10.0
    assert data.qpos[0] == pytest.approx(data.qpos[7] * WHEEL_RADIUS, rel=5e-3)
    assert data.qpos[7] == pytest.approx(data.qpos[8], abs=1e-6)
    assert abs(data.qpos[1]) < 1e-6
    assert data.qvel[0] == pytest.approx(data.qvel[6] * WHEEL_RADIUS, rel=5e-3)


def test_it_turns_by_the_difference_of_its_wheels(robot):
    model, data = robot
    data.ctrl[:] = (-3.0, 3.0)
    mujoco.mj_step(model, data, nstep=200)
    turned = (data.qpos[8] - data.qpos[7]) * WHEEL_RADIUS / TRACK
    assert 0.5 < turned < math.pi
    assert heading(data) == pytest.approx(turned, rel=0.01)
    assert np.abs(data.qpos[:2]).max() < 2e-3


def test_it_drives_in_circles(robot):
    model, data = robot
    data.ctrl[:] = (2.0, 5.0)
    mujoco.mj_step(model, data, nstep=100)
    angles, start, facing = data.qpos[7:].copy(), data.qpos[:2].copy(), heading(data)
    mujoco.mj_step(model, data, nstep=200)
    left, right = (data.qpos[7:] - angles) * WHEEL_RADIUS
    radius, turn = TRACK / 2 * (left + right) / (right - left), (right - left) / TRACK
    chord = 2.0 * radius * math.sin(turn / 2)
    direction = facing + turn / 2
    expected = start + chord * np.array((math.cos(direction), math.sin(direction)))
    assert np.linalg.norm(data.qpos[:2] - expected) < 0.01 * chord


def test_slippery_tires_slip(robot):
    model, data = robot
    for name in ("left_tire", "right_tire"):
        model.geom(name).friction[0] = 0.001
    data.ctrl[:] = 4.0
    mujoco.mj_step(model, data, nstep=200)
    assert data.qpos[0] < 0.5 * data.qpos[7] * WHEEL_RADIUS


# Beginning and seeing -------------------------------------------------------------------------------------------------


def test_episodes_begin_at_rest_with_any_heading():
    env = make(num_envs=500, dtype=torch.float64)
    env.reset(seed=0)
    state = env.state
    assert 0.09 < float(state["position"].abs().max()) <= 0.1
    assert float(state["heading"].abs().max()) > 3.1
    assert abs(float(torch.cos(state["heading"]).mean())) < 0.1
    assert 0.68 < float(state["goal"].abs().max()) <= GOAL_RANGE
    for name in ("velocity", "yaw_rate", "wheel_angle", "wheel_speed"):
        assert not state[name].any(), name


def test_it_stays_where_it_is_put():
    env = make(num_envs=8, dtype=torch.float64)
    env.reset(seed=0)
    before = {name: env.state[name] for name in ("position", "heading")}
    for _ in range(20):
        env.step(torch.zeros(8, 2))
    for name, value in before.items():
        assert torch.allclose(env.state[name], value, atol=1e-3), name


def test_actions_are_shares_of_the_greatest_speed():
    env = make(num_envs=2)
    env.reset(seed=0)
    for _ in range(10):
        env.step(torch.tensor([[1.0, 1.0], [-0.5, 0.5]]))
    speed = env.state["wheel_speed"]
    assert torch.allclose(speed[0], torch.full((2,), MAX_WHEEL_SPEED), rtol=0.08)
    assert float(env.state["velocity"][0].norm()) == pytest.approx(0.22, rel=0.1)
    assert float(speed[1, 0]) == pytest.approx(-float(speed[1, 1]), rel=0.02)
    assert float(env.state["yaw_rate"][1]) == pytest.approx(float(speed[1, 1]) * 2 * WHEEL_RADIUS / TRACK, rel=0.03)


def test_numbers_have_names():
    env = make()
    assert [quantity.name for quantity in observation_quantities(env)["observation"]] == [
        "cos(heading)",
        "sin(heading)",
        "velocity",
        "yaw_rate",
        "wheel_speed",
    ]
    assert [quantity.name for quantity in action_quantities(env)] == list(WHEELS)


def test_observations_and_sensors_are_the_state():
    env = make(num_envs=2, dtype=torch.float64)
    env.reset(seed=1)
    for _ in range(5):
        obs, *_ = env.step(torch.tensor([[0.9, 0.4]] * 2))
    state = env.state
    seen = (state["heading"].cos(), state["heading"].sin(), *state["velocity"].T, state["yaw_rate"])
    assert torch.allclose(obs["observation"], torch.stack((*seen, *state["wheel_speed"].T), dim=1))
    assert torch.equal(obs["achieved_goal"], state["position"])
    env.world.driver.forward()
    sensors, model = env.world.driver.view("sensordata"), env.world.model
    for k, name in enumerate(WHEELS):
        for kind in ("angle", "speed"):
            address = int(model.sensor(f"{name}_{kind}").adr[0])
            assert torch.allclose(sensors[:, address], state[f"wheel_{kind}"][:, k])
    gyro = int(model.sensor("gyro").adr[0])
    assert torch.allclose(sensors[:, gyro + 2], state["yaw_rate"], atol=1e-6)


# Driving --------------------------------------------------------------------------------------------------------------


def test_the_scripted_driver_stops_at_the_goal():
    env = make(num_envs=64, autoreset_mode="Disabled")
    env.reset(seed=0)
    for _ in range(env.task.horizon):
        action = drive(env.state)
        assert float(action.abs().max()) <= 1.0
        _, reward, _, truncated, info = env.step(action)
    assert truncated.all()
    assert float(info["success"].float().mean()) >= 0.98
    assert torch.equal(reward, info["success"].float() - 1.0)
    assert float(env.state["velocity"].norm(dim=1).median()) < 0.02


def test_goals_of_evaluation_do_not_follow_the_seed():
    goals = []
    for seed in (0, 1):
        env = make(num_envs=5, goals="evaluation")
        env.reset(seed=seed)
        goals.append(env.state["goal"])
    assert torch.equal(*goals)
    assert len(goals[0].unique(dim=0)) == 5


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="horizon"):
        make(horison=10)
