import dataclasses

import pytest
import torch
from agent_toys import identity, success_of, tracking

import cairngym
from cairngym.agents.evolution.cem import CEM, SearchDistribution, elite_weights
from cairngym.agents.evolution.cem_config import CEMConfig
from cairngym.agents.registry import agent_config_class, load_agent, make_agent
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term

SMALL = CEMConfig(population=32, hidden=(8,), extra_generations=30)


def make(env, **changes):
    return CEM(env, dataclasses.replace(SMALL, **changes))


# What it must learn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"hidden": (), "antithetic": True}, {"smoothing": 0.7, "episodes": 2}])
def test_learns_to_repeat_a_code(changes):
    agent = make(identity(), **changes)
    agent.learn(agent.env, 60_000)
    assert success_of(identity(), agent) > 0.98


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_learns_continuous_actions(squash):
    agent = make(tracking(), squash=squash, hidden=())
    agent.learn(agent.env, 60_000)
    assert success_of(tracking(), agent) > 0.9


class Bonus(Shaper):
    def __init__(self, gamma=None):
        self.gamma = gamma

    def shape(self, transition):
        return (transition.action == 2).float()


def test_learns_from_the_shaped_reward():
    env = ShapedEnv(identity(), (Term(name="bonus", shaper=Bonus(), weight=5.0),))
    agent, heard = make(env), []
    agent.learn(env, 40_000, [heard.append])
    obs, _ = identity().reset(seed=0)
    assert (agent.act(obs) == 2).all()
    assert heard[-1]["reward_terms/bonus"] > 0.9
    assert heard[-1]["fitness/best"] > 16 * 5
    assert heard[-1]["episode_return"] < 8  # the task's alone


# How it refines ------------------------------------------------------------------------------------------------------


def test_elite_weights_share_the_places_of_a_tie():
    fitness = torch.tensor([3.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert elite_weights(fitness, 1).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert elite_weights(fitness, 2).tolist() == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert elite_weights(fitness, 4).tolist() == [1.0, 0.5, 0.5, 1.0, 0.5, 0.5]
    assert elite_weights(torch.zeros(4), 1).tolist() == [0.25] * 4
    assert elite_weights(fitness, 6).tolist() == [1.0] * 6


def test_refining_gives_the_elites_mean_and_deviation():
    search = SearchDistribution(2, std=2.0)
    candidates = torch.tensor([[1.0, 0.0], [3.0, 0.0], [100.0, 100.0]])
    search.refine(candidates, torch.tensor([1.0, 1.0, 0.0]), extra_variance=0.25)
    assert search.mean.tolist() == [2.0, 0.0]
    torch.testing.assert_close(search.std, torch.tensor([1.25**0.5, 0.5]))


def test_smoothing_moves_part_of_the_way():
    search = SearchDistribution(1, std=2.0)
    search.refine(torch.tensor([[1.0], [3.0]]), torch.ones(2), smoothing=0.25)
    assert search.mean.item() == 0.5
    assert search.std.item() == 1.75


def test_samples_have_the_mean_and_the_deviation():
    search = SearchDistribution(3, std=0.5)
    search.mean.copy_(torch.tensor([1.0, -2.0, 0.0]))
    sample = search.sample(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample.mean(0), search.mean, atol=0.04, rtol=0.0)
    torch.testing.assert_close(sample.std(0), search.std, atol=0.03, rtol=0.0)
    pairs = search.sample(6, torch.Generator().manual_seed(0), antithetic=True)
    torch.testing.assert_close(pairs[:3] + pairs[3:], 2.0 * search.mean.expand(3, 3))


def test_the_extra_variance_falls_to_zero(monkeypatch):
    agent, added = make(identity(num_envs=32), extra_variance=4.0, extra_generations=4), []
    refine = agent.search.refine
    monkeypatch.setattr(agent.search, "refine", lambda *a, **k: [added.append(k["extra_variance"]), refine(*a, **k)])
    agent.learn(agent.env, 6 * 16 * 32)
    assert added == [4.0, 3.0, 2.0, 1.0, 0.0, 0.0]


def test_fitness_is_the_mean_over_a_policys_worlds():
    env = tracking(num_envs=64)
    agent = make(env)
    candidates = agent.search.sample(32, torch.Generator().manual_seed(5))
    fitness, steps, episodes = agent._judge(env, agent.shape.stack(candidates))
    assert steps == 16 * 64
    assert fitness.shape == (32,)
    assert episodes["episodes"] == 64
    assert episodes["episode_return"] == pytest.approx(fitness.mean().item())
    # World i plays policy i // 2, so the same policy twice in a row earns what it earns on the worlds of both.
    again = tracking(num_envs=64)
    double = candidates[::2].repeat_interleave(2, 0)
    pairs = agent._judge(again, agent.shape.stack(double))[0].view(16, 2).mean(1)
    third = tracking(num_envs=64)
    torch.testing.assert_close(agent._judge(third, agent.shape.stack(candidates[::2]))[0], pairs)


# How it goes on ------------------------------------------------------------------------------------------------------


def test_the_same_seed_learns_the_same_and_another_does_not():
    agents = [make(identity(), seed=seed) for seed in (3, 3, 4)]
    for agent in agents:
        torch.rand(agent.config.seed + 1)  # the global random numbers play no part
        agent.learn(agent.env, 4096)
    assert torch.equal(agents[0].search.mean, agents[1].search.mean)
    assert not torch.equal(agents[0].search.mean, agents[2].search.mean)


@pytest.mark.parametrize("make_env", [tracking, lambda: cairngym.shape(identity(), "count", weight=0.1)])
def test_saved_and_continued_equals_uninterrupted(tmp_path, make_env):
    straight, first, second = (make(make_env(), antithetic=True) for _ in range(3))
    straight.learn(straight.env, 4096)
    first.learn(first.env, 2048)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    assert (second.steps_done, second.generations_done) == (2048, 2)
    second.learn(second.env, 2048)
    assert (second.steps_done, second.generations_done) == (4096, 4)
    for name, value in straight.get_state()["model"].items():
        assert torch.equal(value, second.get_state()["model"][name]), name
    assert torch.equal(straight.generator.get_state(), second.generator.get_state())
    assert torch.equal(straight.env.unwrapped.episodes.number, second.env.unwrapped.episodes.number)


def test_resumes_on_a_temporal_task(tmp_path):
    straight, first, second = (
        make(cairngym.make("StlLinear-ReachAvoid-v0", num_envs=32, horizon=50)) for _ in range(3)
    )
    straight.learn(straight.env, 4 * 50 * 32)
    first.learn(first.env, 2 * 50 * 32)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    second.learn(second.env, 2 * 50 * 32)
    assert straight.steps_done == second.steps_done == 4 * 50 * 32  # an episode lasts the whole horizon
    for name, value in straight.get_state()["model"].items():
        assert torch.equal(value, second.get_state()["model"][name]), name


def test_two_calls_of_learn_equal_one():
    one, two = make(tracking()), make(tracking())
    one.learn(one.env, 4096)
    two.learn(two.env, 2048)
    two.learn(two.env, 2048)
    assert torch.equal(one.search.mean, two.search.mean)


def test_policies_play_by_the_statistics_of_earlier_generations():
    env = tracking()
    agent = make(env)
    agent.learn(env, 1)
    assert agent.normalizer.count == 16 * 64
    before = agent.normalizer.mean.clone()
    agent._judge(env, agent.shape.stack(agent.search.sample(32, agent.generator)))
    assert torch.equal(agent.normalizer.mean, before)
    assert agent.seen.count == 2 * 16 * 64
    plain = make(tracking(), normalize=False)
    plain.learn(plain.env, 1)
    assert plain.normalizer.count == 0


def test_metrics_and_stopping():
    heard = []
    agent = make(identity())
    agent.learn(agent.env, 10_000, [lambda metrics: metrics["step"] < 2048, heard.append])
    assert [metrics["step"] for metrics in heard] == [1024, 2048]
    assert heard[0]["episodes"] == 64
    assert {"success_rate", "episode_return", "episode_length", "steps_per_s", "fitness/best", "std"} <= set(heard[0])
    assert heard[0]["fitness/mean"] <= heard[0]["fitness/elite"] <= heard[0]["fitness/best"]


def test_the_mean_acts_and_follows_the_learning():
    agent = make(tracking())
    obs, _ = tracking().reset(seed=0)
    actor = agent.actor(64)
    assert torch.equal(actor.act(obs), torch.zeros(64, 1))  # a mean of zeros acts in the middle of the box
    agent.learn(agent.env, 4096)
    assert not torch.equal(actor.act(obs), torch.zeros(64, 1))
    assert torch.equal(actor.act(obs), agent.act(obs))
    assert torch.equal(agent.act(obs, deterministic=True), agent.act(obs))


def test_the_registry_makes_and_loads_it(tmp_path):
    assert agent_config_class("cem") is CEMConfig
    agent = make_agent("cem", tracking(), population=16, hidden=[4])
    agent.learn(agent.env, 1)
    agent.save(tmp_path / "agent.pt")
    obs, _ = tracking(num_envs=3).reset(seed=0)
    other = load_agent(tmp_path / "agent.pt", tracking(num_envs=3))  # any number of envs to play
    assert torch.equal(other.act(obs), agent.act(obs))
    with pytest.raises(ValueError, match=r"Expected networks with search.mean of shape"):
        make(tracking(), hidden=(9,)).load(tmp_path / "agent.pt")


# What it refuses -----------------------------------------------------------------------------------------------------


def test_envs_it_cannot_learn_from_are_refused():
    agent = make(identity(num_envs=40))
    with pytest.raises(ValueError, match=r"the 32 policies of a population can share equally, got 40.*num_envs=32"):
        agent.learn(agent.env, 1)
    with pytest.raises(ValueError, match="Expected an env that resets within the step"):
        make(cairngym.make("Chain-N10-v0", num_envs=32, autoreset_mode="NextStep"))
    shaped = ShapedEnv(identity(), (Term(name="bonus", shaper=Bonus(gamma=0.9)),))
    with pytest.raises(ValueError, match=r"'bonus'.*discount 1.0, got gamma=0.9"):
        make(shaped).learn(shaped, 1)
    discounting = make(shaped, gamma=0.9)
    discounting.learn(shaped, 1)
    assert discounting.steps_done == 1024


def test_returns_that_are_not_finite_are_refused():
    env = identity()
    env.task.reward = lambda state, success, failure, length: torch.full(success.shape, torch.nan)
    with pytest.raises(ValueError, match=r"Expected finite returns .* got 32 policies of 32 with NaN"):
        make(env).learn(env, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"population": 1}, "Expected a population of at least 2, got 1"),
        ({"population": 7, "antithetic": True}, "Expected an even population"),
        ({"elite_fraction": 0.0}, "Expected elite_fraction in \\(0, 1\\], got 0.0"),
        ({"smoothing": 1.5}, "Expected smoothing in"),
        ({"gamma": -0.1}, "Expected gamma in \\[0, 1\\], got -0.1"),
        ({"std": 0.0}, "Expected std > 0"),
        ({"extra_variance": -1.0}, "Expected extra_variance >= 0"),
        ({"episodes": 0}, "Expected episodes >= 1"),
        ({"hidden": (0,)}, "hidden layers of width >= 1"),
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"squash": "clap"}, "Did you mean 'clip'"),
        ({"seed": -1}, "Expected a seed in"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises((ValueError, KeyError), match=message):
        CEMConfig(**changes)


def test_the_elite_is_never_empty():
    assert CEMConfig(population=4, elite_fraction=0.01).elites == 1
    assert CEMConfig(population=64, elite_fraction=0.125).elites == 8
