"""Curling as an env: the contract, rewards at the end, measurements, snapshots, pictures, whole episodes."""

import math
from functools import partial

import contract
import numpy as np
import pytest
import torch

from cairngym.envs.fused import FeedForward, FusedWorld, feed_forward
from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import BALL, POSE
from cairngym.envs.manipulation.curling.make import make_curling
from cairngym.envs.policy_kernels import act

POLICY = FeedForward(inputs=6, hidden=(5, 5), outputs=2)


def make(**options):
    env = make_curling("Curling-v0", **options)
    env.reset()
    return env


def put_balls(env, places):
    env.world.rows = env.world.rows.clone()
    env.world.rows[:, POSE + 3 * BALL : POSE + 3 * BALL + 2] = torch.tensor(places)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(partial(make_curling, "Curling-v0"))


def test_reward_is_paid_once_at_the_end():
    places = [(0.8, 0.8), (0.8, 0.5), (0.8, -0.9), (0.8, -1.05), (-0.9, 0.9)]
    env = make(num_envs=5)
    put_balls(env, places)
    env.episodes.length.fill_(env.task.horizon - 3)
    for left in (2, 1, 0):
        _, reward, terminated, truncated, info = env.step(torch.zeros(5, 2))
        assert not terminated.any()
        assert bool(truncated.all()) == (left == 0)
        assert (info["final_state"]["steps_left"] == left).all()
        if left:
            assert not reward.any()
            assert not info["success"].any()
    assert reward.tolist() == pytest.approx([1.0, 0.25, 0.5, 0.0, 0.0], abs=1e-5)
    assert info["success"].tolist() == [True, True, True, False, False]
    assert env.task.progress(info["final_state"])[:3].tolist() == [1.0] * 3
    assert (env.task.progress(info["final_state"])[3:] < 1.0).all()
    descriptor = env.task.descriptor
    descriptor.check(env.state_spec)
    np.testing.assert_allclose(descriptor(info["final_state"]).numpy(), np.array(places), atol=1e-6)
    assert descriptor.cells == (50, 50)


def test_measurements():
    env = make(num_envs=2)
    for _ in range(40):
        env.step(torch.tensor([[0.5, 1.0], [-1.0, 0.25]]))
    state, obs = env.state, env.task.observe(env.state)
    turned = torch.tensor([[0.5, 1.0], [-1.0, 0.25]]) * 40 / 60
    torch.testing.assert_close(state["joint_speeds"], torch.tensor([[0.5, 1.0], [-1.0, 0.25]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(state["joint_angles"], turned, atol=1e-2, rtol=0)
    for i, (first, second) in enumerate(state["joint_angles"].tolist()):
        elbow = (-math.sin(first), -1.5 + math.cos(first))
        tip = (elbow[0] - 0.9 * math.sin(first + second), elbow[1] + 0.9 * math.cos(first + second))
        assert state["elbow"][i].tolist() == pytest.approx(elbow, abs=5e-3)
        assert state["tip"][i].tolist() == pytest.approx(tip, abs=5e-3)
    assert torch.equal(obs, torch.cat((state["ball"], state["joint_angles"], state["joint_speeds"]), dim=1))
    far = torch.linalg.vector_norm(state["ball"][:, None] - torch.tensor(scene.GOALS), dim=2)
    torch.testing.assert_close(state["distance_to_goals"], far)


def test_whole_episodes_equal_stepping():
    env = make(num_envs=24, threads=2)
    assert isinstance(env.world, FusedWorld)
    genomes = torch.rand((24, POLICY.size), generator=torch.Generator().manual_seed(3)) * 10 - 5
    env.task.horizon, horizon = 150, env.task.horizon
    env.reset()
    seeds = torch.arange(24)
    played = env.world.play(env.task, genomes, POLICY, seeds=seeds, record=True)
    obs, _ = env.reset()
    for t in range(150):
        mine = act(genomes, POLICY, obs.unsqueeze(1))[:, 0]
        np.testing.assert_allclose(mine, feed_forward(genomes, POLICY, obs.unsqueeze(1))[:, 0], atol=1e-5)
        obs, reward, _, truncated, info = env.step(mine)
        np.testing.assert_allclose(played.trajectory[:, t], info["final_state"]["ball"], atol=1e-6)
    assert truncated.all()
    assert env.task.horizon != horizon
    assert torch.equal(played.descriptor, env.task.descriptor(info["final_state"]))
    assert torch.equal(played.success, info["success"])
    torch.testing.assert_close(played.returns, reward)
    assert (played.length == 150).all()
    assert ((played.descriptor - torch.tensor(scene.BALL_START)).abs().amax(1) > 0.01).sum() > 4
    alone = make(num_envs=1, threads=1)
    alone.task.horizon = 150
    again = alone.world.play(alone.task, genomes[5:7], POLICY, seeds=seeds[5:7])
    assert torch.equal(again.descriptor, played.descriptor[5:7])
    assert again.trajectory is None


def test_snapshots_hold_the_impulses():
    """Pushing on, with contacts that have pushed before: the same future, and another number of worlds is refused."""
    env = make(num_envs=3)
    for _ in range(120):
        env.step(torch.tensor([[1.0, 0.5], [0.6, 1.0], [-1.0, -1.0]]))
    snapshot = env.get_state()
    assert snapshot["world"]["rows"][:, 18:].any(dim=1).all()
    after = [env.step(torch.full((3, 2), 0.3))[0] for _ in range(20)]
    env.set_state(snapshot)
    assert all(torch.equal(env.step(torch.full((3, 2), 0.3))[0], obs) for obs in after)
    with pytest.raises(ValueError, match="as many worlds"):
        make(num_envs=2).world.set_state(snapshot["world"])


def test_bad_input():
    env = make(num_envs=2)
    genomes, seeds = torch.zeros((3, POLICY.size)), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="genomes"):
        env.world.play(env.task, genomes[:, 1:], POLICY, seeds=seeds)
    with pytest.raises(ValueError, match="seeds"):
        env.world.play(env.task, genomes, POLICY, seeds=seeds[:2])
    other = FeedForward(inputs=5, hidden=(), outputs=2)
    with pytest.raises(ValueError, match="policy"):
        env.world.play(env.task, torch.zeros((3, other.size)), other, seeds=seeds)
    with pytest.raises(ValueError, match="threads"):
        make(threads=0)
    with pytest.raises(TypeError, match="no option"):
        make(thread=1)
    with pytest.raises(ValueError, match="finite"):
        env.step(torch.tensor([[float("nan"), 0.0], [0.0, 0.0]]))


def test_render():
    env = make(num_envs=2)
    put_balls(env, [(0.9, -0.2), (-1.0, 1.0)])
    first, second = env.render()
    assert first.dtype == np.uint8
    assert first.shape == second.shape == (496, 496, 3)
    for image, (x, y) in ((first, (0.9, -0.2)), (second, (-1.0, 1.0))):
        row, column = round((1.55 - y) * 160), round((x + 1.55) * 160)
        assert (image[row - 10, column - 10] == (40, 90, 200)).all(), "the ball is drawn where it is"
