"""PPO with demonstrations: the imitation loss, its schedule, exact resume, and what it is for."""

import dataclasses

import pytest
import torch
from agent_toys import identity, success_of, tracking

import cairngym
from cairngym.agents.cloning import from_env
from cairngym.agents.demonstrations import collect
from cairngym.agents.distributions import make_distribution
from cairngym.agents.evaluation import evaluate
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.potential import PotentialShaper

SMALL = PPOConfig(rollout_steps=16, minibatch=256, hidden=(32,), learning_rate=3e-3, cloning_batch=64)


def make(env, path, **changes):
    return PPO(env, dataclasses.replace(SMALL, demonstrations=str(path), **changes))


@pytest.fixture
def codes(tmp_path):
    collect(lambda obs, state: obs["code"][:, 0], identity(8), 20).save(tmp_path / "codes.npz")
    return tmp_path / "codes.npz"


@pytest.fixture
def numbers(tmp_path):
    collect(lambda obs, state: 2.0 * obs, tracking(8), 20).save(tmp_path / "numbers.npz")
    return tmp_path / "numbers.npz"


def test_pretraining_imitates_before_the_first_step(codes):
    agent = make(identity(16), codes, pretrain_updates=80)
    agent.cloning.begin()
    assert agent.steps_done == 0
    assert success_of(identity(16), agent) > 0.9


def test_pretraining_moves_means_and_leaves_the_spread(numbers):
    agent = make(tracking(16), numbers, pretrain_updates=150, log_std=-0.5)
    agent.cloning.begin()
    assert success_of(tracking(16), agent) > 0.9
    assert agent.distribution.log_std.tolist() == [-0.5]


def test_the_loss_is_the_cross_entropy_of_demonstrated_actions(codes, numbers):
    agent = make(identity(4), codes, cloning_coefficient=0.5)
    agent.cloning.begin()
    inputs, action = agent.cloning.inputs, agent.cloning.action
    agent.cloning.config = dataclasses.replace(agent.config, cloning_batch=20_000)
    outputs, _ = agent.model.sequence(inputs, torch.zeros(0, 0), torch.zeros(0, 0))
    expected = torch.nn.functional.cross_entropy(outputs, action)
    torch.testing.assert_close(agent.cloning.loss(), expected, rtol=0.02, atol=0.0)
    torch.testing.assert_close(agent.cloning.penalty(), 0.5 * expected, rtol=0.02, atol=0.0)
    metrics = agent.cloning.metrics()
    assert metrics["cloning_weight"] == 0.5
    assert metrics["loss/cloning"] == pytest.approx(expected.item(), rel=0.02)
    assert agent.cloning.metrics() == {}


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_demonstrated_actions_become_samples_that_stand_for_them(squash):
    space = tracking(1).single_action_space
    distribution = make_distribution(space, squash)
    action = torch.linspace(float(space.low[0]), float(space.high[0]), 9).unsqueeze(1)
    sample = from_env(distribution, action)
    assert sample.isfinite().all()
    torch.testing.assert_close(distribution.to_env(sample), action, atol=3e-4, rtol=0.0)


def test_the_weight_falls_to_zero_and_the_loss_with_it(codes):
    agent = make(identity(16), codes, cloning_coefficient=0.4, cloning_steps=512)
    seen = []
    agent.learn(agent.env, 4 * 256, [seen.append])
    assert [line.get("cloning_weight") for line in seen] == pytest.approx([0.4, 0.2, None, None])
    assert agent.cloning.weight == 0.0


def test_imitating_draws_nothing_that_the_rest_would_draw(codes):
    plain = PPO(identity(8), SMALL)
    plain.learn(plain.env, 512)
    faint = make(identity(8), codes, cloning_coefficient=1e-60)  # no gradient is left of it
    faint.learn(faint.env, 512)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(faint.model.state_dict()[name], value), name


def chain(num_envs=8, **options):
    return cairngym.make("Chain-N10-v0", num_envs=num_envs, **options)


@pytest.fixture
def rightwards(tmp_path):
    collect(lambda obs, state: torch.ones(2, dtype=torch.int64), chain(2), 2).save(tmp_path / "right.npz")
    return tmp_path / "right.npz"


def test_going_on_after_a_save_changes_nothing_and_needs_no_source(rightwards, tmp_path):
    changes = {"pretrain_updates": 5, "cloning_coefficient": 0.3, "cloning_steps": 1024}
    straight = make(chain(), rightwards, **changes)
    straight.learn(straight.env, 256)
    straight.save(tmp_path / "agent.pt")
    straight.learn(straight.env, 256)
    resumed = make(chain(), rightwards, **changes)
    resumed.load(tmp_path / "agent.pt")
    rightwards.unlink()
    resumed.learn(resumed.env, 256)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_an_oracle_plays_below_the_shapers_and_leaves_the_env_as_new():
    def env():
        inner = cairngym.make("MiniGrid-DoorKey-5x5-v0", num_envs=8, seed=5, bank_size=16, threads=1)
        return ShapedEnv(inner, [Term(name="p", shaper=PotentialShaper(gamma=0.99))])

    agent = PPO(env(), dataclasses.replace(
        SMALL, demonstrations="oracle:seed=4", demonstration_episodes=3, cloning_coefficient=0.1,
    ))  # fmt: skip
    agent.learn(agent.env, 256)
    twin = PPO(env(), agent.config)
    twin.learn(twin.env, 256)
    shown, again = agent.cloning.action, twin.cloning.action
    assert torch.equal(shown, again)
    assert agent.env.unwrapped.episodes.seed == 5
    unlike = PPO(env(), dataclasses.replace(agent.config, demonstrations="oracle:seed=6"))
    unlike.cloning.begin()
    assert not torch.equal(unlike.cloning.action, shown)


def test_settings_that_do_nothing_or_cannot_work_are_refused():
    for changes, message in (
        ({"cloning_coefficient": 0.1}, "Expected demonstrations with"),
        ({"demonstrations": "oracle"}, "pretrain_updates or cloning_coefficient"),
        ({"demonstrations": "oracle", "pretrain_updates": 1, "memory": 4}, "memory=0"),
        ({"demonstrations": "oracle", "pretrain_updates": -1}, "pretrain_updates >= 0"),
        ({"demonstrations": "oracle", "pretrain_updates": 1, "cloning_steps": 0}, "cloning_steps >= 1"),
        ({"demonstrations": "oracle:seed=-1", "pretrain_updates": 1}, "seed"),
        ({"demonstrations": "minari:", "pretrain_updates": 1}, "minari:ID"),
    ):
        with pytest.raises(ValueError, match=message):
            PPOConfig(**changes)
    with pytest.raises(TypeError, match="Did you mean 'noise'"):
        PPOConfig(demonstrations="oracle:nois=0.1", pretrain_updates=1)
    agent = PPO(tracking(4), PPOConfig(demonstrations="oracle", pretrain_updates=1))
    with pytest.raises(KeyError, match=r"no oracle for the task 'without an id'.*MiniGrid-\*"):
        agent.learn(agent.env, 64)


def test_two_demonstrations_open_what_a_few_rewardless_rollouts_do_not(rightwards):
    success = {}
    for name, changes in {
        "sparse": {}, "imitating": {"demonstrations": str(rightwards), "pretrain_updates": 60},
    }.items():  # fmt: skip
        agent = PPO(chain(), dataclasses.replace(SMALL, **changes))
        agent.learn(agent.env, 128)
        success[name] = evaluate(agent, chain(), episodes=16).mean_length
    assert success["imitating"] < 14.0 < 30.0 < success["sparse"]
