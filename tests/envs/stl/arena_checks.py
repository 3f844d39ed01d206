"""What every arena's world must do, as checks that its test file calls."""

import math

import torch

from cairngym.envs.episodes import Episodes
from cairngym.envs.stl.measures import evaluate
from cairngym.envs.stl.navigate import NavigateTask
from cairngym.envs.stl.templates import TEMPLATES


def begun(world_type, num_envs=5, name="ReachAvoid", layout=None, seed=3):
    """A world at the start of its first episodes."""
    world = world_type(TEMPLATES[name], 100, num_envs, "cpu", layout=layout)
    lives = world.episodes = Episodes(num_envs, torch.device("cpu"), seed)
    world.begin(torch.ones(num_envs, dtype=torch.bool), lives)
    return world


def actions(world, steps, seed=0):
    """Random actions `(steps, N, A)` of up to twice the allowed size; env i's do not depend on N."""
    columns = []
    for i in range(world.num_envs):
        generator = torch.Generator().manual_seed(seed + i)
        columns.append(torch.rand(steps, world.action_size, generator=generator) * 4.0 - 2.0)
    return torch.stack(columns, dim=1)


def check_rows_do_not_depend_on_the_batch(world_type):
    """Moves, margins and observations of env i are the same bits among 1, 3, 19 and 64."""
    seen = {}
    for count in (1, 3, 19, 64):
        world = begun(world_type, count)
        names, task = tuple(world.predicates), NavigateTask(world, 100)
        for action in actions(world, 12):
            world.advance(action)
        state = world.state
        features = [measure.target(state) for measure in world.predicates.values() if measure.target]
        seen[count] = (*state.values(), evaluate(world.predicates, names, state), task.observe(state), *features)
    for count, values in seen.items():
        assert all(torch.equal(a[:count], b) for a, b in zip(seen[64], values, strict=True)), count


def check_margins_are_depths(world_type):
    """Margins are radius minus distance, by plain Python."""
    world = begun(world_type, 6, "Branch")
    state = {name: value.double().tolist() for name, value in world.state.items()}
    names = [*(f"in_{name}" for name in "abcd"), "in_obstacle"]
    margins = evaluate(world.predicates, names, world.state)
    for e in range(6):
        here = state["position"][e]
        depths = [circle[-1] - math.dist(circle[:-1], here) for circle in state["regions"][e]]
        depths.append(max(circle[-1] - math.dist(circle[:-1], here) for circle in state["obstacles"][e]))
        assert torch.allclose(margins[e].double(), torch.tensor(depths, dtype=torch.float64), atol=1e-6)


def check_gradients(world_type):
    """Autograd through a step and a margin agrees with finite differences."""
    world = begun(world_type, 3)
    state = {name: value.double() for name, value in world.state.items()}
    still = {name: value for name, value in state.items() if name in ("regions", "obstacles")}
    moving = [name for name in state if name not in still]

    def depth(action, *fields):
        given = dict(zip(moving, fields, strict=True))
        for _ in range(3):
            given = world.dynamics(given, action)
        return world.predicates["in_a"].margin({**still, **given}), *given.values()

    action = actions(world, 1)[0].double().clamp(-0.8, 0.8)
    inputs = [action, *(state[name].clone() for name in moving)]
    assert torch.autograd.gradcheck(depth, [value.requires_grad_() for value in inputs], eps=1e-6, atol=1e-6)


def check_state_matches_its_description(world_type):
    """Shapes, types, units and sentences of every field; nothing is overwritten."""
    world = begun(world_type)
    before = dict(world.state)
    copies = {name: value.clone() for name, value in before.items()}
    for action in actions(world, 5):
        world.advance(action)
    mask = torch.tensor([True, False, True, False, False])
    moved = world.state["position"].clone()
    world.episodes.next(mask)
    world.begin(mask, world.episodes)
    assert torch.equal(world.state["position"][~mask], moved[~mask])
    assert torch.equal(world.state["position"][mask], world.layouts.start[mask])
    assert set(world.state) == set(world.state_spec)
    for name, field in world.state_spec.items():
        assert tuple(world.state[name].shape) == (5, *field.shape), name
        assert world.state[name].dtype is field.dtype, name
        assert field.unit, name
        assert field.description, name
        assert torch.equal(before[name], copies[name]), name


def check_pictures(world_type):
    """A picture shows the agent, and where it has been since its episode began."""
    world = begun(world_type, 2)
    still = world.render([0, 1])
    assert still[0].shape == (256, 256, 3)
    assert still[0].dtype.name == "uint8"
    assert (still[0] != still[1]).any()
    for action in actions(world, 30, seed=5):
        world.advance(action)
    moved = world.render([1])[0]
    assert (moved != still[1]).any(-1).sum() > 20
    world.begin(torch.tensor([False, True]), world.episodes)
    assert (world.render([1])[0] == still[1]).all()
