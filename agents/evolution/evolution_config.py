"""Settings of the agents that search the space of behaviors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cairngym.envs.checks import check_seed, unknown_name


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """What every evolving agent is told: the policies, the box of their genomes, and what is counted.

    Policies, box and mutation are those of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters"
    (2021), and of the baselines there.
    """

    num_envs: int = 200
    """Envs stepped together where the world does not play whole episodes itself; whoever makes the env reads it."""
    evaluations: int | None = None
    """Policies to play in all, re-evaluations counted; None: only the env steps bound the learning."""
    hidden: tuple[int, ...] = (5, 5)
    """Units of the hidden layers; none makes policies of one layer."""
    bias: Literal["shared", "unit"] = "shared"
    """One number for all units of a layer, or one for each."""
    bound: float = 5.0
    """Every number of a genome stays in [-bound, bound]."""
    first_std: float = 1.0
    """Standard deviation of the numbers of the first genomes, around zero."""
    sigma: float = 0.05
    """Standard deviation of a mutation, of every number of a genome."""
    elite_episodes: int = 1
    """Episodes that confirm a policy before it becomes the one that acts."""
    report_every: int = 200
    """Evaluations between two reports to the callbacks; generations may be smaller."""
    seed: int = 0
    """Of everything random in the agent."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.bias not in ("shared", "unit"):
            raise unknown_name("bias", self.bias, ("shared", "unit"))
        at_least(self, 1, "num_envs", "report_every")
        at_least(self, 0, "elite_episodes")
        for name in ("bound", "first_std", "sigma"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"Expected {name} > 0, got {getattr(self, name)}.")
        if self.evaluations is not None and self.evaluations < 1:
            raise ValueError(f"Expected evaluations >= 1 or none, got {self.evaluations}.")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"Expected hidden layers of width >= 1, got {self.hidden}.")


def at_least(config: EvolutionConfig, least: int, *names: str) -> None:
    """Raise `ValueError` where a setting is less than `least`."""
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"Expected {name} >= {least}, got {getattr(config, name)}.")


@dataclass(frozen=True, kw_only=True)
class NoveltySearchConfig(EvolutionConfig):
    """Settings of Novelty Search."""

    population: int = 100
    """Parents of a generation."""
    children: int = 2
    """Offspring of every parent."""
    neighbors: int = 15
    """How many nearest behaviors novelty is the mean distance to."""
    archived: int = 5
    """Random offspring of a generation that are kept in the archive for good."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "population", "children", "neighbors")
        at_least(self, 0, "archived")


@dataclass(frozen=True, kw_only=True)
class SereneConfig(NoveltySearchConfig):
    """Settings of SERENE: Novelty Search until something is rewarded, and emitters that improve on what was."""

    chunk: int = 1000
    """Evaluations given to exploring and to exploiting in turn."""
    emitter_population: int = 6
    """Policies of an emitter; each has two children a generation."""
    bootstrap_generations: int = 5
    """Generations after its first by which a candidate shows whether it improves."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "chunk", "emitter_population")
        at_least(self, 3, "bootstrap_generations")


@dataclass(frozen=True, kw_only=True)
class MapElitesConfig(EvolutionConfig):
    """Settings of MAP-Elites."""

    population: int = 100
    """Offspring of a generation, and policies of the first."""
    line_sigma: float = 0.0
    """Standard deviation of a step along the line to another elite, in units of the distance (Vassiliades and Mouret
    2018); zero leaves the Gaussian mutation alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "population")
        if not self.line_sigma >= 0.0:
            raise ValueError(f"Expected line_sigma >= 0, got {self.line_sigma}.")


@dataclass(frozen=True, kw_only=True)
class CmaMeConfig(EvolutionConfig):
    """Settings of CMA-ME."""

    emitters: int = 15
    """Improvement emitters, all asked in every generation (Fontaine et al. 2020)."""
    emitter_population: int = 6
    """Policies that an emitter draws in a generation."""
    emitter_sigma: float = 0.5
    """First step size of an emitter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "emitters")
        at_least(self, 2, "emitter_population")
        if not self.emitter_sigma > 0.0:
            raise ValueError(f"Expected emitter_sigma > 0, got {self.emitter_sigma}.")


@dataclass(frozen=True, kw_only=True)
class DeepGAConfig(EvolutionConfig):
    """Settings of the genetic algorithm of Such et al., "Deep Neuroevolution" (2017), for small policies.

    There a generation holds 1000 policies of millions of numbers, 20 of which are parents, and 10 candidates for the
    elite play 30 episodes more. A generation here is as large as one of Novelty Search, with the share of parents of
    their locomotion experiments (a twentieth) and the mutation of the other methods; the candidates play
    `elite_episodes` more.
    """

    population: int = 200
    """Policies of a generation, the elite among them."""
    parents: int = 10
    """The fittest of a generation, from which the next one is drawn."""
    candidates: int = 10
    """The fittest of a generation, which play again for the place of the elite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 2, "population")
        at_least(self, 1, "parents", "candidates")
        for name in ("parents", "candidates"):
            if getattr(self, name) > self.population:
                raise ValueError(f"Expected {name} <= population, got {getattr(self, name)} of {self.population}.")
