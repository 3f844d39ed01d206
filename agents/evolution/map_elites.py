"""MAP-Elites: mutants of the best of every cell of the descriptor's grid, through pyribs.

Mouret and Clune, "Illuminating search spaces by mapping elites" (2015).
"""

from __future__ import annotations

from typing import Any, ClassVar

from cairngym.agents.evolution.evolution_config import MapElitesConfig
from cairngym.agents.evolution.pyribs import PyribsSearch
from cairngym.envs.core import TensorEnv


class MapElites(PyribsSearch):
    """One emitter that mutates elites drawn at random, by normal noise and, where asked for, along lines between them.

    Args:
        env: its task has a descriptor.
        config: settings.
    """

    name: ClassVar[str] = "map_elites"
    config: MapElitesConfig

    def __init__(self, env: TensorEnv, config: MapElitesConfig | None = None) -> None:
        super().__init__(env, config or MapElitesConfig())

    def make_emitters(self, emitters: Any) -> list[Any]:
        """The one emitter."""
        config = self.config
        emitter = emitters.IsoLineEmitter(
            self.archive, iso_sigma=config.sigma, line_sigma=config.line_sigma,
            initial_solutions=self.first_genomes(config.population).double().numpy(),
            batch_size=config.population, seed=self.random_source(1),
        )  # fmt: skip
        return [emitter]
