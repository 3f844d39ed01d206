"""Scripted controllers solve the layouts that are accepted: the proof that they can be solved."""

import pytest
import torch

import cairngym
from cairngym.envs.stl.linear import LinearWorld
from cairngym.envs.stl.oracle import Oracle, control, lead_around
from cairngym.envs.stl.robustness import robustness
from cairngym.envs.stl.templates import TEMPLATES

EPISODES = 200
BARS = {"Linear": 0.99, "Unicycle": 0.99, "Quadrotor": 0.95}


def play(env):
    """One episode of every env under the oracle: its last step, and the margins `(N, P, T + 1)`."""
    env.reset()
    oracle, margins = Oracle(env.world.inner), [env.state["stl_margins"]]
    for _ in range(env.task.horizon):
        step = env.step(oracle.act(env.state))
        margins.append(step[4]["final_state"]["stl_margins"])
    return step, torch.stack(margins, dim=-1)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("world", BARS)
@pytest.mark.parametrize("horizon", [50, 100])
def test_accepted_layouts_are_solved(world, name, horizon):
    env = cairngym.make(
        f"Stl{world}-{name}-v0", num_envs=EPISODES, seed=11, horizon=horizon, layout=None, autoreset_mode="Disabled"
    )
    (_, reward, terminated, truncated, info), margins = play(env)
    formula = env.task.formula
    exact = robustness(formula, {p: margins[:, i] for i, p in enumerate(formula.predicates)}, steps=1)[:, 0]
    assert terminated.all()
    assert truncated.all()
    assert torch.equal(info["success"], exact >= 0.0)
    assert torch.equal(reward, (exact >= 0.0).float())
    assert (exact >= 0.0).float().mean() >= BARS[world]


@pytest.mark.parametrize("world", BARS)
def test_numbered_layouts_and_long_horizons_are_solved(world):
    for options in ({"layout": 1}, {"layout": 2}, {"layout": None, "horizon": 250}):
        env = cairngym.make(f"Stl{world}-Nested-v0", num_envs=50, autoreset_mode="Disabled", **options)
        assert play(env)[0][1].mean() >= BARS[world] - 0.01


def test_doing_nothing_solves_none():
    env = cairngym.make("StlLinear-ReachAvoid-v0", num_envs=50, layout=None)
    env.reset()
    for _ in range(100):
        _, reward, terminated, _, _ = env.step(torch.zeros(50, 2))
    assert terminated.all()
    assert not reward.any()


@pytest.mark.parametrize("dims", [2, 3])
def test_ways_lead_around_circles(dims):
    generator = torch.Generator().manual_seed(dims)
    circles = torch.cat((torch.zeros(200, 1, dims), torch.full((200, 1, 1), 0.5)), dim=-1)
    here = torch.nn.functional.normalize(torch.randn(200, dims, generator=generator), dim=-1)
    aim = -here + 0.1 * torch.randn(200, dims, generator=generator)
    travelled = torch.zeros(200)
    for _ in range(200):
        way = lead_around(here, aim, circles, 0.1) - here
        move = way * (0.02 / way.norm(dim=-1, keepdim=True).clamp_min(0.02))
        here, travelled = here + move, travelled + move.norm(dim=-1)
        assert (here.norm(dim=-1) > 0.5).all()
    assert ((here - aim).norm(dim=-1) < 0.02).all()
    assert (travelled < 3.2).all(), "longer than a half circle of the berth and the ways to it"


def test_worlds_without_a_controller_are_refused():
    with pytest.raises(TypeError, match="Expected a LinearWorld, UnicycleWorld or QuadrotorWorld, got object"):
        control(object(), {}, torch.zeros(1, 2), torch.zeros(1, 2))
    assert LinearWorld.action_size == 2
