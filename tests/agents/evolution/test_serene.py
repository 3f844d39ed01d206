"""Every stage of SERENE against cases worked out by hand."""

import math

import pytest
import torch
from evolution_toys import individuals, point, same

from cairngym.agents.checkpoint import to_plain
from cairngym.agents.evolution.emitters import Emitter, affordable, first_front, first_sigma, pack, unpack
from cairngym.agents.evolution.evolution_config import SereneConfig
from cairngym.agents.evolution.individuals import Individuals
from cairngym.agents.evolution.serene import Serene


def make(**changes):
    settings = {
        "population": 4, "neighbors": 2, "chunk": 24, "emitter_population": 2, "archived": 1, "hidden": (),
        "bootstrap_generations": 3,
    }  # fmt: skip
    return Serene(point(), SereneConfig(**{**settings, **changes}))


def told(agent, places, fitness, genomes=None):
    """Answer the agent's question, and return it."""
    asked = agent.ask()
    assert len(asked) == len(places)
    found = individuals(places, fitness, asked if genomes is None else genomes)
    agent.tell(found)
    return asked


def line(*xs):
    return [[x, 0.0] for x in xs]


def emitter(values, genome=6, size=3, sigma=0.1):
    """One whose generations had these fitnesses, a row each."""
    made = Emitter(individuals([[0.0, 0.0]], [1.0], torch.zeros(1, genome)), sigma, size)
    for row in values:
        made.population = made.population.rows(slice(0, 0))
        made.tell(individuals([[0.0, 0.0]] * size, row, torch.zeros(size, genome)))
        made.steps += 1
    made.steps = len(values) - 1
    return made


# Exploring -----------------------------------------------------------------------------------------------------------


def test_the_rewarded_become_candidates_with_steps_a_third_of_the_way_to_the_nearest_genome():
    agent = make()
    first = told(agent, line(0.0, 0.1, 0.2, 0.9), [0.0, 0.5, 0.0, 0.0])
    assert agent.candidates.size == 0  # judged beside the first offspring
    second = told(agent, line(0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.9, 0.9), [0.0] * 7 + [0.25])
    everyone = torch.cat((first, second))
    assert torch.equal(agent.candidates.genome, everyone[[1, 11]])
    apart = (everyone.unsqueeze(1) - everyone).norm(dim=2).fill_diagonal_(math.inf).amin(1) / 3.0
    torch.testing.assert_close(agent.sigmas, apart[[1, 11]])
    assert torch.equal(agent.rewards["genome"], agent.candidates.genome)
    told(agent, line(*[0.5] * 8), [0.0] * 8)
    assert agent.candidates.size == 2  # none becomes a candidate twice


def test_sigma_falls_back_where_a_genome_has_a_twin():
    genomes = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 6.0]])
    assert first_sigma(genomes, 0, 0.05) == pytest.approx(5.0 / 3.0)
    assert first_sigma(genomes, 1, 0.05) == 0.05
    assert first_sigma(genomes[:1], 0, 0.05) == 0.05


def test_without_a_reward_it_goes_on_exploring():
    agent = make(chunk=10)
    told(agent, line(0.0, 0.1, 0.2, 0.9), [0.0] * 4)
    told(agent, line(*[0.1] * 8), [0.0] * 8)
    assert (agent.stage, agent.left) == ("explore", 10)


# Bootstrapping -------------------------------------------------------------------------------------------------------


def test_candidates_are_bootstrapped_until_less_than_a_third_of_the_chunk_is_left():
    # 66 evaluations each: the eleventh begins with 340 left of 1000, a twelfth would with 274.
    assert affordable(20, 1000, 1000, 66) == 11
    assert affordable(3, 1000, 1000, 66) == 3
    assert affordable(20, 333, 1000, 66) == 0
    assert affordable(20, 300, 900, 100) == 1  # exactly a third is not less
    assert affordable(20, 1000, 1000, 66, budget=130) == 2
    assert affordable(0, 1000, 1000, 66) == 0


def test_the_most_novel_to_the_reward_archive_come_first():
    agent = make(chunk=1000)
    for x in (0.0, 0.1, 0.5, 0.2):
        one = individuals([[x, 0.0]], [1.0], torch.full((1, agent.controller.size), x))
        agent.candidates = Individuals(*(torch.cat(pair) for pair in zip(agent.candidates, one, strict=True)))
        agent.sigmas = torch.cat((agent.sigmas, torch.tensor([x])))
        agent._store(one)
    agent.config = SereneConfig(chunk=100, emitter_population=2, neighbors=2, bootstrap_generations=3)  # 14 each: five
    agent.left = 0
    agent._begin_exploiting()
    # Mean distances to the two nearest others: 0.15, 0.1, 0.35, 0.15.
    assert [round(float(one.ancestor.descriptor[0, 0]), 1) for one in agent.trying] == [0.5, 0.0, 0.2, 0.1]
    assert [round(one.sigma, 1) for one in agent.trying] == [0.5, 0.0, 0.2, 0.1]
    assert (agent.stage, agent.candidates.size, agent.left) == ("bootstrap", 0, 100)


def test_a_bootstrapping_keeps_who_improves():
    agent = make()
    told(agent, line(0.0, 0.1, 0.2, 0.9), [0.0] * 4)
    told(agent, line(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), [0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.4, 0.0])
    assert agent.stage == "explore"  # 12 of 24 used
    told(agent, line(*[0.5] * 8), [0.0] * 8)
    told(agent, line(*[0.5] * 8), [0.0] * 8)
    assert (agent.stage, agent.left, len(agent.trying)) == ("bootstrap", 24, 2)  # at 24 and, after 14, at 10 >= 8
    stored = len(agent.rewards)
    first, second = agent.trying
    told(agent, line(*[0.5] * 4), [0.1, 0.1, 0.2, 0.2])
    assert len(agent.rewards) == stored  # nothing is archived of the first population
    told(agent, line(*[0.5] * 8), [0.1, 0.3, 0.1, 0.1, 0.2, 0.0, 0.0, 0.0])
    assert len(agent.rewards) == stored + 2  # the best of each
    told(agent, line(*[0.5] * 8), [0.4, 0.3, 0.1, 0.5, 0.2, 0.0, 0.0, 0.0])
    assert len(agent.rewards) == stored + 4  # two that beat 0.3, none that beats 0.2
    told(agent, line(*[0.5] * 8), [0.6, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.2])
    # Means of the generations: 0.1, 0.2, 0.45, 0.55, and 0.2 throughout.
    assert first.improvement == pytest.approx((0.2 + 0.45 + 0.55) / 3 - (0.1 + 0.2 + 0.45) / 3)
    assert second.improvement == 0.0
    # 28 of 24 evaluations are used: the emitter waits for the next chunk.
    assert (agent.stage, agent.left, agent.emitters, agent.trying) == ("explore", 24, [first], [])


# Emitters ------------------------------------------------------------------------------------------------------------


def test_an_emitter_keeps_the_fittest_of_parents_and_offspring():
    made = Emitter(individuals([[0.0, 0.0]], [1.0], torch.ones(1, 2)), 0.5, 3)
    asked = made.ask(lambda genomes, sigma: genomes + sigma)
    assert asked.tolist() == [[1.5, 1.5]] * 3
    made.tell(individuals(line(0, 1, 2), [0.3, 0.1, 0.2], asked + torch.arange(3.0).unsqueeze(1)))
    assert made.population.fitness.tolist() == pytest.approx([0.3, 0.2, 0.1])
    assert made.steps == 0
    asked = made.ask(lambda genomes, sigma: genomes)
    assert asked[:, 0].tolist() == [1.5, 1.5, 3.5, 3.5, 2.5, 2.5]  # two children of each
    made.tell(individuals(line(3, 4, 5, 6, 7, 8), [0.0, 0.2, 0.0, 0.4, 0.0, 0.0], asked))
    assert made.population.fitness.tolist() == pytest.approx([0.4, 0.3, 0.2])
    assert made.population.descriptor[2, 0] == 4  # of equals the child
    assert made.steps == 1


def test_improvement_is_what_the_last_three_generations_gained_on_the_first_three():
    rising = emitter([[0.0, 0.0, 0.3], [0.1] * 3, [0.1] * 3, [0.2] * 3, [0.3] * 3, [0.4] * 3])
    rising.rate()
    assert rising.improvement == pytest.approx(0.3 - 0.1)
    falling = emitter([[0.5] * 3, [0.5] * 3, [0.5] * 3, [0.2] * 3])
    falling.rate()
    assert falling.improvement == 0.0


def test_the_reward_archive_takes_what_beats_the_emitters_best():
    made = emitter([])
    taken = []
    for fitness in ([0.0, 0.0, 0.0], [0.2, 0.3, 0.1], [0.3, 0.3, 0.2], [0.5, 0.4, 0.3], [0.45, 0.5, 0.4]):
        made.population = individuals(line(0, 1, 2), fitness)
        taken.append([round(value, 2) for value in made.accepted().fitness.tolist()])
    assert taken == [[], [0.3], [], [0.5, 0.4], []]


def test_an_emitter_ends_when_its_last_twenty_generations_are_no_better():
    def history(last, best, length=162):  # looks back on 20 * 6 / 3 + 120 = 160 generations
        rows = [[0.1, 0.2, 0.3]] * (length - 20)
        return emitter(rows + [[last - 0.1, last, best]] * 20)

    assert history(0.2, 0.3).stagnant()  # equal in both
    assert history(0.3, 0.3).stagnant()  # the best has not improved
    assert history(0.2, 0.9).stagnant()  # nor has the median
    assert not history(0.3, 0.4).stagnant()
    assert not history(0.2, 0.3, length=161).stagnant()  # not before more than 160 steps
    assert len(history(0.2, 0.3, length=300).recent) == 160


def test_emitters_are_drawn_from_the_first_pareto_front():
    novelty = torch.tensor([0.9, 0.5, 0.5, 0.1, 0.9, math.inf])
    improvement = torch.tensor([0.1, 0.5, 0.4, 0.9, 0.1, 0.05])
    assert first_front(novelty, improvement).tolist() == [0, 1, 3, 4, 5]
    assert first_front(torch.ones(1), torch.ones(1)).tolist() == [0]
    agent = make()
    for x, gain in ((0.0, 0.5), (0.1, 0.4), (0.9, 0.1), (0.2, 0.0)):
        ancestor = individuals([[x, 0.0]], [1.0], torch.full((1, agent.controller.size), x))
        agent.emitters.append(Emitter(ancestor, 0.1, 2))
        agent.emitters[-1].improvement = gain
        agent._store(ancestor)
    # Mean distances to the two nearest of the reward archive: 0.15, 0.1, 0.75, 0.15.
    drawn = []
    for _ in range(60):
        agent.stage, agent.left = "explore", 10
        agent._begin_running()
        drawn.append(agent.current)
    assert set(drawn) == {0, 2}
    assert 15 < drawn.count(0) < 45
    agent.left = 0
    agent._begin_running()
    assert (agent.stage, agent.current) == ("explore", None)  # nothing is left for an emitter


def test_an_emitter_that_ends_hands_its_most_novel_to_the_archive(monkeypatch):
    agent = make(archived=2)
    ancestor = individuals([[0.0, 0.0]], [1.0], torch.zeros(1, agent.controller.size))
    agent.emitters = [Emitter(ancestor, 0.1, 2)]
    agent._store(ancestor)
    agent.pool = torch.tensor(line(0.0, 0.2, 0.4))  # the ancestor's novelty is (0 + 0.2) / 2: itself is left out once
    agent._begin_running()
    assert agent.running.ancestor_novelty == pytest.approx(0.1)
    running = agent.running
    told(agent, line(0.05, 0.9), [0.1, 0.1])  # (0.05 + 0.05) / 2 and (0.5 + 0.7) / 2
    assert running.buffer.descriptor[:, 0].tolist() == pytest.approx([0.9])
    assert running.most_novel == pytest.approx(0.6)
    told(agent, line(0.8, 1.0, 2.0, -1.0), [0.2, 0.3, 0.0, 0.0])
    assert running.buffer.descriptor[:, 0].tolist() == pytest.approx([0.9, 1.0])  # 0.8 is no more novel than 0.9
    monkeypatch.setattr(running, "stagnant", lambda: True)
    before = len(agent.rewards)
    told(agent, line(0.0, 0.0, 3.0, 0.0), [0.0, 0.0, 0.4, 0.0])
    assert (agent.emitters, agent.stage, agent.left) == ([], "explore", 24)
    kept = {round(x, 1) for x in agent.archive.descriptors[:, 0].tolist()}
    assert len(kept) == 2  # drawn from the three of the buffer
    assert kept < {0.9, 1.0, 3.0}
    # The third generation's best is archived, and the ancestor once more.
    assert agent.rewards.descriptors[before:, 0].tolist() == [3.0, 0.0]


def test_a_chunk_that_is_used_up_rates_its_emitter_and_keeps_it():
    agent = make(chunk=6)
    ancestor = individuals([[0.0, 0.0]], [1.0], torch.zeros(1, agent.controller.size))
    agent.emitters = [Emitter(ancestor, 0.1, 2)]
    agent._store(ancestor)
    agent.left = 6
    agent._begin_running()
    told(agent, line(0.1, 0.1), [0.1, 0.1])
    told(agent, line(*[0.1] * 4), [0.2, 0.4, 0.0, 0.0])
    assert (agent.stage, agent.left, agent.current) == ("explore", 6, None)
    assert agent.emitters[0].improvement == pytest.approx(0.0)  # two generations are first and last at once
    assert agent.emitters[0].population.fitness.tolist() == pytest.approx([0.4, 0.2])


def test_emitters_are_packed_whole():
    made = [emitter([[0.1, 0.2, 0.3]] * count, size=3) for count in (0, 2, 7)]
    made[1].accepted()
    made[2].ancestor_novelty = 0.3
    made[2].watch_novelty(torch.tensor([0.1, 0.5, 0.4]))
    again = unpack(to_plain(pack(made)))
    assert same([to_plain(vars(one)) for one in again], [to_plain(vars(one)) for one in made])
    assert unpack(to_plain(pack([]))) == []
