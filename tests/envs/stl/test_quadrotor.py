"""The quadrotor: equations of motion by rotation matrices, hovering, limits, and what every arena must do."""

import math

import arena_checks
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

from cairngym.envs.stl.quadrotor import QuadrotorWorld

CHECKS = [check for name, check in vars(arena_checks).items() if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS)
def test_arena(check):
    check(QuadrotorWorld)


def flying(world, seed=0):
    """A state well inside of all limits, in motion."""
    draw = torch.rand(world.num_envs, 9, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0
    return {
        "position": world.state["position"], "velocity": 2.0 * draw[:, :3],
        "attitude": torch.stack((0.4 * draw[:, 3], 0.4 * draw[:, 4], 3.0 * draw[:, 5]), dim=-1), "rates": draw[:, 6:],
    }  # fmt: skip


def derivative(_, y, thrust, tilts, yaw_rate):
    """Newton and Euler with a rotation matrix: position, velocity, matrix, rates; the autopilot asks for the rates."""
    velocity, turn, rates = y[3:6], y[6:15].reshape(3, 3), y[15:]
    _, pitch, roll = Rotation.from_matrix(turn).as_euler("ZYX")
    commands = np.append(np.clip(5.0 * (tilts - np.array([roll, pitch])), -3.0, 3.0), yaw_rate)
    cross = np.array([[0, -rates[2], rates[1]], [rates[2], 0, -rates[0]], [-rates[1], rates[0], 0]])
    force = thrust * turn[:, 2] - np.array([0.0, 0.0, 9.81]) - 0.3 * velocity
    return np.concatenate((velocity, force, (turn @ cross).ravel(), (commands - rates) / 0.1))


def after(world, state, action, steps):
    """The state after 0.1 s in `steps` steps."""
    world.time_step = 0.1 / steps
    for _ in range(steps):
        state = world.dynamics(state, action)
    return state


def solved(state, action, e):
    """Position, velocity, angles and rates of env e after 0.1 s, by an adaptive solver."""
    a = action[e].clamp(-1.0, 1.0).numpy()
    roll, pitch, yaw = state["attitude"][e].tolist()
    turn = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix()
    parts = (state["position"][e], state["velocity"][e], turn.ravel(), state["rates"][e])
    begin = np.concatenate([np.asarray(part, dtype=float) for part in parts])
    controls = (9.81 * (1 + a[0] / 2), math.pi / 4 * a[1:3], 3.0 * a[3])
    y = solve_ivp(derivative, (0.0, 0.1), begin, args=controls, rtol=1e-10, atol=1e-10).y[:, -1]
    angles = Rotation.from_matrix(y[6:15].reshape(3, 3)).as_euler("ZYX")[::-1]
    return {"position": y[:3], "velocity": y[3:6], "attitude": angles, "rates": y[15:]}


@pytest.mark.parametrize(
    ("steps", "bounds"),
    [
        # The limit of the rates asked for has a corner, at which no scheme keeps its order.
        (32, {"position": 1e-7, "velocity": 1e-6, "attitude": 2e-6, "rates": 2e-5}),
        (1, {"position": 2e-3, "velocity": 2e-2, "attitude": 1e-2, "rates": 5e-2}),
    ],
)
def test_steps_solve_the_equations_of_motion(steps, bounds):
    world = arena_checks.begun(QuadrotorWorld, 16)
    state = {name: value.double() for name, value in flying(world).items()}
    action = arena_checks.actions(world, 1)[0].double()
    got = after(world, state, action, steps)
    for e in range(16):
        for name, want in solved(state, action, e).items():
            np.testing.assert_allclose(got[name][e].numpy(), want, rtol=0.0, atol=bounds[name], err_msg=name)


def test_errors_of_a_step_shrink_as_runge_kutta_says():
    world = arena_checks.begun(QuadrotorWorld, 32)
    state = {name: value.double() for name, value in flying(world).items()}
    action = arena_checks.actions(world, 1)[0].double()
    exact = after(world, state, action, 64)["velocity"]
    coarse, halved = (float((after(world, state, action, n)["velocity"] - exact).abs().max()) for n in (2, 4))
    assert 10.0 < coarse / halved < 25.0, "not of fourth order"


def test_action_zero_hovers():
    world = arena_checks.begun(QuadrotorWorld, 3)
    start = world.state["position"]
    for _ in range(100):
        world.advance(torch.zeros(3, 4))
    torch.testing.assert_close(world.state["position"], start, atol=1e-3, rtol=0.0)


def test_it_falls_to_the_floor_and_takes_off_again():
    world = arena_checks.begun(QuadrotorWorld, 2)
    for _ in range(30):
        world.advance(torch.tensor([[-1.0, 0.0, 0.0, 0.0]]).expand(2, -1))
    assert (world.state["position"][:, 2] == 0.0).all()
    assert (world.state["velocity"] == 0.0).all()
    for _ in range(10):
        world.advance(torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(2, -1))
    assert (world.state["position"][:, 2] > 1.0).all()


def test_it_tilts_as_commanded_and_no_further():
    world = arena_checks.begun(QuadrotorWorld, 2)
    for _ in range(15):
        world.advance(torch.tensor([[0.0, 0.5, -0.25, 0.0], [0.0, 1.0, -1.0, 0.0]]))
        assert (world.state["attitude"][:, :2].abs() <= math.pi / 4 + 1e-6).all()
    asked = torch.tensor([[0.5, -0.25], [1.0, -1.0]]) * math.pi / 4
    torch.testing.assert_close(world.state["attitude"][:, :2], asked, atol=5e-3, rtol=0.0)
    for _ in range(15):
        world.advance(torch.zeros(2, 4))
    torch.testing.assert_close(world.state["attitude"][:, :2], torch.zeros(2, 2), atol=5e-3, rtol=0.0)


def test_it_turns_at_the_yaw_rate_commanded():
    world = arena_checks.begun(QuadrotorWorld, 1)
    before = None
    for _ in range(12):
        before = float(world.state["attitude"][0, 2])
        world.advance(torch.tensor([[0.0, 0.0, 0.0, 0.5]]))
    turned = (float(world.state["attitude"][0, 2]) - before + math.pi) % (2 * math.pi) - math.pi
    assert turned == pytest.approx(1.5 * 0.1, abs=1e-3)


def test_targets_are_in_the_frame_of_the_yaw():
    world = arena_checks.begun(QuadrotorWorld, 1)
    state = dict(world.state)
    state["position"], state["attitude"] = torch.zeros(1, 3), torch.tensor([[0.3, 0.2, math.pi / 2]])
    state["regions"] = torch.tensor([[[0.0, 2.0, 1.0, 0.6]] * 2])
    torch.testing.assert_close(world.predicates["in_a"].target(state), torch.tensor([[0.5, 0.0, 0.25]]))
