"""SERENE: explore by Novelty Search, exploit by emitters around what was rewarded, in turns.

Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (GECCO 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch

from cairngym.agents.core import Metrics
from cairngym.agents.evolution.emitters import (
    CHILDREN,
    Emitter,
    affordable,
    first_front,
    first_sigma,
    pack,
    unpack,
)
from cairngym.agents.evolution.evolution_config import SereneConfig
from cairngym.agents.evolution.individuals import Individuals, best_first, join, none, restored
from cairngym.agents.evolution.novelty_search import NoveltySearch
from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.quality_diversity.archive import BehaviorArchive
from cairngym.reward_shaping.quality_diversity.novelty import Neighbors

Stage = Literal["explore", "bootstrap", "exploit"]


class Serene(NoveltySearch):
    """Chunks of Novelty Search and, once something was rewarded, chunks of emitters in turn.

    Exploring, every new policy that is rewarded becomes a candidate and enters the reward archive. Exploiting begins
    with the candidates: those whose ancestor is most novel to the reward archive show first, in six generations,
    whether they improve; who does becomes an emitter. Then an emitter, drawn from the first Pareto front of its
    ancestor's novelty and its improvement, runs until the chunk is used or it stagnates, when another is drawn.

    The candidates of a chunk are bootstrapped side by side, generation by generation: what one finds changes nothing
    for the others, and small generations leave a batch empty.

    Args:
        env: its task has a descriptor.
        config: settings.

    Attributes:
        stage: what the next generation does.
        left: evaluations left of the present chunk.
        rewards: the reward archive, with genomes.
        candidates: rewarded policies that have not yet shown whether they improve, with the step size of each in
            `sigmas`.
        trying: the candidates being bootstrapped.
        emitters: those that improve.
        current: the emitter that runs, its place among `emitters`; None before one is drawn.
        pool: descriptors of parents and offspring of the last generation of Novelty Search.
        known: descriptors that emitters' novelty is measured against during a chunk, `(M, D)`.
        ended: buffers of emitters that ended in this chunk, for the novelty archive.
    """

    name: ClassVar[str] = "serene"
    config: SereneConfig

    def __init__(self, env: TensorEnv, config: SereneConfig | None = None) -> None:
        super().__init__(env, config or SereneConfig())
        self.rewards = BehaviorArchive(self.descriptor_size)
        self.stage: Stage = "explore"
        self.left = self.config.chunk
        self.candidates, self.sigmas = none(self.controller.size, self.descriptor_size), torch.empty(0)
        self.trying: list[Emitter] = []
        self.emitters: list[Emitter] = []
        self.current: int | None = None
        self.ended: list[Individuals] = []
        self.pool = self.known = torch.zeros(0, self.descriptor_size)
        self._neighbors = Neighbors(self.known)

    # Generations ------------------------------------------------------------------------------------------------------

    def ask(self) -> torch.Tensor:
        """Genomes of the present stage."""
        if self.stage == "bootstrap":
            return torch.cat([emitter.ask(self.mutate) for emitter in self.trying])
        if self.stage == "exploit":
            return self.running.ask(self.mutate)
        return super().ask()

    def tell(self, played: Individuals) -> None:
        """Take in a generation, and see what comes next."""
        self.left -= played.size
        if self.stage == "explore":
            self._explored(played)
        elif self.stage == "bootstrap":
            self._bootstrapped(played)
        else:
            self._exploited(played)

    @property
    def running(self) -> Emitter:
        """The emitter that runs."""
        if self.current is None:
            raise RuntimeError("Expected a running emitter, got none: none is drawn outside of the stage 'exploit'.")
        return self.emitters[self.current]

    # Exploring --------------------------------------------------------------------------------------------------------

    def _explored(self, played: Individuals) -> None:
        if not self.population.size:
            self.population, self.pool = played, played.descriptor
        else:
            everyone = join(self.population, played)
            unseen = 0 if self.archive.offered == 0 else self.population.size  # the first population is new as well
            self._nominate(everyone, unseen)
            self.select(played, self.rewards.descriptors)
            self.pool = everyone.descriptor
        if self.left <= 0:
            self._begin_exploiting()

    def _nominate(self, everyone: Individuals, unseen: int) -> None:
        """Make candidates of the rewarded among the policies from row `unseen` on."""
        rewarded = [unseen + row for row in (everyone.fitness[unseen:] > 0.0).nonzero().flatten().tolist()]
        if not rewarded:
            return
        found = everyone.rows(torch.tensor(rewarded))
        sigmas = [first_sigma(everyone.genome, row, self.config.sigma) for row in rewarded]
        self.candidates, self.sigmas = join(self.candidates, found), torch.cat((self.sigmas, torch.tensor(sigmas)))
        self._store(found)

    def _store(self, some: Individuals) -> None:
        """Put policies into the reward archive."""
        if some.size:
            self.rewards.add(some.descriptor, some.fitness, genome=some.genome)

    def _begin_exploring(self) -> None:
        self.stage, self.left, self.current = "explore", self.config.chunk, None
        for buffer in self.ended:
            self.remember(buffer)
        self.ended = []

    # Exploiting -------------------------------------------------------------------------------------------------------

    def _begin_exploiting(self) -> None:
        """Order the candidates, and bootstrap as many as the chunk allows."""
        config = self.config
        self.left = config.chunk
        if not self.candidates.size and not self.emitters:
            return  # another chunk of exploring
        order = best_first(self._rarity(self.candidates))
        self.candidates, self.sigmas = self.candidates.rows(order), self.sigmas[order]
        cost = config.emitter_population * (1 + CHILDREN * config.bootstrap_generations)
        count = affordable(len(order), self.left, config.chunk, cost, self.budget_left)
        chosen = [self.candidates.rows(slice(row, row + 1)).copy() for row in range(count)]
        self.trying = [
            Emitter(ancestor, float(sigma), config.emitter_population)
            for ancestor, sigma in zip(chosen, self.sigmas, strict=False)
        ]
        self.candidates, self.sigmas = self.candidates.rows(slice(count, None)).copy(), self.sigmas[count:].clone()
        self.stage = "bootstrap"
        if not self.trying:
            self._begin_running()

    def _rarity(self, rewarded: Individuals) -> torch.Tensor:
        """Novelty to the reward archive, in which they are."""
        return Neighbors(self.rewards.descriptors).novelty(rewarded.descriptor, self.config.neighbors, member=True)

    def _bootstrapped(self, played: Individuals) -> None:
        share = played.size // len(self.trying)
        for number, emitter in enumerate(self.trying):
            emitter.tell(played.rows(slice(number * share, (number + 1) * share)))
            if emitter.steps:
                self._store(emitter.accepted())
        if self.trying[0].steps == self.config.bootstrap_generations:
            for emitter in self.trying:
                emitter.rate()
            self.emitters += [emitter for emitter in self.trying if emitter.improvement > 0.0]
            self.trying = []
            self._begin_running()

    def _begin_running(self) -> None:
        self.stage = "exploit"
        self._know(torch.cat((self.pool, self.archive.descriptors, self.rewards.descriptors)))
        self._choose()

    def _know(self, known: torch.Tensor) -> None:
        self.known, self._neighbors = known, Neighbors(known)

    def _choose(self) -> None:
        """Draw the emitter that runs, where there is one and something left for it."""
        if not self.emitters or self.left <= 0:
            self._begin_exploring()
            return
        rarity = self._rarity(join(*(emitter.ancestor for emitter in self.emitters)))
        front = first_front(rarity, torch.tensor([emitter.improvement for emitter in self.emitters]))
        self.current = int(front[torch.randint(len(front), (1,), generator=self.generator)])
        ancestor = self.running.ancestor.descriptor
        self.running.ancestor_novelty = float(self._neighbors.novelty(ancestor, self.config.neighbors, member=True))

    def _exploited(self, played: Individuals) -> None:
        emitter = self.running
        emitter.tell(played)
        self._store(emitter.accepted())
        emitter.watch_novelty(self._neighbors.novelty(emitter.population.descriptor, self.config.neighbors))
        if emitter.stagnant():
            self.ended.append(emitter.buffer)
            self._store(emitter.ancestor)
            self.emitters.remove(emitter)
            self.current = None
            self._choose()
        elif self.left <= 0:
            emitter.rate()
            self._begin_exploring()

    # Records ----------------------------------------------------------------------------------------------------------

    def progress(self) -> Metrics:
        """Sizes of the archives, and what is exploited."""
        return {
            **super().progress(), "rewards": len(self.rewards), "candidates": self.candidates.size,
            "emitters": len(self.emitters), "exploiting": float(self.stage != "explore"),
        }  # fmt: skip

    def search_state(self) -> dict[str, Any]:
        """Copy everything kept between two generations."""
        return {
            **super().search_state(), "rewards": self.rewards.get_state(), "stage": self.stage, "left": self.left,
            "candidates": tuple(self.candidates.copy()), "sigmas": self.sigmas.clone(),
            "trying": pack(self.trying), "emitters": pack(self.emitters), "current": self.current,
            "ended": [tuple(buffer.copy()) for buffer in self.ended],
            "pool": self.pool.clone(), "known": self.known.clone(),
        }  # fmt: skip

    def set_search_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        super().set_search_state(snapshot)
        self.rewards.set_state(snapshot["rewards"])
        self.stage, self.left, self.current = snapshot["stage"], snapshot["left"], snapshot["current"]
        self.candidates, self.sigmas = restored(snapshot["candidates"]), snapshot["sigmas"].cpu().clone()
        self.trying, self.emitters = unpack(snapshot["trying"]), unpack(snapshot["emitters"])
        self.ended = [restored(buffer) for buffer in snapshot["ended"]]
        self.pool = snapshot["pool"].cpu().clone()
        self._know(snapshot["known"].cpu().clone())
