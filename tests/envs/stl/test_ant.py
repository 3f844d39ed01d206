"""The ant among regions: Gymnasium's physics, predicates, the contract, and layouts that fit a walking pace."""

from functools import partial

import contract
import gymnasium
import numpy as np
import pytest
import torch

from cairngym.envs.stl.ant import HALF, MARGIN, AntWorld, make_ant
from cairngym.envs.stl.ant_model import ant_model
from cairngym.envs.stl.oracle import Itinerary, aim_at, lead_around
from cairngym.envs.stl.specs import TEMPLATES

SEQUENCE, REACH = "StlAnt-Sequence-v0", "StlAnt-ReachAvoid-v0"


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(partial(make_ant, SEQUENCE, layout=None))


@pytest.fixture(scope="module")
def reference():
    return gymnasium.make("Ant-v5", include_cfrc_ext_in_observation=False, terminate_when_unhealthy=False).unwrapped


# The model ------------------------------------------------------------------------------------------------------------


def test_the_model_is_upstream_s_but_for_the_walls(reference):
    ours, theirs = ant_model(3.0), reference.model
    assert ours.ngeom == theirs.ngeom + 4
    assert ours.opt.timestep * AntWorld.frame_skip == pytest.approx(reference.dt)
    for name in ("body_mass", "body_inertia", "jnt_range", "dof_damping", "dof_armature", "actuator_gear", "qpos0"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    walls = {ours.geom(k).name: ours.geom(k) for k in range(ours.ngeom) if ours.geom(k).name.startswith("wall")}
    inner = {name: np.abs(wall.pos[:2]).max() - wall.size[:2].min() for name, wall in walls.items()}
    assert inner == pytest.approx(dict.fromkeys(("wall_east", "wall_west", "wall_north", "wall_south"), 3.0))


def test_it_moves_and_sees_as_gymnasium_s_does(reference):
    env = make_ant(SEQUENCE, num_envs=3)
    env.reset(seed=0)
    world = env.world.inner
    reference.reset(seed=0)
    reference.set_state(world.driver.view("qpos")[1].numpy().copy(), world.driver.view("qvel")[1].numpy().copy())
    for action in contract.actions_of(env, 12):
        obs, *_ = env.step(action)
        theirs, *_ = reference.step(action[1].double().numpy())
        assert np.allclose(obs[1, :27], theirs, atol=1e-5)
    assert np.allclose(env.state["position"][1], reference.data.qpos[:2], atol=1e-5)


def test_walls_hold_the_ant():
    env = make_ant(SEQUENCE, num_envs=1)
    env.reset(seed=0)
    qpos, qvel = (env.world.driver.view(name) for name in ("qpos", "qvel"))
    qpos[:, 0], qpos[:, 1] = 3.0, 0.0
    furthest = -1.0
    for _ in range(60):
        qvel[:, 0] += 0.3
        env.step(torch.zeros(1, 8))
        furthest = max(furthest, float(env.state["position"][0, 0]))
    assert 3.2 < furthest < HALF + MARGIN - 0.2, "the torso has a radius of 0.25 m"


# Episodes -------------------------------------------------------------------------------------------------------------


def test_episodes_begin_upright_where_the_layout_says():
    env = make_ant(SEQUENCE, num_envs=64, layout=None)
    env.reset(seed=0)
    state = env.state
    assert torch.equal(state["position"], env.world.layouts.start)
    assert float(state["position"].abs().max()) <= 0.5
    assert torch.equal(state["orientation"], torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(64, 4))
    for name in ("joint_angles", "velocity", "rotation_velocity", "joint_velocities"):
        assert 0.08 < float(state[name].abs().max()) <= 0.1, name
    assert abs(float(torch.corrcoef(torch.stack((state["position"][:, 0], state["joint_angles"][:, 0])))[0, 1])) < 0.4


def test_an_ant_that_falls_over_stays_in_its_episode():
    env = make_ant(SEQUENCE, num_envs=2, autoreset_mode="Disabled")
    env.reset(seed=0)
    env.world.driver.view("qpos")[0, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    for _ in range(40):
        _, reward, terminated, truncated, _ = env.step(torch.zeros(2, 8))
        assert not (terminated | truncated).any()
        assert not reward.any()
    assert float(env.state["height"][0]) < 0.4
    assert int(env.episodes.length[0]) == 40


def test_predicates_by_hand():
    measures = make_ant(REACH).world.predicates
    assert list(measures) == ["in_a", "in_b", "in_obstacle"]
    state = {
        "position": torch.tensor([[1.0, 1.0]]),
        "regions": torch.tensor([[[1.3, 1.4, 0.7], [-2.0, 1.0, 0.7]]]),
        "obstacles": torch.tensor([[[1.0, 2.0, 0.5], [1.0, 0.7, 0.5], [-3.0, -3.0, 0.5]]]),
    }
    assert measures["in_a"].margin(state).tolist() == pytest.approx([0.2])
    assert measures["in_b"].margin(state).tolist() == pytest.approx([-2.3])
    assert measures["in_obstacle"].margin(state).tolist() == pytest.approx([0.2])
    assert measures["in_b"].target(state).tolist() == [pytest.approx([-0.75, 0.0])]


def test_state_is_what_the_physics_says():
    env = make_ant(SEQUENCE, num_envs=3)
    env.reset(seed=0)
    for action in contract.actions_of(env, 5):
        env.step(action)
    state = env.state
    numbers = torch.cat([state[name].view(3, -1) for name in AntWorld.moving], dim=1)
    want = torch.cat([env.world.driver.view(name) for name in ("qpos", "qvel")], dim=1)
    assert torch.equal(numbers, want.float())


def test_markers_stand_on_the_floor():
    env = make_ant("StlAnt-Until-v0", num_envs=2, layout=None)
    env.reset(seed=0)
    circles = torch.cat((env.state["regions"], env.state["obstacles"]), dim=1)
    balls = env.world.markers()
    assert len(balls) == circles.shape[1] == 6
    for k, ball in enumerate(balls):
        assert torch.equal(ball.position[:, :2], circles[:, k, :2])
        assert not ball.position[:, 2].any()
        assert torch.allclose(circles[:, k, 2], torch.tensor(ball.radius))


# Layouts --------------------------------------------------------------------------------------------------------------


def walk(world, horizon):
    """Margins `(N, T + 1)` by predicate of a point at 0.6 m/s that stands for half a second before every leg."""
    itinerary, arena = Itinerary(world.layouts), world.arena
    here, standing = world.layouts.start.clone(), torch.zeros(world.num_envs)
    last = torch.full((world.num_envs,), -1)
    rows, margins = torch.arange(world.num_envs), {name: [] for name in world.predicates}
    for t in range(horizon + 1):
        state = {"position": here, "regions": world.layouts.regions, "obstacles": world.layouts.obstacles}
        for name, measure in world.predicates.items():
            margins[name].append(measure.margin(state))
        region, shunned = itinerary.next(state, torch.full((world.num_envs,), float(t)))
        standing = torch.where(region == last, standing - 1.0, arena.lag)
        last = region
        circles = torch.cat((state["obstacles"], state["regions"][rows, shunned.clamp(min=0)].unsqueeze(1)), dim=1)
        circles[shunned < 0, -1, -1] = -1e3
        aim = aim_at(here, state["regions"][rows, region])
        way = lead_around(here, aim, circles, arena.passage / 2) - here
        distance = way.norm(dim=1, keepdim=True).clamp_min(1e-9)
        step = way / distance * distance.clamp(max=arena.speed)
        here = here + torch.where(standing.unsqueeze(1) > 0.0, 0.0, step)
    return {name: torch.stack(values, dim=1) for name, values in margins.items()}


@pytest.mark.parametrize("template", TEMPLATES)
def test_layouts_can_be_done_at_a_walking_pace(template):
    env = make_ant(f"StlAnt-{template}-v0", num_envs=64, layout=None)
    env.reset(seed=0)
    margins = walk(env.world.inner, env.task.horizon)
    robustness = env.task.formula.robustness({name: margins[name] for name in env.task.formula.predicates})[:, 0]
    assert float((robustness >= 0.0).float().mean()) >= 0.95


def test_a_horizon_too_short_to_walk_is_refused():
    with pytest.raises(ValueError, match="too short; the smallest that works is about"):
        make_ant(SEQUENCE, horizon=50)


def test_bad_options():
    with pytest.raises(TypeError, match="no option 'dtype'"):
        make_ant(REACH, dtype=torch.float64)
    with pytest.raises(KeyError, match="Did you mean 'threads'"):
        make_ant(REACH, driver="thread")


def test_warp_moves_the_ant_as_mujoco_c_does():
    pytest.importorskip("mujoco_warp")
    envs = [make_ant(REACH, num_envs=2, seed=3, layout=None, driver=driver) for driver in ("threads", "warp")]
    for env in envs:
        env.reset()
    assert torch.equal(envs[0].state["obstacles"], envs[1].state["obstacles"])
    for action in contract.actions_of(envs[0], 3):
        for env in envs:
            env.step(action)
    for name in AntWorld.moving:
        assert torch.allclose(envs[0].state[name], envs[1].state[name], atol=2e-2), name
