"""The quadrotor: its physics against closed forms, how episodes begin, what is seen, and that it can be flown."""

import itertools
import math

import mujoco
import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.layout import action_quantities, observation_quantities
from cairngym.envs.navigation.quadrotor import GOAL_HIGH, GOAL_LOW, hovering, tilted
from cairngym.envs.navigation.quadrotor_model import (
    ACTUATORS,
    AXES,
    DRAG,
    GRAVITY,
    HOVER,
    INERTIA,
    MASS,
    MAX_RATES,
    MAX_THRUST,
    MOTOR_LAG,
    RATE_GAINS,
    REACTION,
    ROTOR_PLACE,
    SLIDES,
    TIMESTEP,
    quadrotor_model,
    quadrotor_spec,
    torque_limits,
)
from cairngym.envs.navigation.quadrotor_oracle import fly, in_body
from cairngym.envs.navigation.quadrotor_task import make_quadrotor

ID = "Quadrotor-v0"


def make(**options):
    return make_quadrotor(ID, driver_options={"threads": 1}, **options)


@pytest.fixture
def flight():
    """A model and data at hover."""
    model = quadrotor_model()
    return model, hovering(model)


# Physics --------------------------------------------------------------------------------------------------------------


def test_hover_thrust_carries_the_weight(flight):
    model, data = flight
    mujoco.mj_step(model, data, nstep=400)
    assert np.abs(data.qpos[:3]).max() < 1e-9
    assert np.allclose(data.sensor("accelerometer").data, (0.0, 0.0, GRAVITY), atol=1e-6)


def test_free_fall_against_linear_drag(flight):
    model, data = flight
    data.ctrl[0] = data.act[0] = 0.0
    steps = 60
    mujoco.mj_step(model, data, nstep=steps)
    rate, time = DRAG / MASS, steps * TIMESTEP
    speed = GRAVITY / rate * (1.0 - math.exp(-rate * time))
    assert data.qvel[2] == pytest.approx(-speed, rel=2e-3)
    assert data.qpos[2] == pytest.approx(-(GRAVITY * time - speed) / rate, rel=0.02)


def test_thrust_follows_its_command_with_a_lag(flight):
    model, data = flight
    data.ctrl[0] = 0.5
    mujoco.mj_step(model, data, nstep=6)
    left = math.exp(-6 * TIMESTEP / MOTOR_LAG)
    assert data.act[0] == pytest.approx(0.5 + (HOVER - 0.5) * left, rel=1e-9)
    data.ctrl[0] = 2.0
    mujoco.mj_step(model, data, nstep=100)
    assert data.act[0] == pytest.approx(MAX_THRUST, rel=1e-3)


@pytest.mark.parametrize("axis", range(3))
def test_body_rates_come_to_their_commands(flight, axis):
    model, data = flight
    data.ctrl[1 + axis] = data.act[1 + axis] = MAX_RATES[axis]  # past the lag of the command
    lag = INERTIA[axis] / RATE_GAINS[axis]
    steps = round(lag / TIMESTEP)
    mujoco.mj_step(model, data, nstep=steps)
    discrete = 1.0 - (1.0 + TIMESTEP / lag) ** -steps  # the implicit integrator's own solution
    assert data.qvel[3 + axis] == pytest.approx(MAX_RATES[axis] * discrete, rel=1e-3)
    mujoco.mj_step(model, data, nstep=200)
    assert data.qvel[3 + axis] == pytest.approx(MAX_RATES[axis], rel=1e-3)
    assert np.abs(np.delete(data.qvel[3:], axis)).max() < 0.1


def test_tilting_pushes_the_right_way(flight):
    model, start = flight
    pushed = {}
    for axis, name in enumerate(AXES):
        data = hovering(model)
        data.ctrl[1 + axis] = 0.5
        mujoco.mj_step(model, data, nstep=40)
        pushed[name] = data.qvel[:2].copy()
    assert pushed["roll"][1] < -0.02  # left wing up: to the right
    assert abs(pushed["roll"][0]) < 1e-3
    assert pushed["pitch"][0] > 0.02  # nose down: ahead
    assert abs(pushed["pitch"][1]) < 1e-3
    assert np.abs(pushed["yaw"]).max() < 1e-6
    assert start.qpos[3] == 1.0


def test_torque_limits_are_what_four_rotors_give():
    places = np.array([(1, -1), (-1, -1), (-1, 1), (1, 1)]) * ROTOR_PLACE
    spin = np.array((1, -1, 1, -1))
    thrusts = [t for t in itertools.product((0.0, MAX_THRUST / 4), repeat=4) if sum(t) == pytest.approx(MAX_THRUST / 2)]
    torques = np.array([(places[:, 1] @ t, -places[:, 0] @ t, REACTION * spin @ t) for t in thrusts])
    assert torque_limits() == pytest.approx(torques.max(0), rel=1e-9)
    model = quadrotor_model()
    assert np.allclose(model.actuator_forcerange[1:, 1], torque_limits())
    assert [model.actuator(k).name for k in range(model.nu)] == list(ACTUATORS)


def test_slides_and_a_ball_move_like_a_free_joint():
    ours, theirs = quadrotor_spec(), quadrotor_spec()
    for joint in ours.joints:
        joint.damping = np.zeros(3)
    for joint in list(theirs.joints):
        theirs.delete(joint)
    theirs.body("quadrotor").add_freejoint(name="root")
    finals = []
    for spec in (ours, theirs):
        model = spec.compile()
        model.opt.timestep = 1e-4
        data = mujoco.MjData(model)
        data.qvel[:] = (0.3, -0.2, 0.1, 2.0, -1.0, 3.0)
        data.ctrl[:] = (0.3, 1.0, -2.0, 0.5)
        start = data.qpos[:3].copy()
        mujoco.mj_step(model, data, nstep=3000)
        finals.append(np.concatenate((data.qpos[:3] - start, data.qpos[3:], data.qvel)))
    assert np.abs(finals[0] - finals[1]).max() < 1e-3
    assert np.abs(finals[0]).max() > 0.5


def test_falls_end_on_the_floor():
    env = make(num_envs=64, horizon=200)
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    action = torch.zeros(64, 4)
    for step in range(200):
        if step % 10 == 0:
            action = torch.randint(-1, 2, (64, 4), generator=generator).float()
        action[:, 0] = -1.0
        final = env.step(action)[4]
        assert not final["physics_error"].any()
        assert float(final["final_state"]["position"][:, 2].min()) > -0.1
    assert float(final["final_state"]["position"][:, 2].median()) < 0.1
    assert float(final["final_state"]["rates"].abs().max()) < 5.0


@pytest.mark.parametrize(
    ("field", "scale", "acceleration"), [("body_mass", 1.25, -0.2), ("actuator_gainprm", 0.9, -0.1)]
)
def test_mass_and_gain_matter(field, scale, acceleration):
    env = make(num_envs=2, dtype=torch.float64)
    env.reset(seed=0)
    values = env.world.driver.field(field)
    row = 1 if field == "body_mass" else 0
    values[1, row] *= scale
    env.world.driver.set_const()
    for view, level in (("qpos", (0, 0, 0, 1, 0, 0, 0)), ("qvel", (0,) * 6)):
        env.world.driver.view(view).copy_(torch.tensor([level], dtype=torch.float64))
    env.step(torch.zeros(2, 4))
    velocity = env.state["velocity"][:, 2]
    assert float(velocity[0]) == pytest.approx(0.0, abs=1e-9)
    assert float(velocity[1]) == pytest.approx(acceleration * GRAVITY * 0.02, rel=0.02)


def test_a_shifted_centre_of_mass_tilts_it():
    env = make(num_envs=2, dtype=torch.float64)
    env.reset(seed=0)
    driver, shift = env.world.driver, 0.001
    driver.field("body_ipos")[1, 1, 0] = shift
    driver.set_const()
    driver.view("qpos").copy_(torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]], dtype=torch.float64))
    for _ in range(25):
        env.step(torch.zeros(2, 4))
    rates = env.state["rates"]
    assert float(rates[0].abs().max()) < 1e-9
    # The servo holds a pitch rate at which its torque is the weight's.
    assert float(rates[1, 1]) == pytest.approx(HOVER * shift / RATE_GAINS[1], rel=0.02)


# Beginning and seeing -------------------------------------------------------------------------------------------------


def test_episodes_begin_at_rest_near_the_middle():
    env = make(num_envs=500, dtype=torch.float64)
    env.reset(seed=0)
    state = env.state
    offset = state["position"] - torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert 0.19 < float(offset.abs().max()) <= 0.2
    assert not state["velocity"].any()
    assert not state["rates"].any()
    w, x, y, z = state["attitude"].unbind(-1)
    tilt = torch.acos(1.0 - 2.0 * (x * x + y * y))
    assert 0.28 < float(tilt.max()) <= 0.3
    yaw = torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    assert 0.4 < float(yaw.abs().max()) < 0.6
    for axis in range(3):
        goals = state["goal"][:, axis]
        assert GOAL_LOW[axis] <= float(goals.min()) < GOAL_LOW[axis] + 0.05
        assert GOAL_HIGH[axis] - 0.05 < float(goals.max()) < GOAL_HIGH[axis]


def test_tilts_turn_the_thrust_by_their_angle():
    tilt, yaw = torch.tensor([0.3, 0.2]).double(), torch.tensor([0.0, 1.0]).double()
    quaternion = tilted(torch.tensor([0.0, math.pi / 2]).double(), tilt, yaw)
    rotation = np.zeros((2, 9))
    for matrix, q in zip(rotation, quaternion.numpy(), strict=True):
        mujoco.mju_quat2Mat(matrix, q)
    assert np.allclose(rotation[0, 2::3], (0.0, -math.sin(0.3), math.cos(0.3)))  # about the axis ahead
    ahead = math.sin(0.2) * np.array((math.cos(1.0), math.sin(1.0)))
    assert np.allclose(rotation[1, 2::3], (*ahead, math.cos(0.2)))  # about the axis to the left, after the yaw


def test_observations_hold_the_rotation():
    env = make(num_envs=3, dtype=torch.float64)
    obs, _ = env.reset(seed=1)
    for _ in range(5):
        obs, *_ = env.step(torch.tensor([[0.2, 0.5, -0.3, 1.0]] * 3))
    for row, state in enumerate(env.state["attitude"].numpy()):
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, state)
        assert np.allclose(obs["observation"][row, 3:9], np.concatenate((matrix[::3], matrix[2::3])), atol=1e-12)
    assert torch.equal(obs["observation"][:, :3], env.state["velocity"])
    assert torch.equal(obs["observation"][:, 9:], env.state["rates"])
    assert torch.equal(obs["achieved_goal"], env.state["position"])


def test_numbers_have_names():
    env = make()
    assert [quantity.name for quantity in observation_quantities(env)["observation"]] == [
        "velocity",
        "nose",
        "up",
        "rates",
    ]
    assert [quantity.name for quantity in action_quantities(env)] == list(ACTUATORS)


def test_the_state_is_what_the_sensors_say():
    env = make(num_envs=2, dtype=torch.float64)
    env.reset(seed=1)
    for _ in range(10):
        env.step(torch.tensor([[0.2, 0.5, -0.3, 1.0]] * 2))
    env.world.driver.forward()
    sensors, model = env.world.driver.view("sensordata"), env.world.model
    for name, field in (("position",) * 2, ("attitude",) * 2, ("velocity",) * 2, ("gyro", "rates")):
        address, size = int(model.sensor(name).adr[0]), int(model.sensor(name).dim[0])
        assert torch.allclose(sensors[:, address : address + size], env.state[field], atol=1e-9), name


def test_goals_of_evaluation_come_around():
    env = make(num_envs=6, goals="evaluation")
    first, _ = env.reset(seed=4)
    goals = first["desired_goal"].clone()
    assert torch.equal(goals[0], goals[5])
    env.reset()
    assert torch.equal(env.state["goal"][:4], goals[1:5])


def test_bad_options_are_refused():
    with pytest.raises(TypeError, match="terminate_on_success"):
        make(terminate_at_success=True)
    with pytest.raises(UnknownNameError, match="joystick"):
        make(camera="joystick")
    assert SLIDES == ("x", "y", "z")


# Flying ---------------------------------------------------------------------------------------------------------------


def test_the_scripted_pilot_hovers_at_the_goal():
    env = make(num_envs=128, autoreset_mode="Disabled")
    env.reset(seed=0)
    for _ in range(env.task.horizon):
        action = fly(env.state)
        assert float(action.abs().max()) <= 1.0
        _, reward, terminated, truncated, info = env.step(action)
    assert not terminated.any()
    assert truncated.all()
    assert float(info["success"].float().mean()) >= 0.99
    assert torch.equal(reward, info["success"].float() - 1.0)
    assert float(env.task.distance(env.state).median()) < 0.05


def test_doing_nothing_drifts_away():
    env = make(num_envs=128, autoreset_mode="Disabled")
    env.reset(seed=0)
    for _ in range(env.task.horizon):
        info = env.step(torch.zeros(128, 4))[4]
    assert float(info["success"].float().mean()) < 0.1


def test_the_body_frame_is_the_inverse_rotation():
    quaternion = torch.nn.functional.normalize(torch.tensor([[0.9, 0.2, -0.3, 0.4]]).double())
    vector, rotated = np.array((0.5, -1.0, 2.0)), np.zeros(3)
    mujoco.mju_rotVecQuat(rotated, vector, quaternion[0].numpy())
    back = in_body(quaternion, tuple(torch.tensor([part]) for part in rotated))
    assert np.allclose([float(part) for part in back], vector)
