import pytest
import torch
from evolution_toys import HORIZON, individuals, point, worth

from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.evolution.demonstrator import demonstrations_of, rewarded_elites
from cairngym.agents.evolution.evolution_config import NoveltySearchConfig
from cairngym.agents.evolution.novelty_search import NoveltySearch


def trained(**changes):
    agent = NoveltySearch(point(**changes), NoveltySearchConfig(population=20, hidden=(3,), sigma=0.5))
    agent.learn(agent.env, 800 * HORIZON)
    return agent


@pytest.mark.parametrize("num_envs", [3, 64])
def test_every_rewarded_elite_shows_what_it_can_do(num_envs, tmp_path):
    agent, env = trained(), point(num_envs=num_envs, fused=False)
    elites = rewarded_elites(agent)
    assert elites.size >= 4
    assert (elites.fitness > 0.0).all()
    shown = demonstrations_of(agent, env, elites.size)
    assert shown.lengths.tolist() == [HORIZON] * elites.size
    returns = shown.reward.view(-1, HORIZON).sum(1)
    torch.testing.assert_close(returns, elites.fitness, atol=1e-5, rtol=1e-5)  # each once, the fittest first
    assert shown.success.view(-1, HORIZON).any(1).all()
    ends = shown.next_state["place"].view(-1, HORIZON, 2)[:, -1]
    torch.testing.assert_close(worth(ends), elites.fitness, atol=1e-5, rtol=1e-5)
    shown.save(tmp_path / "shown.npz")
    ring = Demonstrations.load(tmp_path / "shown.npz").ring(env)
    assert ring.filled == elites.size * HORIZON
    assert len(demonstrations_of(agent, env, 2)) == 2


def test_luck_is_not_demonstrated():
    agent = trained(jitter=0.4)
    shown = demonstrations_of(agent, point(num_envs=16, fused=False, jitter=0.4), 10)
    assert (shown.reward.view(-1, HORIZON).sum(1) > 0.0).all()
    # A policy that stays where it is was never rewarded.
    still = NoveltySearch(point(), NoveltySearchConfig(population=2, hidden=(3,)))
    still.findings.add(individuals([[0.0, 0.0]], [0.5], torch.zeros(1, still.controller.size)))
    with pytest.raises(RuntimeError, match=r"Expected 1 rewarded episodes, got 0 in \d+: the elites owe"):
        demonstrations_of(still, point(num_envs=4, fused=False), 1)


def test_an_archive_without_rewards_says_why():
    agent = NoveltySearch(point(), NoveltySearchConfig(population=2, hidden=(3,)))
    with pytest.raises(ValueError, match=r"to have found a reward .* in 0 evaluations. Empty: no evaluation"):
        demonstrations_of(agent, point(fused=False), 1)
    agent.findings.add(individuals([[0.0, 0.0], [5.0, 0.0]], [0.0, 0.0], torch.zeros(2, agent.controller.size)))
    with pytest.raises(ValueError, match=r"2 of 100 cells reached in 2 evaluations, 1 of them outside.*no fitness was"):
        demonstrations_of(agent, point(fused=False), 1)
    with pytest.raises(ValueError, match="Expected episodes >= 1, got 0"):
        demonstrations_of(agent, point(fused=False), 0)
