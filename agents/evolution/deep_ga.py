"""The genetic algorithm of "Deep Neuroevolution" (Such et al. 2017): truncation, mutation, an elite played again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.evolution.evolution_config import DeepGAConfig
from cairngym.agents.evolution.individuals import Individuals, best_first
from cairngym.envs.core import TensorEnv


class DeepGA(Evolution):
    """The next generation are mutants of parents drawn from the fittest, and the elite unchanged.

    The fittest of every generation play again, and the best mean makes the elite, also where it is less than the
    former elite's: that one was in the running, and what it earned before may have been luck.

    Args:
        env: any env; a descriptor is not needed.
        config: settings.
    """

    name: ClassVar[str] = "deep_ga"
    needs_descriptor: ClassVar[bool] = False
    config: DeepGAConfig

    def __init__(self, env: TensorEnv, config: DeepGAConfig | None = None) -> None:
        super().__init__(env, config or DeepGAConfig())
        self.parents = torch.empty(0, self.controller.size)

    def ask(self) -> torch.Tensor:
        """The first generation; later the elite and mutants of uniformly drawn parents."""
        count = self.config.population
        if not len(self.parents):
            return self.first_genomes(count)
        drawn = torch.randint(len(self.parents), (count - 1,), generator=self.generator)
        return torch.cat((self.elite.genome, self.mutate(self.parents[drawn], self.config.sigma)))

    def tell(self, played: Individuals) -> None:
        """Keep the fittest as parents."""
        self.parents = played.genome[best_first(played.fitness)[: self.config.parents]].clone()

    def contenders(self, played: Individuals) -> Individuals:
        """The fittest of a generation."""
        return played.rows(best_first(played.fitness)[: self.config.candidates])

    def crown(self, confirmed: Individuals) -> None:
        """The contender with the best mean becomes the elite."""
        best = int(confirmed.fitness.argmax())
        self.elite = confirmed.rows(slice(best, best + 1)).copy()

    def search_state(self) -> dict[str, Any]:
        """Copy the parents."""
        return {"parents": self.parents.clone()}

    def set_search_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.parents = snapshot["parents"].cpu().clone()
