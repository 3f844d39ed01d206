"""Settings of the cross-entropy method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.envs.checks import check_seed, unknown_name


@dataclass(frozen=True, kw_only=True)
class CEMConfig:
    """Settings of the cross-entropy method over policy parameters."""

    num_envs: int = 256
    """Envs stepped together, a multiple of `population`; whoever makes the env reads it."""
    population: int = 64
    """Candidate policies of a generation."""
    episodes: int = 1
    """Episodes that every env plays in a generation; a policy is judged by `num_envs / population` times as many."""
    elite_fraction: float = 0.125
    """Share of the population that the next mean and deviation are made of."""
    std: float = 1.0
    """First standard deviation of every parameter, in units of 1 / sqrt(inputs of its layer)."""
    extra_variance: float = 0.1
    """Variance added to the elites' at first, against closing in too early (Szita and Lorincz 2006)."""
    extra_generations: int = 100
    """Generations over which the added variance falls to zero, linearly."""
    smoothing: float = 1.0
    """How far mean and deviation move towards the elites' in a generation; 1 all the way."""
    antithetic: bool = False
    """Whether the candidates come in pairs, mirrored at the mean."""
    gamma: float = 1.0
    """Discount of the rewards within an episode; shapers are built for it."""
    hidden: tuple[int, ...] = (32, 32)
    """Widths of the hidden layers; none makes linear policies."""
    activation: Activation = "tanh"
    """Between the layers."""
    normalize: bool = True
    """Whether features are centred and scaled by what was seen in earlier generations."""
    squash: Literal["clip", "tanh"] = "clip"
    """How a continuous action is brought into its bounds."""
    seed: int = 0
    """Of everything random in the agent."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        if self.squash not in ("clip", "tanh"):
            raise unknown_name("squash", self.squash, ("clip", "tanh"))
        for name in ("num_envs", "episodes", "extra_generations"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} >= 1, got {getattr(self, name)}.")
        if self.population < 2 or (self.antithetic and self.population % 2):
            kind = "an even population" if self.antithetic else "a population"
            raise ValueError(f"Expected {kind} of at least 2, got {self.population}.")
        for name in ("elite_fraction", "smoothing"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"Expected {name} in (0, 1], got {getattr(self, name)}.")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"Expected gamma in [0, 1], got {self.gamma}.")
        if not self.std > 0.0:
            raise ValueError(f"Expected std > 0, got {self.std}.")
        if not self.extra_variance >= 0.0:
            raise ValueError(f"Expected extra_variance >= 0, got {self.extra_variance}.")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"Expected hidden layers of width >= 1, got {self.hidden}.")

    @property
    def elites(self) -> int:
        """How many of the population are the elite, at least one."""
        return max(1, round(self.elite_fraction * self.population))
