import dataclasses
import sys

import pytest
import torch
from agent_toys import identity
from evolution_toys import HORIZON, FusedPoint, point, same, uncompiled_ribs

from cairngym.agents.checkpoint import to_plain
from cairngym.agents.evaluation import evaluate
from cairngym.agents.evolution.cma_me import CmaMe
from cairngym.agents.evolution.deep_ga import DeepGA
from cairngym.agents.evolution.evolution_config import (
    CmaMeConfig,
    DeepGAConfig,
    EvolutionConfig,
    MapElitesConfig,
    NoveltySearchConfig,
    SereneConfig,
)
from cairngym.agents.evolution.map_elites import MapElites
from cairngym.agents.evolution.novelty_search import NoveltySearch
from cairngym.agents.evolution.reevaluation import corrected
from cairngym.agents.evolution.serene import Serene
from cairngym.agents.evolution.together import learn_together

COMMON = {"hidden": (3,), "sigma": 0.5, "report_every": 1}
METHODS = {
    "novelty_search": (NoveltySearch, NoveltySearchConfig(population=10, neighbors=3, **COMMON)),
    "map_elites": (MapElites, MapElitesConfig(population=20, **COMMON)),
    "cma_me": (CmaMe, CmaMeConfig(emitters=4, **COMMON)),
    "serene": (Serene, SereneConfig(population=10, neighbors=3, chunk=150, emitter_population=3, **COMMON)),
    "deep_ga": (DeepGA, DeepGAConfig(population=20, parents=4, candidates=3, **COMMON)),
}


def make(name, env=None, **changes):
    cls, config = METHODS[name]
    if name in ("map_elites", "cma_me"):
        uncompiled_ribs()
    return cls(point() if env is None else env, dataclasses.replace(config, **changes))


def evaluations(count):
    return count * HORIZON


# What it must find ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(METHODS))
def test_finds_the_rewards_and_acts_by_the_best(name):
    agent, heard = make(name), []
    agent.learn(agent.env, evaluations(800), [heard.append])
    last = heard[-1]
    assert max(last["area_0/best"], last["area_1/best"]) == last["best_fitness"] > 0.7
    assert last["coverage"] > 0.15
    assert agent.elite.fitness == last["elite_fitness"]
    found = evaluate(agent, point(num_envs=3), episodes=3)
    assert found.mean_return == pytest.approx(last["best_fitness"], abs=1e-5)
    assert found.success == 1.0
    # The books agree with each other, and everything that played counted.
    record = agent.findings.record
    assert last["evaluations"] == record.evaluations + last["reevaluations"] == agent.evaluations
    assert last["step"] == agent.steps_done == evaluations(agent.evaluations)
    elites = agent.findings.elites
    assert (elites.genome.abs() <= agent.config.bound).all()
    played = agent.env.world.play(
        agent.env.task, elites.genome, agent.controller.policy, seeds=torch.zeros(elites.size, dtype=torch.int64)
    )
    assert torch.equal(record.descriptor.cell(played.descriptor), record.reached)
    torch.testing.assert_close(played.returns, elites.fitness)


@pytest.mark.parametrize("name", list(METHODS))
def test_saved_and_continued_equals_uninterrupted(name, tmp_path):
    straight, first = make(name), make(name)
    straight.learn(straight.env, evaluations(700))
    stages = set()
    for part in (130, 100, 40, 130, 300):  # within the chunks and the stages of SERENE
        second = make(name)
        first.learn(first.env, min(evaluations(part), straight.steps_done - first.steps_done))
        stages.add(getattr(first, "stage", None))
        first.save(tmp_path / "agent.pt")
        second.load(tmp_path / "agent.pt")
        first = second
    assert name != "serene" or stages == {"explore", "bootstrap", "exploit"}
    assert first.steps_done == straight.steps_done
    assert same(to_plain(straight.get_state()), to_plain(first.get_state()))


@pytest.mark.parametrize("name", ["serene", "deep_ga"])
def test_steps_where_no_world_plays_by_itself_and_resumes(name, tmp_path):
    straight, first, second = (make(name, point(num_envs=7, fused=False, jitter=0.1)) for _ in range(3))
    straight.learn(straight.env, 1200)
    first.learn(first.env, 600)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    second.learn(second.env, straight.steps_done - second.steps_done)
    assert same(to_plain(straight.get_state()), to_plain(second.get_state()))
    assert torch.equal(straight.env.unwrapped.episodes.number, second.env.unwrapped.episodes.number)
    assert straight.steps_done % (7 * HORIZON) == 0


def test_the_same_seed_finds_the_same_and_another_does_not():
    agents = [make("serene", seed=seed) for seed in (3, 3, 4)]
    for agent in agents:
        torch.rand(agent.config.seed + 1)  # the global random numbers play no part
        agent.learn(agent.env, evaluations(300))
    assert same(agents[0].get_state(), agents[1].get_state())
    assert not torch.equal(agents[0].elite.genome, agents[2].elite.genome)


def test_several_learn_in_one_call_as_each_would_alone():
    def crowd():
        return [make("serene", seed=1), make("serene", seed=2, evaluations=170), make("deep_ga", seed=1)]

    env, together, alone = point(jitter=0.1), crowd(), crowd()
    heard = [[], [], []]
    stops = [[one.append] for one in heard]
    stops[2].append(lambda metrics: metrics["evaluations"] < 100)
    learn_together(together, env, evaluations(500), stops)
    for agent, stop in zip(alone, (None, None, lambda metrics: metrics["evaluations"] < 100), strict=True):
        agent.learn(point(jitter=0.1), evaluations(500), [stop] if stop else [])
    for one, other in zip(together, alone, strict=True):
        assert same(one.get_state(), other.get_state())
        assert one.env is env
    assert 170 <= together[1].evaluations < 200
    assert 100 <= together[2].evaluations < 130
    assert heard[0][-1]["evaluations"] == together[0].evaluations >= 500
    # One call a generation of all, and one more for every elite to confirm.
    confirmed = sum(agent.evaluations for agent in together)
    assert env.world.calls < confirmed
    with pytest.raises(ValueError, match="Expected a world that plays whole episodes by itself"):
        learn_together(crowd(), point(fused=False), 1)
    with pytest.raises(ValueError, match="Expected agents with equal policies"):
        learn_together([make("deep_ga"), make("deep_ga", hidden=(4,))], env, 1)


# Re-evaluation -------------------------------------------------------------------------------------------------------


def test_an_elite_is_worth_the_mean_of_its_episodes(monkeypatch):
    agent = make("novelty_search", point(jitter=0.3), elite_episodes=3)
    confirmed = []
    crown = agent.crown
    monkeypatch.setattr(agent, "crown", lambda found: [confirmed.append(found), crown(found)])
    agent.learn(agent.env, evaluations(400))
    assert agent.reevaluations == 3 * len(confirmed) > 0
    best = max(float(found.fitness) for found in confirmed)
    assert float(agent.elite.fitness) == best < agent.findings.record.best_fitness
    grid, metrics = corrected(agent, point(jitter=0.3), episodes=20)
    assert metrics["corrected/best_fitness"] < agent.findings.record.best_fitness
    assert metrics["corrected/coverage"] <= agent.findings.record.coverage
    assert 0.0 < metrics["corrected/same_cell"] < 1.0
    assert metrics["corrected/reproducibility"] > 0
    assert grid.record.evaluations == len(agent.findings.record.reached)
    # Without chance nothing is corrected.
    sure = make("novelty_search")
    sure.learn(sure.env, evaluations(100))
    again = corrected(sure, point(), episodes=2)[1]
    assert again["corrected/qd_score"] == pytest.approx(sure.findings.record.qd_score, abs=1e-5)
    assert (again["corrected/coverage"], again["corrected/same_cell"]) == (sure.findings.record.coverage, 1.0)
    with pytest.raises(ValueError, match=r"Expected elites to play again, got none. Empty: no evaluation"):
        corrected(make("novelty_search"), point())


def test_the_first_of_equals_stays_the_elite():
    agent = make("novelty_search", elite_episodes=0)
    genomes = torch.arange(4.0).unsqueeze(1).expand(-1, agent.controller.size)
    for fitness, expected in (([0.0, 0.5, 0.5, 0.0], 1.0), ([0.5, 0.5, 0.5, 0.5], 1.0), ([0.0, 0.0, 0.6, 0.6], 2.0)):
        found = agent.elite._replace(genome=genomes, fitness=torch.tensor(fitness), descriptor=torch.zeros(4, 2))
        contenders = agent.contenders(found)
        if contenders.size:
            agent.crown(agent._confirmed(contenders))
        assert agent.elite.genome[0, 0] == expected


# Budgets, reports, refusals ------------------------------------------------------------------------------------------


def test_evaluations_bound_the_learning_and_reports_come_as_asked():
    heard = []
    agent = make("novelty_search", evaluations=150, report_every=60, elite_episodes=0)
    agent.learn(agent.env, evaluations(10_000), [heard.append])
    assert [metrics["evaluations"] for metrics in heard] == [70, 130, 150]  # 10 at first, then 20 a generation
    assert [metrics["episodes"] for metrics in heard] == [70, 60, 20]
    assert heard[-1]["step"] == evaluations(150)
    assert {"coverage", "qd_score", "best_fitness", "success_rate", "archive", "evaluations_per_s"} <= set(heard[-1])
    agent.learn(agent.env, evaluations(100), [heard.append])
    assert len(heard) == 3
    stopped = make("novelty_search")
    stopped.learn(stopped.env, evaluations(1000), [lambda metrics: False])
    assert stopped.generations_done == 1


def test_no_two_evaluations_live_the_same_life():
    agent = make("deep_ga")
    lives = []
    play = FusedPoint.play
    world = agent.env.world
    world.play = lambda *a, seeds, **k: [lives.append(seeds), play(world, *a, seeds=seeds, **k)][1]
    agent.learn(agent.env, evaluations(100))
    assert len(torch.cat(lives)) == len(torch.cat(lives).unique()) == agent.evaluations


def test_a_task_without_descriptor_is_for_the_genetic_algorithm_alone():
    with pytest.raises(ValueError, match=r"'novelty_search', got ToyTask without `descriptor`.*deep_ga or cem"):
        make("novelty_search", identity())
    agent, heard = make("deep_ga", identity(num_envs=200), population=200, parents=10), []
    agent.learn(agent.env, 40_000, [heard.append])  # Discrete actions of codes
    assert "coverage" not in heard[-1]
    assert evaluate(agent, identity(), episodes=64).mean_return > 10


def test_what_is_not_finite_is_refused_and_leaves_no_trace():
    agent = make("novelty_search", point(num_envs=10, fused=False))
    agent.learn(agent.env, 1)
    before = agent.findings.get_state()
    agent.env.task.reward = lambda state, *rest: torch.where(state["place"][:, 0] > 0, torch.nan, 0.0)
    with pytest.raises(ValueError, match=r"Expected finite returns .* got NaN or infinity of \d+ policies of 20"):
        agent.learn(agent.env, 1)
    assert same(agent.findings.get_state(), before)


def test_states_of_others_and_missing_pyribs_are_refused(tmp_path, monkeypatch):
    agent = make("novelty_search")
    agent.save(tmp_path / "agent.pt")
    with pytest.raises(ValueError, match=r"Expected an elite with a genome of shape \(1, 18\).*got \(1, 14\)"):
        make("novelty_search", hidden=(4,)).load(tmp_path / "agent.pt")
    cls, config = METHODS["map_elites"]
    monkeypatch.setitem(sys.modules, "ribs.archives", None)
    with pytest.raises(ImportError, match=r"pip install cairngym\[quality-diversity\]"):
        cls(point(), config)


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (EvolutionConfig, {"sigma": 0.0}, "Expected sigma > 0, got 0.0"),
        (EvolutionConfig, {"bias": "units"}, "Did you mean 'unit'"),
        (EvolutionConfig, {"evaluations": 0}, "Expected evaluations >= 1 or none"),
        (EvolutionConfig, {"hidden": (0,)}, "hidden layers of width >= 1"),
        (EvolutionConfig, {"seed": -1}, "Expected a seed in"),
        (NoveltySearchConfig, {"children": 0}, "Expected children >= 1, got 0"),
        (SereneConfig, {"bootstrap_generations": 2}, "Expected bootstrap_generations >= 3"),
        (MapElitesConfig, {"line_sigma": -1.0}, "Expected line_sigma >= 0"),
        (CmaMeConfig, {"emitter_population": 1}, "Expected emitter_population >= 2"),
        (DeepGAConfig, {"population": 5}, "Expected parents <= population, got 10 of 5"),
    ],
)
def test_settings_out_of_range_are_refused(cls, changes, message):
    with pytest.raises((ValueError, KeyError), match=message):
        cls(**changes)
