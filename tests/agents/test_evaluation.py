import pytest
import torch
from agent_toys import ToyTask, ToyWorld, draw_integer, identity
from gymnasium import spaces

import cairngym
from cairngym.agents.core import Actor, Agent
from cairngym.agents.evaluation import evaluate, quotas
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig
from cairngym.envs.core import TensorEnv


class Still(Actor):
    def __init__(self, num_envs):
        self.num_envs, self.begun = num_envs, []

    def act(self, obs):
        return torch.zeros(self.num_envs, dtype=torch.int64)

    def begin(self, mask):
        self.begun.append(mask.clone())


class StillAgent(Agent):
    name = "still"

    def __init__(self, env):
        self.env, self.config = env, None

    def actor(self, num_envs, *, deterministic=False, seed=0):
        self.last = Still(num_envs)
        return self.last

    learn = get_state = set_state = forget_env = lambda self, *args: None


class LuckTask(ToyTask):
    """Code 0 fails after one step; any other succeeds after ten."""

    def failure(self, state):
        return (state["asked"] == 0) & (state["age"] == 1)


def luck(num_envs):
    world = ToyWorld(num_envs, spaces.Discrete(2), draw_integer(2), each_step=False)
    task = LuckTask(
        spaces.Box(0, 1, (1,), dtype="int64"), lambda s: s["shown"].unsqueeze(1),
        lambda s: (s["asked"] != 0) & (s["age"] == 10), horizon=20,
    )  # fmt: skip
    task.terminate_on_success = True
    return TensorEnv(world, task)


def first_codes(num_envs, episodes, seed):
    """The codes that the first episodes of every env under a seed show, drawn without playing them."""
    from types import SimpleNamespace

    ids = torch.arange(num_envs)
    numbers = range(episodes // num_envs)
    return torch.stack(
        [draw_integer(2)(SimpleNamespace(seed=seed, env_id=ids, number=torch.full_like(ids, n)), 0) for n in numbers]
    )


def test_short_failures_are_not_counted_more_often():
    env = luck(num_envs=10)
    found = evaluate(StillAgent(luck(1)), env, episodes=200, seed=3)
    lucky = int((first_codes(10, 200, 3) != 0).sum())
    # Taking the first 200 episodes to end would count about ten failures for every success.
    assert (found.episodes, found.successes) == (200, lucky)
    assert 70 < lucky < 130
    assert found.success == lucky / 200
    assert found.mean_length == pytest.approx((10 * lucky + (200 - lucky)) / 200)
    assert found.mean_return == found.success


def test_quotas_add_up():
    assert quotas(7, 3) == [3, 2, 2]
    assert quotas(2, 4) == [1, 1, 0, 0]


def test_fewer_episodes_than_envs():
    found = evaluate(StillAgent(luck(1)), luck(8), episodes=3, seed=1)
    assert (found.episodes, found.successes) == (3, int((first_codes(3, 3, 1) != 0).sum()))


def test_the_actor_hears_of_every_ended_episode():
    agent = StillAgent(luck(1))
    evaluate(agent, luck(4), episodes=8, seed=0)
    ended = torch.stack(agent.last.begun).sum(0)
    assert (ended >= 2).all()


def test_shaped_rewards_do_not_count():
    env = cairngym.shape(luck(6), "count", weight=5.0)
    assert evaluate(StillAgent(luck(1)), env, episodes=30, seed=2) == evaluate(
        StillAgent(luck(1)), luck(6), episodes=30, seed=2
    )


def test_the_same_seed_finds_the_same_and_learning_is_not_touched():
    def learned(disturb):
        agent = PPO(identity(num_envs=16), PPOConfig(rollout_steps=8, minibatch=64, hidden=(8,)))
        found = []

        def look(metrics):
            if disturb:
                found.append(evaluate(agent, identity(8), 16, seed=5))

        agent.learn(agent.env, 512, [look])
        return found, torch.cat([parameter.detach().flatten() for parameter in agent.parameters])

    (first, one), (second, two), (_, undisturbed) = learned(True), learned(True), learned(False)
    assert first == second
    assert torch.equal(one, two)
    assert torch.equal(one, undisturbed)


def test_bad_requests_are_refused():
    env = luck(2)
    with pytest.raises(ValueError, match="Expected episodes >= 1, got 0"):
        evaluate(StillAgent(luck(1)), env, episodes=0)
    with pytest.raises(ValueError, match="Expected an env of its own for evaluation"):
        evaluate(StillAgent(env), env, episodes=1)
