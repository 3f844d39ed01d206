"""The unicycle: exact arcs, walls, frames, and what every arena must do."""

import math

import arena_checks
import pytest
import torch
from scipy.integrate import solve_ivp

from cairngym.envs.stl.unicycle import UnicycleWorld, wrapped

CHECKS = [check for name, check in vars(arena_checks).items() if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS)
def test_arena(check):
    check(UnicycleWorld)


def motion(_, y, speed, turn):
    """The unicycle's equations."""
    return speed * math.cos(y[2]), speed * math.sin(y[2]), turn


def test_steps_solve_the_equations_of_motion():
    world = arena_checks.begun(UnicycleWorld, 16)
    before, action = world.state, arena_checks.actions(world, 1)[0]
    world.advance(action)
    for e in range(16):
        v, w = action[e].double().clamp(-1.0, 1.0).mul(torch.tensor([1.0, 3.0])).tolist()
        begin = [*before["position"][e].tolist(), before["heading"][e].item()]
        x, y, heading = solve_ivp(motion, (0.0, 0.1), begin, args=(v, w), rtol=1e-10).y[:, -1]
        assert world.state["position"][e].tolist() == pytest.approx([x, y], abs=2e-6)
        assert math.remainder(world.state["heading"][e].item() - heading, math.tau) == pytest.approx(0.0, abs=2e-6)


def test_a_full_circle_comes_back():
    world = arena_checks.begun(UnicycleWorld, 3)
    start = world.state
    turns = torch.tensor([[0.5, math.tau / 4.0 / 3.0]]).expand(3, -1)  # a quarter of a turn each second
    for _ in range(40):
        world.advance(turns)
    torch.testing.assert_close(world.state["position"], start["position"], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(wrapped(world.state["heading"] - start["heading"]), torch.zeros(3), atol=1e-5, rtol=0.0)


def test_it_stops_at_the_sides():
    world = arena_checks.begun(UnicycleWorld, 8)
    for _ in range(80):
        world.advance(torch.tensor([[1.0, 0.0]]).expand(8, -1))
    assert (world.state["position"].abs().amax(-1) == 2.0).all()


def test_targets_lie_ahead_and_to_the_left():
    world = arena_checks.begun(UnicycleWorld, 2)
    state = dict(world.state)
    state["position"], state["heading"] = torch.zeros(2, 2), torch.tensor([math.pi / 2, 0.0])
    state["regions"] = torch.tensor([[[0.0, 1.0, 0.3]] * 2, [[0.0, 1.0, 0.3]] * 2])
    target = world.predicates["in_a"].target(state)
    torch.testing.assert_close(target, torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
