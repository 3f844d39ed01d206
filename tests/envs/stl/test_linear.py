"""The point: closed form, walls, and what every arena must do."""

import arena_checks
import pytest
import torch

from cairngym.envs.stl.linear import LinearWorld

CHECKS = [check for name, check in vars(arena_checks).items() if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS)
def test_arena(check):
    check(LinearWorld)


def test_it_moves_by_its_velocity():
    world = arena_checks.begun(LinearWorld, 4)
    start = world.state["position"]
    action = torch.tensor([[1.0, 0.0], [-0.5, 0.25], [0.0, -1.0], [2.0, -3.0]])
    for _ in range(7):
        world.advance(action)
    want = start + 0.7 * torch.tensor([[1.0, 0.0], [-0.5, 0.25], [0.0, -1.0], [1.0, -1.0]])
    torch.testing.assert_close(world.state["position"], want)


def test_it_stops_at_the_sides_and_slides_along_them():
    world = arena_checks.begun(LinearWorld, 1)
    for _ in range(60):
        world.advance(torch.tensor([[1.0, 0.1]]))
    x, y = world.state["position"][0].tolist()
    assert x == 2.0
    assert y == pytest.approx(world.layouts.start[0, 1].item() + 0.6, abs=1e-5)
