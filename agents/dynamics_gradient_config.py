"""Settings of the gradient through the dynamics."""

from __future__ import annotations

from dataclasses import dataclass

from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.envs.checks import check_seed, unknown_name


@dataclass(frozen=True, kw_only=True)
class DynamicsGradientConfig:
    """Settings of the gradient through the dynamics."""

    num_envs: int = 64
    """Start states of an iteration; whoever makes the env reads it."""
    learning_rate: float = 3e-3
    """Of Adam."""
    max_grad_norm: float | None = 1.0
    """Bound of the gradient's norm, which long horizons may let explode; None does not clip."""
    enough: float | None = 0.5
    """Objective beyond which a trajectory is good enough and pulls no more; None always asks for more."""
    smooth: float | None = 10.0
    """Of the smooth objective, which is closer to the exact one the larger this is, in units of one over the
    objective's; None ascends the exact one, whose gradient is that of a single sample."""
    final_smooth: float | None = None
    """Where `smooth` goes by `anneal_steps`, at a constant rate of growth; None keeps it."""
    anneal_steps: int | None = None
    """Env steps over which `smooth` goes to its final value."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    activation: Activation = "tanh"
    """Between the layers."""
    normalize: bool = True
    """Whether features are centred and scaled by what was seen in earlier iterations."""
    seed: int = 0
    """Of the first parameters."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        if self.num_envs < 1:
            raise ValueError(f"Expected num_envs >= 1, got {self.num_envs}.")
        for name in ("learning_rate", "max_grad_norm", "smooth", "final_smooth", "anneal_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Expected {name} > 0, got {value}.")
        if self.final_smooth is not None and (self.smooth is None or self.anneal_steps is None):
            raise ValueError(
                f"Expected smooth and anneal_steps with final_smooth, got {self.smooth} and {self.anneal_steps}."
            )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"Expected at least one hidden layer of width >= 1, got {self.hidden}.")

    def smooth_at(self, steps: int) -> float | None:
        """`smooth` after so many env steps.

        Example:
            >>> config = DynamicsGradientConfig(smooth=4.0, final_smooth=64.0, anneal_steps=100)
            >>> [config.smooth_at(steps) for steps in (0, 50, 100, 200)]
            [4.0, 16.0, 64.0, 64.0]
        """
        if self.smooth is None or self.final_smooth is None or self.anneal_steps is None:
            return self.smooth
        return self.smooth * (self.final_smooth / self.smooth) ** min(1.0, steps / self.anneal_steps)
