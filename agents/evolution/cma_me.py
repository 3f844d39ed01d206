"""CMA-ME: evolution strategies that rank by how much the archive gained, through pyribs.

Fontaine et al., "Covariance Matrix Adaptation for the Rapid Illumination of Behavior Space" (2020).
"""

from __future__ import annotations

from typing import Any, ClassVar

from cairngym.agents.evolution.evolution_config import CmaMeConfig
from cairngym.agents.evolution.pyribs import PyribsSearch
from cairngym.envs.core import TensorEnv


class CmaMe(PyribsSearch):
    """Improvement emitters, each beginning at a genome of its own and, when it adds nothing, anew at a random elite.

    Args:
        env: its task has a descriptor.
        config: settings.
    """

    name: ClassVar[str] = "cma_me"
    config: CmaMeConfig

    def __init__(self, env: TensorEnv, config: CmaMeConfig | None = None) -> None:
        super().__init__(env, config or CmaMeConfig())

    def make_emitters(self, emitters: Any) -> list[Any]:
        """The improvement emitters."""
        config = self.config
        starts = self.first_genomes(config.emitters).double().numpy()
        return [
            emitters.EvolutionStrategyEmitter(
                self.archive, x0=start, sigma0=config.emitter_sigma, ranker="2imp", es="cma_es",
                selection_rule="filter", restart_rule="no_improvement",
                batch_size=config.emitter_population, seed=self.random_source(1 + number),
            )
            for number, start in enumerate(starts)
        ]  # fmt: skip
