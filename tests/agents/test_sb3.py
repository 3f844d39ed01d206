import pytest
import torch
from agent_toys import identity, success_of, tracking
from goal_toys import make_line

import cairngym
from cairngym.agents.evaluation import evaluate
from cairngym.agents.registry import make_agent
from cairngym.agents.sb3 import train_sb3
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term


class Learner(Shaper):
    gamma = 0.9

    def __init__(self):
        self.calls = 0

    def shape(self, transition):
        return torch.ones_like(transition.reward)

    def update(self):
        self.calls += 1
        return {"calls": self.calls}


def test_its_ppo_learns_to_repeat_a_code():
    agent = make_agent("sb3-ppo", identity(num_envs=16), learning_rate=3e-3, options={"n_steps": 32, "batch_size": 256})
    heard = []
    agent.learn(agent.env, 6000, [heard.append])
    assert success_of(identity(num_envs=16), agent) > 0.9
    assert agent.steps_done >= 6000
    assert heard[-1]["episodes"] > 0
    assert 0.0 <= heard[-1]["success_rate"] <= 1.0


@pytest.mark.parametrize("name", ["DQN", "A2C"])
def test_any_algorithm_trains_on_a_shaped_env(name):
    env = cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=4), "count", weight=0.1)
    model = train_sb3(name, env, 400, seed=0)
    assert model.num_timesteps >= 400


def test_off_policy_learning_of_continuous_actions():
    agent = make_agent("sb3-sac", tracking(num_envs=4), options={"learning_starts": 50})
    agent.learn(agent.env, 200)
    obs, _ = agent.env.reset(seed=0)
    assert agent.env.single_action_space.contains(agent.act(obs)[0].numpy())


def test_learned_shapers_are_updated():
    shaper = Learner()
    env = ShapedEnv(identity(num_envs=4), (Term(name="learner", shaper=shaper),))
    train_sb3("A2C", env, 400, period=100, gamma=0.9)
    assert shaper.calls == 4


def test_another_discount_is_refused():
    env = ShapedEnv(identity(num_envs=4), (Term(name="learner", shaper=Learner()),))
    with pytest.raises(ValueError, match=r"discount 0.99, got gamma=0.9"):
        train_sb3("A2C", env, 100)


def test_saves_and_goes_on(tmp_path):
    agent = make_agent("sb3-ppo", identity(num_envs=4), options={"n_steps": 16, "batch_size": 32})
    agent.learn(agent.env, 64)
    agent.save(tmp_path / "agent.pt")
    other = make_agent("sb3-ppo", identity(num_envs=4), options={"n_steps": 16, "batch_size": 32}, seed=1)
    other.load(tmp_path / "agent.pt")
    obs, _ = identity(num_envs=4).reset(seed=0)
    assert torch.equal(agent.act(obs, deterministic=True), other.act(obs, deterministic=True))
    other.learn(other.env, 64)
    assert other.steps_done == 128


def test_sampling_follows_the_seed():
    agent = make_agent("sb3-ppo", identity(num_envs=64))
    obs, _ = agent.env.reset(seed=0)
    draws = [agent.actor(64, seed=seed).act(obs) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_its_hindsight_learns_from_our_rewards():
    from stable_baselines3 import HerReplayBuffer

    env = make_line(8, seed=0)
    options = {
        "replay_buffer_class": HerReplayBuffer, "learning_starts": 160, "train_freq": 1, "gradient_steps": 2,
        "batch_size": 128, "policy_kwargs": {"net_arch": [32, 32]},
    }  # fmt: skip
    agent = make_agent("sb3-sac", env, gamma=0.9, learning_rate=3e-3, seed=1, options=options)
    agent.learn(env, 2400)
    buffer = agent.model.replay_buffer
    sample = buffer.sample(256)
    achieved, desired = (sample.next_observations[name] for name in ("achieved_goal", "desired_goal"))
    assert torch.equal(sample.rewards[:, 0], env.compute_reward(achieved, desired))
    assert (sample.rewards == 0).any()
    assert (sample.rewards == -1).any()
    held_out = make_line(64, seed=9)
    assert evaluate(agent, held_out, episodes=64, deterministic=True).success > 0.8
