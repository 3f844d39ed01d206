"""The hard maze as an env: the contract, its reward, a driver that wins, and whole episodes in one kernel."""

from functools import partial

import contract
import numpy as np
import pytest
import torch

from cairngym.envs.fused import FeedForward, FusedWorld, feed_forward
from cairngym.envs.navigation.hard_maze.make import make_hard_maze
from cairngym.envs.navigation.hard_maze.oracle import ShortestWayDriver
from cairngym.envs.policy_kernels import act
from cairngym.envs.tabular import make_chain

POLICY = FeedForward(inputs=5, hidden=(5, 5), outputs=2)
make = partial(make_hard_maze, "HardMaze-v0")


def population(count, seed=0):
    return torch.rand((count, POLICY.size), generator=torch.Generator().manual_seed(seed)) * 10 - 5


def play(env, genomes, **options):
    return env.world.play(env.task, genomes, POLICY, seeds=torch.arange(len(genomes)), **options)


def put(env, poses, steps):
    """Robots at `poses` with so many steps taken."""
    snapshot = env.get_state()
    snapshot["world"]["bodies"].zero_()[:, :3] = torch.tensor(poses)
    snapshot["episodes"]["length"] = torch.tensor(steps)
    env.set_state(snapshot)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(make)


def test_only_the_last_step_pays():
    places = [(60, 60), (60, 100), (100, 190), (60, 105), (151, 200), (300, 300)]
    want = torch.tensor([1.0, 0.2, 0.8, 0.1, 0.0, 0.0])
    env = make(num_envs=6)
    env.reset()
    put(env, [(x, y, 1.0) for x, y in places], [1997] * 6)
    still = torch.zeros(6, 2)
    assert torch.equal(env.progress() == 1, want > 0), "progress is one elsewhere than in the areas"
    for _ in range(2):
        _, reward, terminated, truncated, info = env.step(still)
        for values in (reward, info["success"], terminated, truncated):
            assert not values.any()
    _, reward, terminated, truncated, info = env.step(still)
    assert torch.allclose(reward, want, atol=1e-5)
    assert torch.equal(info["success"], want > 0)
    assert not terminated.any()
    assert truncated.all()
    assert torch.equal(info["episode"]["return"], reward)
    state, task = info["final_state"], env.task
    assert torch.equal(task.success(state), info["success"])
    assert torch.allclose(task.reward(state, info["success"], terminated, info["episode"]["length"]), reward, atol=1e-6)
    assert torch.equal(task.observe(state), info["final_obs"])
    assert state["steps_left"].tolist() == [0] * 6
    assert env.state["steps_left"].tolist() == [2000] * 6
    assert env.state["position"].tolist() == [[60.0, 450.0]] * 6


def test_a_driver_that_knows_the_map_wins_both_areas():
    env = make(num_envs=2)
    env.reset()
    driver = ShortestWayDriver(env, torch.tensor([0, 1]))
    assert (env.progress() < 0.02).all()
    shares = [env.progress()]
    for _ in range(420):
        _, _, _, _, info = env.step(driver(env.state))
        assert not info["final_state"]["stopped"].any()
        shares.append(env.progress())
    assert (torch.stack(shares).diff(dim=0) > -0.03).all()
    assert (env.progress() == 1).all()
    env.unwrapped.episodes.length.fill_(1998)
    env.step(driver(env.state))
    _, reward, _, truncated, info = env.step(driver(env.state))
    assert truncated.all()
    assert info["success"].all()
    assert (reward > 0.99).all()
    with pytest.raises(TypeError, match="hard mazes"):
        ShortestWayDriver(make_chain("Chain-v0"), torch.tensor([0]))


def test_ways_grow_away_from_the_areas():
    env = make(num_envs=3)
    env.reset()
    put(env, [(60, 60, 0.0), (140, 70, 0.0), (140, 300, 0.0)], [0] * 3)
    assert (env.state["path_distance"] >= env.state["distance_to_areas"] - 4).all()
    assert env.progress().tolist()[0] == 1
    assert env.progress()[1] > 0.9
    assert env.progress()[2] < 0.01, "right below the areas, but on the wrong side of a wall"


def test_play_is_stepping():
    """Bit for bit by the policies' kernel; by torch's products until their rounding has grown at a wall."""
    genomes = population(24)
    env = make(num_envs=24)
    played = play(env, genomes, record=True)
    assert isinstance(env.unwrapped.world, FusedWorld)
    assert played.trajectory.shape == (24, 2000, 2)
    assert torch.equal(played.trajectory[:, -1], played.descriptor)
    obs, _ = env.reset(seed=0)
    for t in range(1999):
        obs, reward, _, _, info = env.step(act(genomes, POLICY, obs[:, None])[:, 0])
        assert torch.equal(env.state["position"], played.trajectory[:, t])
        assert not reward.any()
    obs, reward, _, truncated, info = env.step(act(genomes, POLICY, obs[:, None])[:, 0])
    assert truncated.all()
    assert torch.equal(env.task.descriptor(info["final_state"]), played.descriptor)
    assert torch.equal(reward, played.returns)
    assert torch.equal(info["success"], played.success)
    assert torch.equal(info["episode"]["length"], played.length)
    obs, _ = env.reset(seed=0)
    for t in range(200):
        obs, *_ = env.step(feed_forward(genomes, POLICY, obs[:, None])[:, 0])
        off = (env.state["position"] - played.trajectory[:, t]).abs().amax(dim=1)
        assert off.median() < 1e-3
        assert off.max() < 1e-2 or t > 25
    assert (played.descriptor - torch.tensor([60.0, 450.0])).norm(dim=1).median() > 20


def test_play_depends_on_nothing_but_the_genome():
    genomes = population(10, seed=1)
    many = play(make(threads=3), genomes)
    for order in (torch.arange(10), torch.tensor([7, 2, 2])):
        env = make(num_envs=4, threads=1)
        env.reset(seed=9)
        env.step(torch.full((4, 2), 0.5))
        before = contract.clone(dict(env.state))
        few = play(env, genomes[order])
        assert torch.equal(few.descriptor, many.descriptor[order])
        contract.assert_same(before, dict(env.state), "the worlds that step")
    assert few.trajectory is None
    assert few.length.tolist() == [2000] * 3


def test_play_pays_where_it_ends():
    """Return and success of policies that end anywhere, against the task's own judgement of their last place."""
    env = make(max_speed=1.0)
    played = play(env, population(300, seed=2))
    far = (played.descriptor[:, None] - torch.tensor(env.task.reward_areas)[:, :2]).norm(dim=2)
    want = (1 - far / 50).amax(dim=1).clamp(min=0)
    assert torch.allclose(played.returns, want, atol=1e-5)
    assert torch.equal(played.success, want > 0)
    assert len(env.task.descriptor.cell(played.descriptor).unique()) > 50


def test_genomes_that_are_not_finite_stand_still():
    genomes = population(3)
    genomes[0] = float("nan")
    genomes[1] = float("inf")
    played = play(make(), genomes)
    assert played.descriptor[0].tolist() == [60.0, 450.0]
    assert played.descriptor.isfinite().all()
    env = make()
    env.reset()
    with pytest.raises(ValueError, match="Expected finite actions"):
        env.step(torch.full((1, 2), float("nan")))


def test_no_policies():
    assert play(make(), population(0)).returns.shape == (0,)


def test_declared_fields():
    env = make()
    env.reset()
    env.task.descriptor.check(env.state_spec)
    assert env.task.descriptor.cells == (50, 50)
    assert "(60, 60) and (100, 200)" in env.task.instruction
    assert env.state_spec["path_distance"].privileged
    with pytest.raises(ValueError, match="threads >= 1"):
        make(threads=0)
    with pytest.raises(TypeError, match="'max_speed'"):
        make(max_sped=1.0)


def test_pictures_show_where_the_robot_is():
    env = make(num_envs=2)
    env.reset()
    before = env.render()
    env.step(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    for _ in range(10):
        env.step(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    first, second = env.render()
    assert first.dtype == np.uint8
    assert first.shape == (492, 492, 3)
    assert np.array_equal(second, before[1])
    changed = np.argwhere((first != before[0]).any(axis=2))
    assert len(changed) > 100
    x, y = env.state["position"][0].tolist()
    assert (np.abs(changed - np.array([y, x]) * 0.8 - 6) < 100).all()
