"""Envs with steps of their own as worlds: the plain env, played side by side, is the oracle."""

from functools import partial

import contract
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import cairngym
from cairngym.envs.adapters import SnapshotError, from_gymnasium
from cairngym.envs.core import StateField, TensorEnv
from cairngym.envs.episodes import Episodes
from cairngym.envs.stl.env_world import EnvWorld

FORWARD = 2


class Walk(gymnasium.Env):
    """A walk that ends beyond 1.5, for a reward of 1 on the right."""

    observation_space = spaces.Box(-9.0, 9.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = float(self.np_random.normal() * 0.1)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += float(action[0])
        return np.array([self.x], np.float32), float(self.x > 1.5), abs(self.x) > 1.5, False, {}


def make_walk(num_envs=3, **options):
    return from_gymnasium(Walk, num_envs, snapshot="deepcopy", **options)


MAKERS = {
    "minigrid": partial(cairngym.make, "MiniGrid-DoorKey-5x5-v0", bank_size=64),
    "obstacles": partial(cairngym.make, "MiniGrid-Dynamic-Obstacles-5x5-v0", bank_size=64),
    "lidar": partial(cairngym.make, "LidarRooms-Small-v0"),
    "foreign": make_walk,
    "cartpole": partial(from_gymnasium, "CartPole-v1", snapshot="deepcopy"),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def begun(env, seed=5, number=0):
    """The env's worlds, at the start of that episode everywhere."""
    world = EnvWorld(env)
    world.episodes = life = Episodes(world.num_envs, world.device, seed)
    life.number += number
    world.begin(torch.ones(world.num_envs, dtype=torch.bool), life)
    return world


def test_first_episode_is_the_plain_envs_until_it_ends(make):
    plain, world = make(num_envs=3, seed=5), begun(make(num_envs=3, seed=5))
    obs, _ = plain.reset()
    contract.assert_same(obs, world.observe(world.state), "first observations")
    going = torch.ones(3, dtype=torch.bool)
    for t, action in enumerate(contract.actions_of(plain, 40)):
        _, _, terminated, truncated, info = plain.step(action)
        world.advance(action)
        state = dict(world.state)
        seen = world.observe(state)
        contract.assert_same(contract.rows(info["final_obs"], going), contract.rows(seen, going), f"obs {t}")
        for name in plain.state_spec:
            contract.assert_same(info["final_state"][name][going], state[name][going], f"{name} {t}")
        going &= ~(terminated | truncated)
        assert torch.equal(state["base_ended"], ~going)


def test_later_episodes_are_the_plain_envs(make):
    plain, world = make(num_envs=3, seed=9), begun(make(num_envs=3, seed=9), seed=9)
    plain.reset()
    obs, _ = plain.reset()
    life, some = world.episodes, torch.tensor([True, False, True])
    before = dict(world.state)
    life.next(some)
    world.begin(some, life)
    after = dict(world.state)
    seen = world.observe(after)
    contract.assert_same(contract.rows(obs, some), contract.rows(seen, some), "observations of episode 1")
    contract.assert_same(contract.rows(before, ~some), contract.rows(after, ~some), "worlds outside the mask")


def test_a_new_seed_begins_the_plain_envs_episodes(make):
    plain, world = make(num_envs=2, seed=7), begun(make(num_envs=2, seed=1), seed=7)
    contract.assert_same(plain.reset()[0], world.observe(world.state), "first observations")


def test_an_ended_world_stands_still_until_it_begins_again():
    world = begun(make_walk())
    for push in (1.0, 1.0, -1.0, -1.0, -1.0):
        world.advance(torch.tensor([[push], [0.0], [-push]]))
    state = world.state
    assert state["base_ended"].tolist() == [True, False, True]
    assert state["base_succeeded"].tolist() == [True, False, False]
    assert state["observation"][0, 0] > 1.5, "it went on after its end"
    assert state["observation"][2, 0] < -1.5, "it went on after its end"
    world.begin(torch.tensor([True, False, False]), world.episodes)
    assert world.state["base_ended"].tolist() == [False, False, True]
    assert abs(float(world.state["observation"][0, 0])) < 1.0


def test_the_base_tasks_own_limit_and_success_end_nothing():
    env = make_walk(horizon=2, success=lambda obs, reward, ended, info: obs[:, 0] > 0.4, terminate_on_success=True)
    world = begun(env)
    for _ in range(5):
        world.advance(torch.full((3, 1), 0.2))
    assert not world.state["base_ended"].any()
    assert world.state["base_succeeded"].all()
    assert (world.state["observation"][:, 0] > 0.6).all()
    assert env.task.horizon == 2, "the env's own task was changed"


def test_minigrid_stands_still_after_success():
    world = begun(cairngym.make("MiniGrid-Empty-5x5-v0", num_envs=2, bank_size=64))
    right, left = torch.full((2,), 1), torch.full((2,), 0)
    forward = torch.full((2,), FORWARD)
    for action in (forward, forward, right, forward, forward):
        world.advance(action)
    assert world.state["base_succeeded"].all()
    grid, place = world.state["grid"].clone(), world.state["agent_pos"].clone()
    for action in (left, forward, forward):
        world.advance(action)
    assert torch.equal(world.state["agent_pos"], place)
    assert torch.equal(world.state["grid"], grid)
    assert world.state["step_count"].tolist() == [5, 5]


def test_what_was_measured_last_stays_readable_over_the_next_beginning():
    world = begun(cairngym.make("MiniGrid-DoorKey-5x5-v0", num_envs=2, bank_size=64))
    world.advance(torch.full((2,), FORWARD))
    held, planned = world.state, begun(cairngym.make("MiniGrid-DoorKey-5x5-v0", num_envs=2, bank_size=64))
    planned.advance(torch.full((2,), FORWARD))
    world.episodes.next(torch.tensor([True, True]))
    world.begin(torch.tensor([True, True]), world.episodes)
    contract.assert_same(dict(held), dict(planned.state), "the last state of the old episode")


def test_snapshot_round_trip(make):
    env = make(num_envs=3, seed=5)
    world, actions = begun(env), contract.actions_of(env, 12)
    for action in actions[:4]:
        world.advance(action)
    snapshot, here = world.get_state(), contract.clone(dict(world.state))
    lives = []
    for other in (world, EnvWorld(make(num_envs=3, seed=8))):
        other.set_state(snapshot)
        contract.assert_same(here, dict(other.state), "state")
        life = []
        for action in actions[4:]:
            other.advance(action)
            life.append(contract.clone(dict(other.state)))
        lives.append(dict(enumerate(life)))
    contract.assert_same(*lives, "steps after set_state")


def test_an_env_that_cannot_be_copied_says_so():
    with pytest.raises(SnapshotError, match="deepcopy"):
        begun(from_gymnasium(Walk, 2)).get_state()


def test_state_spec_describes_every_field(make):
    world = begun(make(num_envs=2))
    for name, field in world.state_spec.items():
        assert tuple(world.state[name].shape) == (2, *field.shape), name
        assert world.state[name].dtype is field.dtype, name
        assert field.description, name
    assert set(world.state) == set(world.state_spec)


def test_pictures_attributes_and_reports_are_the_envs_own():
    world = begun(cairngym.make("MiniGrid-Empty-5x5-v0", num_envs=2, bank_size=64))
    (frame,) = world.render([1])
    assert frame.ndim == 3
    assert world.width == 5
    with pytest.raises(AttributeError, match="colour"):
        _ = world.colour
    rooms = begun(cairngym.make("LidarRooms-Small-v0", num_envs=2))
    assert not rooms.report()
    rooms.advance(torch.zeros(2, 2))
    assert rooms.report()["coverage"].shape == (2,)
    rooms.close()


def test_a_field_of_a_taken_name_is_refused():
    spec = {"base_ended": StateField(shape=(1,), unit="", description="Taken.")}
    env: TensorEnv = make_walk(state=lambda obs, info: {"base_ended": obs}, state_spec=spec)
    with pytest.raises(ValueError, match="base_ended"):
        EnvWorld(env)
