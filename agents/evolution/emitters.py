"""Emitters of SERENE: small elitist evolution strategies around genomes that were rewarded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from cairngym.agents.evolution.individuals import Individuals, best_first, join, none, restored

WINDOW = 3
"""Generations at either end that the improvement compares."""
STRETCH = 20
"""Generations at either end that tell stagnation."""
CHILDREN = 2
"""Offspring of every policy of an emitter."""
Mutate = Callable[[torch.Tensor, float], torch.Tensor]


class Emitter:
    """A (mu + lambda) evolution strategy with a fixed step size, and the record of its generations.

    Args:
        ancestor: the rewarded policy it begins at, one row.
        sigma: standard deviation of every mutation.
        size: mu, the policies it keeps.

    Attributes:
        population: the mu fittest so far; none before the first generation.
        steps: generations of offspring.
        improvement: see `rate`.
    """

    def __init__(self, ancestor: Individuals, sigma: float, size: int) -> None:
        self.ancestor, self.sigma, self.size = ancestor, sigma, size
        genome, descriptors = ancestor.genome.shape[1], ancestor.descriptor.shape[1]
        self.population = none(genome, descriptors)
        self.buffer = none(genome, descriptors)
        """Policies more novel than any of the emitter before; some reach the novelty archive when it ends."""
        self.steps, self.improvement = 0, 0.0
        self.first = torch.empty(0, size)
        self.recent = torch.empty(0, size)
        self.best_archived: float | None = None
        self.ancestor_novelty = math.inf
        """Of the ancestor, as measured when the emitter was last drawn."""
        self.most_novel: float | None = None
        """Greatest novelty among its offspring; None while the ancestor is the most novel."""

    @property
    def stagnation_after(self) -> int:
        """Generations before stagnation is looked for, 20 * genome / population + 120, and those it looks back on."""
        return int(20 * self.ancestor.genome.shape[1] / self.size + 120)

    # A generation -----------------------------------------------------------------------------------------------------

    def ask(self, mutate: Mutate) -> torch.Tensor:
        """Mutants of the ancestor at first, then two of every policy kept."""
        parents = self.population.genome.repeat_interleave(CHILDREN, 0)
        if not self.population.size:
            parents = self.ancestor.genome.expand(self.size, -1)
        return mutate(parents, self.sigma)

    def tell(self, played: Individuals) -> None:
        """Keep the fittest of parents and offspring; among equals the offspring, so that it drifts on a plateau."""
        self.steps += bool(self.population.size)
        everyone = join(played, self.population)
        self.population = everyone.rows(best_first(everyone.fitness)[: self.size])
        values = self.population.fitness.unsqueeze(0)
        self.first = torch.cat((self.first, values))[:WINDOW]
        self.recent = torch.cat((self.recent, values))[-self.stagnation_after :]

    # What is made of it -----------------------------------------------------------------------------------------------

    def rate(self) -> None:
        """Improvement: how far the mean reward of the last three generations exceeds that of the first three, or 0."""
        gain = self.recent[-WINDOW:].double().mean() - self.first.double().mean()
        self.improvement = max(0.0, float(gain))

    def accepted(self) -> Individuals:
        """Those of its policies that the reward archive takes: the best, if rewarded, then whoever beats all taken."""
        fitness = self.population.fitness
        if self.best_archived is None:
            taken = best_first(fitness)[:1]
            taken = taken[fitness[taken] > 0.0]
        else:
            taken = (fitness > self.best_archived).nonzero().squeeze(1)
        if len(taken):
            self.best_archived = float(fitness[taken].max())
        return self.population.rows(taken)

    def stagnant(self) -> bool:
        """Whether the last 20 generations, in median or in the best, are no better than the first 20 looked back on."""
        if self.steps <= self.stagnation_after:
            return False
        early, late = self.recent[:STRETCH].double(), self.recent[-STRETCH:].double()
        return bool(early.quantile(0.5) >= late.quantile(0.5)) or bool(early.max() >= late.max())

    def watch_novelty(self, novelty: torch.Tensor) -> None:
        """Put those of novelty `(mu,)` above the most novel so far into the buffer.

        That is the ancestor until an offspring exceeds it.
        """
        limit = self.ancestor_novelty if self.most_novel is None else self.most_novel
        above = novelty > limit
        if bool(above.any()):
            self.buffer = join(self.buffer, self.population.rows(above))
            self.most_novel = float(novelty.max())


COLUMNS = ("ancestor", "population", "buffer")
NUMBERS = ("sigma", "size", "steps", "improvement", "best_archived", "most_novel", "ancestor_novelty")
TENSORS = ("first", "recent")


def pack(emitters: list[Emitter]) -> dict[str, Any]:
    """Copy emitters, one tensor for the same column of all of them: there may be thousands."""
    packed: dict[str, Any] = {name: [getattr(emitter, name) for emitter in emitters] for name in NUMBERS}
    for name in COLUMNS if emitters else ():
        parts = [getattr(emitter, name) for emitter in emitters]
        packed[name] = {"counts": [part.size for part in parts], "columns": tuple(join(*parts).copy())}
    for name in TENSORS if emitters else ():
        values = [getattr(emitter, name) for emitter in emitters]
        packed[name] = {"counts": [len(value) for value in values], "values": torch.cat(values)}
    return packed


def unpack(packed: Mapping[str, Any]) -> list[Emitter]:
    """Make the emitters of such a copy."""
    if not packed["size"]:
        return []
    columns = {
        name: [column.cpu().split(packed[name]["counts"]) for column in packed[name]["columns"]] for name in COLUMNS
    }
    tensors = {name: packed[name]["values"].cpu().split(packed[name]["counts"]) for name in TENSORS}
    emitters = []
    for number, size in enumerate(packed["size"]):
        rows = {name: restored([column[number] for column in columns[name]]) for name in COLUMNS}
        emitter = Emitter(rows["ancestor"], packed["sigma"][number], size)
        for name in COLUMNS:
            setattr(emitter, name, rows[name])
        for name in NUMBERS:
            setattr(emitter, name, packed[name][number])
        for name in TENSORS:
            setattr(emitter, name, tensors[name][number].clone())
        emitters.append(emitter)
    return emitters


def first_sigma(genomes: torch.Tensor, row: int, fallback: float) -> float:
    """A third of the distance from one genome to the nearest other of `(P, size)`; `fallback` where that is zero.

    Three standard deviations of a mutation then reach as far as what Novelty Search has looked at already.
    """
    others = torch.cat((genomes[:row], genomes[row + 1 :]))
    if not len(others):
        return fallback
    nearest = float((others - genomes[row]).double().square().sum(1).min())
    return math.sqrt(nearest) / 3.0 or fallback


def affordable(candidates: int, left: float, chunk: int, cost: int, budget: float = math.inf) -> int:
    """How many candidates are bootstrapped, one after another, until less than a third of the chunk is left.

    Args:
        candidates: how many there are.
        left: evaluations left of the chunk.
        chunk: evaluations of a chunk.
        cost: evaluations of one bootstrapping.
        budget: evaluations left in all.

    Example:
        >>> affordable(20, left=1000, chunk=1000, cost=66)
        11
    """
    count = 0
    while count < candidates and left >= chunk / 3 and budget > 0:
        count, left, budget = count + 1, left - cost, budget - cost
    return count


def first_front(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Rows of two `(P,)` columns, both to be great, that no other row dominates, int64 `(K,)`."""
    least = (first.unsqueeze(1) >= first) & (second.unsqueeze(1) >= second)
    more = (first.unsqueeze(1) > first) | (second.unsqueeze(1) > second)
    return (~(least & more).any(0)).nonzero().squeeze(1)
