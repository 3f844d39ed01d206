"""Novelty Search: the most unlike survive, whatever they earn.

Lehman and Stanley, "Abandoning objectives: evolution through the search for novelty alone" (2011), with the archive of
random offspring and the settings of Paolo et al. (2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from cairngym.agents.core import Metrics
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.evolution.evolution_config import NoveltySearchConfig
from cairngym.agents.evolution.individuals import Individuals, best_first, join, none, restored
from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.quality_diversity.archive import BehaviorArchive
from cairngym.reward_shaping.quality_diversity.novelty import Neighbors


class NoveltySearch(Evolution):
    """A population selected by the mean distance to the nearest behaviors among itself, its offspring and an archive.

    Args:
        env: its task has a descriptor.
        config: settings.

    Attributes:
        population: the parents; none before the first generation.
        archive: random offspring of every generation.
    """

    name: ClassVar[str] = "novelty_search"
    config: NoveltySearchConfig

    def __init__(self, env: TensorEnv, config: NoveltySearchConfig | None = None) -> None:
        super().__init__(env, config or NoveltySearchConfig())
        self.population = none(self.controller.size, self.descriptor_size)
        self.archive = BehaviorArchive(self.descriptor_size)

    def ask(self) -> torch.Tensor:
        """The first population, then `children` mutants of every parent, those of one parent side by side."""
        if not self.population.size:
            return self.first_genomes(self.config.population)
        return self.mutate(self.population.genome.repeat_interleave(self.config.children, 0), self.config.sigma)

    def tell(self, played: Individuals) -> None:
        """Archive some of the offspring, and let the most novel of parents and offspring live."""
        if self.population.size:
            self.select(played)
        else:
            self.population = played

    def select(self, offspring: Individuals, rewarded: torch.Tensor | None = None) -> Individuals:
        """Judge parents and offspring together and keep the most novel; returns all of them, parents first.

        Args:
            offspring: of the present population.
            rewarded: further behaviors that count as known, `(M, D)`.
        """
        everyone = join(self.population, offspring)
        known = (everyone.descriptor, self.archive.descriptors, *(() if rewarded is None else (rewarded,)))
        novelty = Neighbors(torch.cat(known)).novelty(everyone.descriptor, self.config.neighbors, member=True)
        self.remember(offspring)
        self.population = everyone.rows(best_first(novelty)[: self.population.size])
        return everyone

    def remember(self, some: Individuals) -> None:
        """Keep `archived` of them, drawn at random, in the archive for good."""
        drawn = torch.randperm(some.size, generator=self.generator)[: self.config.archived]
        self.archive.add(some.descriptor, some.fitness, chosen=drawn)

    def progress(self) -> Metrics:
        """How many behaviors the archive holds."""
        return {"archive": len(self.archive)}

    def search_state(self) -> dict[str, Any]:
        """Copy population and archive."""
        return {"population": tuple(self.population.copy()), "archive": self.archive.get_state()}

    def set_search_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.population = restored(snapshot["population"])
        self.archive.set_state(snapshot["archive"])
