"""The scripted policies solve their tasks, so the tasks can be solved."""

import pytest
import torch

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.manipulation.fetch_oracle import ORACLES, fetch_oracle

EPISODES = 128


def play(env_id, episodes=EPISODES, seed=0, **options):
    env = cairngym.make(env_id, num_envs=episodes, seed=seed, autoreset_mode="Disabled", **options)
    env.reset()
    oracle, truncated = fetch_oracle(env_id), torch.zeros(1, dtype=torch.bool)
    while not truncated.all():
        action = oracle(env.state)
        assert action.shape == (episodes, 4)
        assert action.dtype is torch.float32
        _, _, _, truncated, info = env.step(action)
    return info["episode"]


@pytest.mark.parametrize("env_id", ["FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4"])
def test_it_succeeds_at_the_end_of_the_episode(env_id):
    episode = play(env_id)
    assert (episode["length"] == 50).all()
    assert float(episode["success_at_end"].float().mean()) >= 0.95


@pytest.mark.parametrize("env_id", ORACLES)
def test_an_action_depends_on_its_own_env_alone(env_id):
    env = cairngym.make(env_id, num_envs=5, seed=2)
    env.reset()
    for _ in range(5):
        state = env.state
        action = fetch_oracle(env_id)(state)
        alone = fetch_oracle(env_id)({name: values[3:4] for name, values in state.items()})
        assert torch.equal(action[3:4], alone)
        assert (action.abs() <= 1.0).all()
        env.step(action)


def test_doing_nothing_does_not_succeed():
    env = cairngym.make("FetchPush-v4", num_envs=32, seed=0)
    env.reset()
    for _ in range(5):
        success = env.step(torch.zeros(32, 4))[4]["success"]
    assert float(success.float().mean()) < 0.3


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="FetchPush-v4"):
        fetch_oracle("FetchPush-v3")
