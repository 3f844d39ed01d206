"""Novelty Search, the genetic algorithm and MAP-Elites against what they should do, worked out by hand or force."""

import pytest
import torch
from evolution_toys import individuals, point, uncompiled_ribs

from cairngym.agents.evolution.deep_ga import DeepGA
from cairngym.agents.evolution.evolution_config import DeepGAConfig, MapElitesConfig, NoveltySearchConfig
from cairngym.agents.evolution.map_elites import MapElites
from cairngym.agents.evolution.novelty_search import NoveltySearch


def line(*xs):
    return [[x, 0.0] for x in xs]


def test_novelty_search_keeps_the_most_novel_and_archives_at_random():
    config = NoveltySearchConfig(population=3, neighbors=2, archived=2, hidden=(), sigma=0.1)
    agent = NoveltySearch(point(), config)
    first = agent.ask()
    assert len(first) == 3
    assert first.abs().max() <= 5.0
    agent.tell(individuals(line(0.0, 0.1, 0.2), [9.0, 0.0, 0.0], first))
    second = agent.ask()
    noise = (second - first.repeat_interleave(2, 0)) / 0.1  # two children of every parent
    assert 0.5 < noise.std() < 1.5
    assert noise.abs().max() < 5.0
    agent.tell(individuals(line(0.05, 0.15, 1.0, 0.3, -0.6, 0.1), [0.0] * 6, second))
    # Mean distance to the two nearest others, in order: 0.075, 0.025, 0.075, 0.05, 0.05, 0.75, 0.125, 0.625, 0.025.
    assert agent.population.descriptor[:, 0].tolist() == pytest.approx([1.0, -0.6, 0.3])
    assert torch.equal(agent.population.genome, second[[2, 4, 3]])
    archived = agent.archive.descriptors[:, 0].tolist()
    assert len(archived) == 2
    assert {round(x, 2) for x in archived} < {0.05, 0.15, 1.0, 0.3, -0.6, 0.1}
    # What is archived counts as known: a crowd around it is not novel any more.
    third = agent.ask()
    for _ in range(9):
        agent.archive.add(torch.tensor(line(2.0)))
    agent.tell(individuals(line(2.0, 2.0, 0.5, 5.0, 2.0, 2.0), [1.0] * 6, third))
    assert agent.population.descriptor[0, 0] == 5.0
    assert 2.0 not in agent.population.descriptor[:, 0].tolist()


def test_the_genetic_algorithm_breeds_the_fittest_and_keeps_its_elite():
    config = DeepGAConfig(population=8, parents=2, candidates=2, hidden=(), sigma=0.01, elite_episodes=0)
    agent = DeepGA(point(), config)
    first = agent.ask()
    found = individuals(line(*range(8)), [0.0, 0.5, 0.1, 0.4, 0.0, 0.5, 0.2, 0.3], first)
    agent.tell(found)
    assert torch.equal(agent.parents, first[[1, 5]])
    contenders = agent.contenders(found)
    assert torch.equal(contenders.genome, first[[1, 5]])
    # The second of them does better when it plays again.
    agent.crown(contenders.with_fitness(torch.tensor([0.3, 0.4])))
    assert torch.equal(agent.elite.genome, first[5:6])
    second = agent.ask()
    assert len(second) == 8
    assert torch.equal(second[:1], agent.elite.genome)
    parent = (second[1:].unsqueeze(1) - first[[1, 5]]).abs().amax(2).min(1)
    assert parent.values.max() < 0.06
    assert set(parent.indices.tolist()) == {0, 1}
    assert (parent.values > 0.0).all()
    # An elite that was lucky makes way.
    agent.crown(contenders.with_fitness(torch.tensor([0.1, 0.0])))
    assert agent.elite.fitness == pytest.approx(0.1)


def test_map_elites_keeps_the_best_of_every_cell_and_mutates_elites():
    uncompiled_ribs()
    agent = MapElites(point(), MapElitesConfig(population=30, hidden=(), sigma=0.01, seed=4))
    best: dict[int, tuple[float, torch.Tensor]] = {}
    for _ in range(4):
        genomes = agent.ask()
        if best:  # every child lies beside an elite
            elites = torch.stack([genome for _, genome in best.values()])
            assert (genomes.unsqueeze(1) - elites).abs().amax(2).amin(1).max() < 0.06
        generator = torch.Generator().manual_seed(len(best))
        places = 2.4 * torch.rand(30, 2, generator=generator) - 1.2  # some outside of the bounds
        fitness = torch.rand(30, generator=generator)
        agent.tell(individuals(places.tolist(), fitness.tolist(), genomes))
        for cell, worth, genome in zip(agent.descriptor.cell(places).tolist(), fitness.tolist(), genomes, strict=True):
            if worth > best.get(cell, (-1.0, genome))[0]:
                best[cell] = worth, genome
    kept = agent.archive.data(["index", "objective", "solution"], return_type="dict")
    assert sorted(kept["index"].tolist()) == sorted(best)
    for cell, worth, genome in zip(kept["index"].tolist(), kept["objective"], kept["solution"], strict=True):
        assert worth == pytest.approx(best[cell][0])
        torch.testing.assert_close(torch.from_numpy(genome).float(), best[cell][1])
    assert agent.progress() == {"archive": len(best), "restarts": 0}
