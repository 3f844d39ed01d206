"""Counters of episodes, by hand."""

import pytest
import torch

from cairngym.envs.episodes import Episodes


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


@pytest.fixture
def episodes():
    return Episodes(3, torch.device("cpu"), seed=9)


def record(episodes, reward, success, terminated, truncated):
    episodes.length += 1
    return episodes.record(torch.tensor(reward), flags(*success), flags(*terminated), flags(*truncated))


def test_record_accumulates_until_the_next_episode(episodes):
    no = (0, 0, 0)
    record(episodes, [0.5, 1.0, 0.0], (1, 0, 0), no, no)
    statistics = record(episodes, [0.25, 1.0, 0.0], (0, 1, 0), (0, 1, 0), (0, 0, 1))
    assert statistics["return"].tolist() == [0.75, 2.0, 0.0]
    assert statistics["length"].tolist() == [2, 2, 2]
    assert statistics["success_once"].tolist() == [True, True, False]
    assert statistics["success_at_end"].tolist() == [False, True, False]
    assert episodes.ended.tolist() == [False, True, True]
    episodes.next(episodes.ended)
    assert episodes.number.tolist() == [0, 1, 1]
    assert episodes.length.tolist() == [2, 0, 0]
    assert episodes.returns.tolist() == [0.75, 0.0, 0.0]
    assert episodes.succeeded.tolist() == [True, False, False]
    assert not episodes.ended.any()
    assert statistics["return"].tolist() == [0.75, 2.0, 0.0]  # a tensor of its own


def test_restart_returns_to_episode_zero(episodes):
    episodes.next(flags(1, 1, 1))
    episodes.next(flags(1, 0, 0))
    episodes.restart(flags(1, 0, 0))
    assert episodes.number.tolist() == [0, 1, 1]


def test_stagger_touches_the_masked_and_repeats_itself(episodes):
    episodes.stagger(flags(1, 1, 0), 1000)
    lived = episodes.length.clone()
    assert lived[2] == 0
    assert lived[0] != lived[1]
    episodes.stagger(flags(1, 1, 0), 1000)
    assert torch.equal(episodes.length, lived)


def test_snapshot_is_a_copy_and_restores_in_place(episodes):
    held = episodes.number
    episodes.next(flags(1, 0, 1))
    snapshot = episodes.get_state()
    episodes.next(flags(1, 1, 1))
    episodes.seed = 1
    episodes.set_state(snapshot)
    assert held.tolist() == [1, 0, 1]
    assert episodes.number is held
    assert episodes.seed == 9
    with pytest.raises(ValueError, match="Expected a snapshot of 2 envs, got one of 3"):
        Episodes(2, torch.device("cpu"), 0).set_state(snapshot)
