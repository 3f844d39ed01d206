"""Ids of the temporal tasks: the contract, their options and what they show."""

from functools import partial

import contract
import pytest
import torch

import cairngym
from cairngym.envs.stl.specs import TEMPLATES, WORLDS

ARENAS = ("Linear", "Unicycle", "Quadrotor")


def test_every_world_has_every_template():
    ids = {f"Stl{world}-{template}-v0" for world in WORLDS for template in TEMPLATES}
    assert len(ids) == 35
    assert ids <= set(cairngym.list_envs())


@pytest.mark.parametrize("world", ARENAS)
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract_with_a_layout_per_episode(world, check):
    check(partial(cairngym.make, f"Stl{world}-Until-v0", layout=None))


def test_options():
    env = cairngym.make("StlUnicycle-Patrol-v0", num_envs=3, horizon=200, layout=5)
    assert env.task.horizon == 200
    assert str(env.task.formula) == "G[0,100] F[0,100] in_a & G[0,100] F[0,100] in_b & G[0,200] !in_obstacle"
    assert env.world.inner.layouts.layout == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizont": 100}, TypeError, "no option 'horizont'. Did you mean 'horizon'"),
        ({"horizon": 20}, ValueError, "from 50 to 1000 steps, got 20"),
        ({"horizon": 60.5}, TypeError, "whole number of steps"),
        ({"layout": -1}, ValueError, "got -1"),
        ({"layout": "first"}, TypeError, "first"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        cairngym.make("StlLinear-Sequence-v0", **options)


def test_observation_holds_what_the_docstring_says():
    env = cairngym.make("StlLinear-ReachAvoid-v0", num_envs=2, layout=None)
    obs, _ = env.reset(seed=4)
    state = env.state
    circles = torch.cat((state["regions"], state["obstacles"]), dim=1)
    off = (circles[..., :2] - state["position"].unsqueeze(1)) / 2.0
    rows = torch.cat((off, circles[..., 2:] / 2.0), dim=-1).flatten(1)
    torch.testing.assert_close(obs, torch.cat((state["position"] / 2.0, rows, torch.zeros(2, 1)), dim=-1))
