"""Finite MDPs move by their own probabilities."""

import pytest
import torch

import cairngym
from cairngym.envs.core import TensorEnv
from cairngym.envs.tabular import TabularTask, TabularWorld

START = torch.tensor([0.5, 0.3, 0.2, 0.0])


def transitions():
    table = torch.zeros(4, 2, 4)
    table[:, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    table[:, 1] = torch.eye(4)
    return table


def make_mdp(num_envs=1, **options):
    return TensorEnv(TabularWorld(transitions(), START, num_envs, "cpu"), TabularTask(4, (), horizon=50), **options)


def frequencies(nodes):
    return torch.bincount(nodes, minlength=4) / len(nodes)


def test_starts_and_moves_follow_the_table():
    env = make_mdp(20_000)
    env.reset(seed=1)
    assert torch.allclose(frequencies(env.state["node"]), START, atol=0.015)
    env.step(torch.zeros(20_000, dtype=torch.int64))
    assert torch.allclose(frequencies(env.state["node"]), transitions()[0, 0], atol=0.015)
    before = env.state["node"]
    env.step(torch.ones(20_000, dtype=torch.int64))
    assert torch.equal(env.state["node"], before)


def test_moves_along_one_life_follow_the_table():
    env = make_mdp(1, seed=4)
    env.reset()
    nodes = []
    for _ in range(3000):
        env.step([0])
        if int(env.episodes.length[0]):
            nodes.append(int(env.state["node"][0]))
    assert torch.allclose(frequencies(torch.tensor(nodes)), transitions()[0, 0], atol=0.04)


def test_snapshot_continues_noisy_moves_in_a_new_env():
    env, other = make_mdp(50, seed=1), make_mdp(50, seed=2)
    env.reset()
    env.step([0] * 50)
    other.set_state(env.get_state())
    for _ in range(60):
        assert torch.equal(env.step([0] * 50)[0], other.step([0] * 50)[0])


def test_probabilities_must_sum_to_one():
    with pytest.raises(ValueError, match="sum to one"):
        TabularWorld(transitions() * 0.5, START, 1, "cpu")
    with pytest.raises(ValueError, match="sum to one"):
        TabularWorld(transitions(), START * 2, 1, "cpu")


def test_progress_is_the_potential_or_success():
    nodes = {"node": torch.tensor([0, 1, 3])}
    task = TabularTask(4, goals=(3,), failures=(1,), potential=torch.tensor([0.0, 0.2, 0.5, 1.0]))
    assert task.progress(nodes).tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert TabularTask(4, goals=(3,)).progress(nodes).tolist() == [0.0, 0.0, 1.0]
    assert task.failure(nodes).tolist() == [False, True, False]
    assert task.observe(nodes).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_chain_is_solved_in_length_minus_one_steps():
    env = cairngym.make("Chain-N10-v0", num_envs=2)
    env.reset()
    assert env.progress().tolist() == [0.0, 0.0]
    for t in range(9):
        _, reward, terminated, _, info = env.step([1, 0])
        assert env.task.progress(info["final_state"]).tolist() == pytest.approx([(t + 1) / 9, 0.0])
    assert (reward.tolist(), terminated.tolist()) == ([1.0, 0.0], [True, False])
