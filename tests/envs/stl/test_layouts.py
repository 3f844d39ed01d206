"""Layouts: what they must satisfy, held against a plain Python check, and who gets which."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from cairngym.envs.episodes import Episodes
from cairngym.envs.stl.layouts import Arena, Layouts
from cairngym.envs.stl.linear import LinearWorld
from cairngym.envs.stl.quadrotor import QuadrotorWorld
from cairngym.envs.stl.templates import TEMPLATES

ARENAS = {2: LinearWorld.arena, 3: QuadrotorWorld.arena}
SLACK = 1e-4


def made(name="Until", dims=2, horizon=100, layout=None, num_envs=64, seed=1, number=0):
    """Layouts of new episodes, and the lives they belong to."""
    layouts = Layouts(TEMPLATES[name], ARENAS[dims], horizon, num_envs, "cpu", layout=layout)
    lives = Episodes(num_envs, torch.device("cpu"), seed)
    lives.number += number
    layouts.begin(torch.ones(num_envs, dtype=torch.bool), lives)
    return layouts, lives


def room(a, b):
    return math.dist(a[:-1], b[:-1]) - a[-1] - b[-1]


def check_places(layouts, e):
    """Nothing overlaps that should not, and everything is in the arena."""
    arena, dims = layouts.arena, layouts.arena.dims
    regions, obstacles = layouts.regions[e].tolist(), layouts.obstacles[e].tolist()
    start = [*layouts.start[e].tolist(), 0.0]
    shunned = {visit.shun for plan in layouts.plans for visit in plan.visits}
    hosts = [region.host for region in layouts.template.regions]
    names = layouts.template.names
    for i, circle in enumerate(regions):
        walls = arena.passage if names[i] in shunned else 0.0
        for d in range(dims):
            assert arena.low[d] + walls - SLACK <= circle[d] - circle[-1]
            assert circle[d] + circle[-1] <= arena.high[d] - walls + SLACK
        for k in range(i):
            if hosts[i] == names[k]:
                assert room(regions[k], circle) < -2.0 * circle[-1] + SLACK, "not within its host"
            elif hosts[i] is None:
                assert room(regions[k], circle) >= arena.gap - SLACK
        assert room(start, circle) > (arena.passage / 2 if names[i] in shunned else 0.0) - SLACK
    for i, circle in enumerate(obstacles):
        for d in range(dims):
            assert arena.low[d] + arena.passage - SLACK <= circle[d] - circle[-1]
            assert circle[d] + circle[-1] <= arena.high[d] - arena.passage + SLACK
        assert all(room(other, circle) >= arena.passage - SLACK for other in regions + obstacles[:i])
        assert room(start, circle) >= arena.passage / 2 - SLACK
    low, high = np.array(arena.start_low), np.array(arena.start_high)
    assert ((low - SLACK <= start[:-1]) & (start[:-1] <= high + SLACK)).all()


def around(circle, here, there, berth):
    """Metres that a half circle adds where the segment comes near."""
    centre, wide = np.array(circle[:-1]), circle[-1] + berth
    points = here + np.linspace(0.0, 1.0, 4001)[:, None] * (there - here)
    near = np.linalg.norm(points - centre, axis=1).min()
    return (near < wide - 1e-3) * (math.pi - 2.0) * wide


def ends(layouts, e, plan):
    """The step at which a plan is done, at least; infinite where it is late by more than rounding."""
    arena, time, here = layouts.arena, 0.0, layouts.start[e].double().numpy()
    index = {name: i for i, name in enumerate(layouts.template.names)}
    for visit in plan.visits:
        circle = layouts.regions[e, index[visit.region]].double().numpy()
        off = here - circle[:-1]
        there = circle[:-1] + off * min(1.0, 0.5 * circle[-1] / max(np.linalg.norm(off), 1e-12))
        way = np.linalg.norm(there - here)
        walls = [row.double().tolist() for row in layouts.obstacles[e]]
        if visit.shun:
            walls.append(layouts.regions[e, index[visit.shun]].double().tolist())
        way += sum(around(circle, here, there, arena.passage / 2) for circle in walls)
        arrived = max(time + arena.lag + way / arena.speed, visit.earliest)
        if arrived > min(visit.latest, time + visit.gap) + 0.01:
            return math.inf
        time, here = arrived + visit.stay, there
    return time


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("dims", ARENAS)
@pytest.mark.parametrize("horizon", [50, 200])
def test_layouts_keep_the_rules_and_their_plan_is_in_time(name, dims, horizon):
    layouts, _ = made(name, dims, horizon, num_envs=16)
    for e in range(16):
        check_places(layouts, e)
        assert ends(layouts, e, layouts.plans[int(layouts.plan[e])]) <= horizon


@pytest.mark.parametrize("layout", [0, 7])
def test_starts_in_a_numbered_layout_keep_the_rules(layout):
    layouts, _ = made("Patrol", horizon=60, layout=layout, num_envs=32)
    assert len(layouts.start.unique(dim=0)) == 32
    for e in range(32):
        check_places(layouts, e)
        assert ends(layouts, e, layouts.plans[int(layouts.plan[e])]) < math.inf


def test_every_number_has_its_layout_and_every_env_the_same():
    first, second, third = (made(layout=number, seed=seed)[0] for number, seed in ((3, 1), (3, 2), (4, 1)))
    assert torch.equal(first.regions, second.regions)
    assert torch.equal(first.regions[0], first.regions[-1])
    assert not torch.equal(first.start, second.start)
    assert not torch.equal(first.regions, third.regions)
    assert not torch.equal(first.obstacles, third.obstacles)


def test_episodes_have_layouts_of_their_own_whatever_the_batch():
    many, _ = made(num_envs=40)
    few, _ = made(num_envs=3)
    for name in ("regions", "obstacles", "start", "plan"):
        assert torch.equal(getattr(few, name), getattr(many, name)[:3]), name
    assert len(many.regions[:, 0].unique(dim=0)) == 40
    assert not torch.equal(made(number=1)[0].regions, made(number=0)[0].regions)
    assert not torch.equal(made(seed=2)[0].regions, made(seed=1)[0].regions)
    assert torch.equal(made(number=1)[0].regions, made(number=1)[0].regions)


@pytest.mark.parametrize("layout", [0, None])
def test_unmasked_envs_and_what_was_given_out_stay(layout):
    layouts, lives = made(layout=layout)
    names = ("regions", "obstacles", "start", "plan")
    held = {name: getattr(layouts, name) for name in names}
    before = {name: value.clone() for name, value in held.items()}
    mask = torch.arange(64) % 3 == 0
    lives.next(mask)
    layouts.begin(mask, lives)
    for name in names:
        assert torch.equal(held[name], before[name]), name
        assert torch.equal(getattr(layouts, name)[~mask], before[name][~mask]), name
    assert not (layouts.start[mask] == before["start"][mask]).any()


def test_short_horizons_bring_regions_near():
    near, far = (made("Nested", horizon=horizon, num_envs=256)[0] for horizon in (50, 300))
    reach = [(layouts.regions[:, 2, :2] - layouts.start).norm(dim=-1).mean() for layouts in (near, far)]
    assert reach[0] < 0.9 * reach[1]


def test_a_horizon_that_is_too_short_names_one_that_suffices():
    slow = dataclasses.replace(LinearWorld.arena, speed=0.02)
    with pytest.raises(ValueError, match="Sequence can be done in this arena, got 50 steps: too short") as caught:
        Layouts(TEMPLATES["Sequence"], slow, 50, 4, "cpu")
    enough = int(str(caught.value).split()[-1].rstrip("."))
    assert 50 < enough <= 300
    assert Layouts(TEMPLATES["Sequence"], slow, enough, 4, "cpu").start.shape == (4, 2)
    with pytest.raises(ValueError, match="not even 1000 is enough"):
        Layouts(TEMPLATES["Sequence"], dataclasses.replace(slow, speed=1e-4), 50, 4, "cpu")


def test_snapshots_come_back_and_foreign_ones_are_refused():
    layouts, lives = made()
    snapshot = layouts.get_state()
    lives.next(torch.ones(64, dtype=torch.bool))
    layouts.begin(torch.ones(64, dtype=torch.bool), lives)
    assert not torch.equal(layouts.regions, snapshot["regions"])
    layouts.set_state(snapshot)
    assert torch.equal(layouts.regions, snapshot["regions"])
    with pytest.raises(ValueError, match="regions of shape"):
        made("Branch")[0].set_state(snapshot)
    with pytest.raises(ValueError, match="snapshot of layout 1"):
        made(layout=1)[0].set_state(made(layout=0)[0].get_state())


@pytest.mark.parametrize(
    "changes",
    [
        {"low": (-2.0,)}, {"start_low": (-3.0, 0.0)}, {"start_low": (0.5, 0.0)}, {"speed": 0.0}, {"gap": -0.1},
        {"region_radius": (0.0, 0.3)},
    ],
)  # fmt: skip
def test_arenas_that_can_not_be_are_refused(changes):
    with pytest.raises(ValueError, match="Expected"):
        dataclasses.replace(LinearWorld.arena, **changes)
    assert isinstance(LinearWorld.arena, Arena)
