import dataclasses

import pytest
import torch
from agent_toys import ToyTask, ToyWorld, draw_integer, identity, recall, success_of, tracking
from gymnasium import spaces

import cairngym
from cairngym.agents.ppo import PPO, adapt
from cairngym.agents.ppo_config import PPOConfig
from cairngym.agents.rollout import Rollout
from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term

SMALL = PPOConfig(rollout_steps=16, minibatch=256, hidden=(32,), learning_rate=3e-3)


def make(env, **changes):
    return PPO(env, dataclasses.replace(SMALL, **changes))


# What it must learn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"shared": False, "value_clip": 0.2, "activation": "relu"}, {"schedule": "kl", "epochs": 2}]
)
def test_learns_to_repeat_a_code(changes):
    agent = make(identity(), **changes)
    agent.learn(agent.env, 30_000)
    assert success_of(identity(), agent) > 0.98


def test_learns_from_scaled_integers():
    agent = make(identity(actions=2, dict_obs=False))
    agent.learn(agent.env, 20_000)
    assert success_of(identity(actions=2, dict_obs=False), agent) > 0.98


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_learns_continuous_actions(squash):
    agent = make(tracking(), squash=squash, log_std=-0.5, epochs=4, entropy_coefficient=0.0)
    agent.learn(agent.env, 40_000)
    assert success_of(tracking(), agent) > 0.9


def test_only_a_memory_recalls():
    without = make(recall(), learning_rate=1e-2)
    without.learn(without.env, 16_000)
    agent = make(recall(), memory=16, learning_rate=1e-2, epochs=2)
    agent.learn(agent.env, 32_000)
    assert success_of(recall(), without) * 3 < 0.7
    assert success_of(recall(), agent) * 3 > 0.95


# How it estimates ----------------------------------------------------------------------------------------------------


class Counter(TensorEnv):
    """Shows how many steps the episode has lasted; truncates after three of them."""

    def __init__(self, num_envs=4):
        world = ToyWorld(num_envs, spaces.Discrete(2), draw_integer(2))
        super().__init__(
            world,
            ToyTask(
                spaces.Box(0.0, 3.0, (1,)), lambda s: s["age"].float().unsqueeze(1), lambda s: s["age"] < 0, horizon=3
            ),
        )


def test_bootstraps_truncated_episodes_from_their_true_last_observation():
    agent = make(Counter(), rollout_steps=7, stagger=False)
    agent._begin(agent.env)
    store, _ = agent._collect(agent.env)
    with torch.no_grad():
        inputs = agent.encoder(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
        value = agent.model(inputs, agent.model.initial_memory(4))[1].squeeze(1)
    for t in range(7):
        assert bool(store.done[t].all()) == (t % 3 == 2)
        torch.testing.assert_close(store.next_value()[t, :, 0], value[t % 3 + 1].expand(4))


class Bonus(Shaper):
    stream = "intrinsic"

    def __init__(self, gamma=None):
        self.gamma = gamma

    def shape(self, transition):
        return torch.full_like(transition.reward, 2.0)


def test_the_intrinsic_stream_takes_its_part_of_the_reward():
    env = ShapedEnv(identity(num_envs=4), (Term(name="bonus", shaper=Bonus(), weight=0.5),))
    agent = make(env, intrinsic_gamma=0.9)
    agent._begin(env)
    store, terms = agent._collect(env)
    assert torch.equal(store.reward[..., 1], torch.ones(16, 4))
    assert set(store.reward[..., 0].unique().tolist()) <= {0.0, 1.0}
    assert float(terms["bonus"]) / 16 == 2.0
    whole = make(env)
    whole._begin(env)
    assert whole._collect(env)[0].reward.min() >= 1.0


def test_shapers_learn_after_every_rollout_and_report():
    calls = []

    class Learner(Bonus):
        def update(self):
            calls.append(1)
            return {"loss": 0.25}

    env = ShapedEnv(identity(), (Term(name="learner", shaper=Learner()),))
    seen = []
    agent = make(env)
    agent.learn(env, 2 * 16 * 64, [seen.append])
    assert len(calls) == 2
    assert seen[0]["shaper/learner/loss"] == 0.25
    assert seen[0]["reward_terms/learner"] == 2.0


# How it goes on ------------------------------------------------------------------------------------------------------


def parameters(agent):
    return torch.cat([parameter.detach().flatten() for parameter in agent.parameters])


def test_the_same_seed_learns_the_same_and_another_does_not():
    agents = [make(identity(), seed=seed) for seed in (3, 3, 4)]
    for agent in agents:
        torch.rand(agent.config.seed + 1)  # the global random numbers play no part
        agent.learn(agent.env, 4096)
    assert torch.equal(parameters(agents[0]), parameters(agents[1]))
    assert not torch.equal(parameters(agents[0]), parameters(agents[2]))


@pytest.mark.parametrize("changes", [{}, {"memory": 8, "schedule": "kl"}, {"intrinsic_gamma": 0.9}])
def test_saved_and_continued_equals_uninterrupted(tmp_path, changes):
    def env():
        return cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=16, seed=5), "count", weight=0.1)

    straight = make(env(), **changes)
    straight.learn(straight.env, 2048)
    first = make(env(), **changes)
    first.learn(first.env, 1024)
    first.save(tmp_path / "agent.pt")
    second = make(env(), **changes)
    second.load(tmp_path / "agent.pt")
    assert second.steps_done == 1024
    second.learn(second.env, 1024)
    assert torch.equal(parameters(straight), parameters(second))
    assert straight.learning_rate == second.learning_rate
    for name, value in straight.env.unwrapped.episodes.get_state().items():
        other = second.env.unwrapped.episodes.get_state()[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_a_shaped_minigrid_run_resumes_bit_for_bit(tmp_path):
    def env():
        inner = cairngym.make("MiniGrid-Empty-5x5-v0", num_envs=16, seed=5, bank_size=8)
        return cairngym.shape(cairngym.shape(inner, "potential", gamma=0.99), "rnd", weight=0.1)

    straight, first, second = make(env()), make(env()), make(env())
    straight.learn(straight.env, 1024)
    first.learn(first.env, 512)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    second.learn(second.env, 512)
    assert torch.equal(parameters(straight), parameters(second))


def test_two_calls_of_learn_equal_one():
    one, two = make(identity()), make(identity())
    one.learn(one.env, 4096)
    two.learn(two.env, 2048)
    two.learn(two.env, 2048)
    assert torch.equal(parameters(one), parameters(two))


def test_normalized_features_survive_a_checkpoint(tmp_path):
    agent = make(tracking())
    agent.learn(agent.env, 4096)
    agent.save(tmp_path / "agent.pt")
    other = make(tracking())
    other.load(tmp_path / "agent.pt")
    assert agent.model.normalizer.count == other.model.normalizer.count == 4096
    obs = torch.rand(8, 1)
    assert torch.equal(agent.actor(8, seed=1).act(obs), other.actor(8, seed=1).act(obs))


def test_a_checkpoint_serves_another_number_of_envs(tmp_path):
    agent = make(identity())
    agent.learn(agent.env, 1024)
    agent.save(tmp_path / "agent.pt")
    other = make(identity(num_envs=8))
    other.load(tmp_path / "agent.pt")
    other.learn(other.env, 128)
    assert other.steps_done == 1024 + 128


def test_callbacks_hear_of_every_iteration_and_may_stop():
    heard = []
    agent = make(identity())
    agent.learn(agent.env, 10_000, [lambda metrics: metrics["step"] < 2048, heard.append])
    assert [metrics["step"] for metrics in heard] == [1024, 2048]
    assert {"success_rate", "episode_return", "episode_length", "episodes", "steps_per_s", "loss/policy"} <= set(
        heard[0]
    )


def test_an_iteration_without_an_ended_episode_has_no_success_rate():
    heard = []
    env = cairngym.make("Chain-N10-v0", num_envs=4)
    agent = make(env, rollout_steps=4, stagger=False)
    agent.learn(env, 16, [heard.append])
    assert heard[0]["success_rate"] is None
    assert heard[0]["episodes"] == 0


def test_act_keeps_a_memory_for_each_batch_size():
    agent = make(recall(num_envs=4), memory=8)
    obs, _ = agent.env.reset(seed=0)
    first = agent.act(obs, deterministic=True)
    agent.act(obs, deterministic=True)
    assert first.shape == (4,)
    everyone = torch.ones(4, dtype=torch.bool)
    assert torch.equal(agent.act(obs, deterministic=True, fresh=everyone), first)


@pytest.mark.slow
def test_a_compiled_loss_is_the_same_loss():
    plain, compiled = make(identity()), make(identity(), compile=True)
    plain.learn(plain.env, 2048)
    compiled.learn(compiled.env, 2048)
    torch.testing.assert_close(parameters(plain), parameters(compiled), rtol=1e-3, atol=1e-4)


# What it refuses -----------------------------------------------------------------------------------------------------


def test_another_discount_than_the_shapers_is_refused():
    env = ShapedEnv(identity(), (Term(name="bonus", shaper=Bonus(gamma=0.9)),))
    with pytest.raises(ValueError, match=r"'bonus'.*discount 0.99, got gamma=0.9.*gamma=0.99, or the agent gamma=0.9"):
        make(env).learn(env, 1)
    with pytest.raises(ValueError, match=r"discount 0.95, got gamma=0.9.*agent intrinsic_gamma=0.9"):
        make(env, intrinsic_gamma=0.95).learn(env, 1)
    agent = make(env, intrinsic_gamma=0.9)
    agent.learn(env, 1)
    assert agent.steps_done == 1024


def test_another_autoreset_mode_is_refused():
    env = cairngym.make("Chain-N10-v0", num_envs=2, autoreset_mode="NextStep")
    with pytest.raises(ValueError, match="Expected an env that resets within the step"):
        make(env)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 1.5}, "Expected gamma in \\[0, 1\\], got 1.5"),
        ({"minibatch": 0}, "Expected minibatch >= 1"),
        ({"schedule": "linear"}, "Expected schedule_steps"),
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"hidden": ()}, "at least one hidden layer"),
        ({"seed": -1}, "Expected a seed in"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises((ValueError, KeyError), match=message):
        PPOConfig(**changes)


# Parts ---------------------------------------------------------------------------------------------------------------


def test_the_rate_follows_the_divergence_within_bounds():
    assert adapt(1e-3, 0.03, 0.01) == pytest.approx(1e-3 / 1.5)
    assert adapt(1e-3, 0.001, 0.01) == pytest.approx(1.5e-3)
    assert adapt(1e-3, 0.01, 0.01) == 1e-3
    assert adapt(1e-5, 1.0, 0.01) == 1e-5
    assert adapt(1e-2, 0.0, 0.01) == 1e-2


def test_a_linear_schedule_reaches_zero():
    agent = make(identity(), schedule="linear", schedule_steps=4096)
    rates = []
    agent.learn(agent.env, 5 * 1024, [lambda metrics: rates.append(metrics["learning_rate"])])
    assert rates == pytest.approx([3e-3, 3e-3 * 0.75, 3e-3 * 0.5, 3e-3 * 0.25, 0.0])


def test_the_loss_agrees_with_one_written_with_distributions():
    agent = make(identity(num_envs=8), normalize_advantage=False, value_clip=0.1, entropy_coefficient=0.02)
    agent._begin(agent.env)
    store, _ = agent._collect(agent.env)
    assert isinstance(store, Rollout)
    store.estimate((0.99,), 0.95, (True,))
    for parameter in agent.parameters:
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = next(store.minibatches(128, store.total_advantage(normalize=False), agent.generator, sequences=False))
    logits, values = agent.model.sequence(batch.inputs, batch.memory, batch.begins)
    policy, value, target = torch.distributions.Categorical(logits=logits), values[:, 0], batch.target[:, 0]
    ratio = (policy.log_prob(batch.action) - batch.log_prob).exp()
    surrogate = torch.minimum(ratio * batch.advantage, ratio.clamp(0.8, 1.2) * batch.advantage)
    near = batch.value[:, 0] + (value - batch.value[:, 0]).clamp(-0.1, 0.1)
    value_loss = 0.5 * torch.maximum((value - target) ** 2, (near - target) ** 2).mean()
    expected = -surrogate.mean() + 0.5 * value_loss - 0.02 * policy.entropy().mean()
    torch.testing.assert_close(agent.loss(batch)[0], expected)


def test_the_memory_is_emptied_where_episodes_begin():
    agent = make(recall(num_envs=6), memory=8, rollout_steps=7, stagger=False)
    agent._begin(agent.env)
    store, _ = agent._collect(agent.env)
    batch = next(store.minibatches(42, store.total_advantage(normalize=False), agent.generator, sequences=True))
    outputs, values = agent.model.sequence(batch.inputs, batch.memory, batch.begins)
    torch.testing.assert_close(agent.distribution.evaluate(outputs, batch.action)[0], batch.log_prob)
    torch.testing.assert_close(values, batch.value)
    assert store.begins[3].all()
    assert not store.begins[1].any()
