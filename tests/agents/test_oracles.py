"""Who can show which task, and how they are disturbed."""

import pytest
import torch
from agent_toys import identity, tracking

import cairngym
from cairngym.agents.demonstration_sources import load_demonstrations
from cairngym.agents.demonstrations import collect
from cairngym.agents.oracles import AgentPolicy, NoisyPolicy, find_oracle, list_oracles, make_oracle, register_oracle
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig


@pytest.mark.parametrize(
    "env_id", ["FetchReach-v4", "PointMaze_UMaze-v3", "LidarRooms-Small-v0", "StlLinear-Sequence-v0"]
)
def test_oracles_of_every_family_show_their_tasks(env_id):
    env = cairngym.make(env_id, num_envs=2)
    shown = collect(make_oracle(env), env, 2, seed=1, attempts=4)
    assert (shown.per_episode(shown.success) > 0).all()
    env.close()


def test_tasks_without_an_oracle_are_told_those_that_have_one():
    for env_id in ("FetchSlide-v4", "AdroitHandDoorSparse-v1", ""):
        with pytest.raises(KeyError, match=r"point_maze: PointMaze_\*"):
            find_oracle(env_id)
    assert {find_oracle(env_id) for env_id in cairngym.list_envs() if env_id.startswith("MiniGrid")} == {"minigrid"}
    assert set(list_oracles()) >= {"minigrid", "fetch", "point_maze", "lidar", "stl"}


def test_oracles_can_be_added(monkeypatch):
    monkeypatch.setattr("cairngym.agents.oracles._oracles", {})
    register_oracle("right", r"Chain-.*", lambda env: lambda obs, state: torch.ones(len(obs), dtype=torch.int64))
    shown = load_demonstrations("oracle", cairngym.make("Chain-N10-v0", num_envs=3), episodes=2)
    assert shown.action.unique().tolist() == [1]
    assert len(shown) == 2
    with pytest.raises(ValueError, match="already registered"):
        register_oracle("right", "x", lambda env: None)


def still(obs, state):
    return torch.zeros(len(obs if torch.is_tensor(obs) else obs["code"]), 1)


def test_noise_is_what_was_asked_for():
    env = tracking(4000, low=-2.0, high=6.0)
    obs, _ = env.reset(seed=0)
    noisy = NoisyPolicy(lambda obs, state: torch.full((len(obs), 1), 2.0), env, noise=0.1, seed=3)(obs, {})
    assert float(noisy.mean()) == pytest.approx(2.0, abs=0.03)
    assert float(noisy.std()) == pytest.approx(0.4, rel=0.05)  # a tenth of half the range
    wild = NoisyPolicy(lambda obs, state: torch.full((len(obs), 1), 9.0), env, random_actions=0.3, seed=3)(obs, {})
    drawn = wild[wild < 6.0]
    assert len(drawn) / 4000 == pytest.approx(0.3, abs=0.03)
    assert float(drawn.mean()) == pytest.approx(2.0, abs=0.3)
    codes = identity(4000)
    obs, _ = codes.reset(seed=0)
    kept = NoisyPolicy(lambda obs, state: torch.zeros(4000, dtype=torch.int64), codes, random_actions=0.4)(obs, {})
    assert float((kept == 0).float().mean()) == pytest.approx(0.6 + 0.4 / 4, abs=0.03)


def test_an_env_is_disturbed_alike_in_a_batch_of_any_size():
    actions = []
    for size in (8, 3):
        env = tracking(size)
        policy = NoisyPolicy(still, env, noise=0.2, random_actions=0.3, seed=1)
        obs, _ = env.reset(seed=0)
        played = []
        for _ in range(4):
            played.append(policy(obs, {})[:3])
            obs, *_ = env.step(policy(obs, {}))
        actions.append(torch.stack(played))
    assert torch.equal(*actions)
    assert not torch.equal(actions[0][0], actions[0][1])  # drawn anew at every step


def test_noise_that_makes_no_sense_is_refused():
    for options, message in (({"noise": 0.1}, "random_actions instead"), ({"random_actions": 1.5}, r"\[0, 1\]")):
        with pytest.raises(ValueError, match=message):
            NoisyPolicy(still, identity(2), **options)


def test_agents_show_what_they_do():
    env = identity(4)
    agent = PPO(identity(4), PPOConfig(hidden=(8,)))
    shown = collect(AgentPolicy(agent, env, 4, deterministic=True), env, 3, only_successful=False)
    actor = agent.actor(len(shown.action), deterministic=True)
    assert torch.equal(actor.act(shown.obs), shown.action)
