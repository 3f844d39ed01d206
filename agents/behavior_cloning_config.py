"""Settings of behavior cloning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cairngym.agents.demonstration_sources import check_source
from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.envs.checks import check_seed, unknown_name


@dataclass(frozen=True, kw_only=True)
class BehaviorCloningConfig:
    """Settings of behavior cloning with action chunks."""

    num_envs: int = 64
    """Copies of the env; whoever makes the env reads it. The agent itself steps none of them."""
    gamma: float = 0.99
    """Read by shapers only, whose rewards are not learned from."""
    demonstrations: str = "oracle"
    """What to imitate: a file, `minari:ID`, or `oracle` for the task's own; see `agents.demonstration_sources`."""
    demonstration_episodes: int | None = None
    """How many demonstrated episodes, the first ones; None takes all of a file's, and 10 of an oracle's."""
    chunk: int = 1
    """Actions predicted at once: the next one and those after it."""
    play: Literal["open_loop", "ensemble"] = "open_loop"
    """Whether a chunk is played to its end before the next is asked for, or asked for at every step and blended with
    what the last chunks said of it (temporal ensembling, Zhao et al. 2023)."""
    ensemble_decay: float = 0.01
    """Weights of a blend are exp(-decay * i), i = 0 for the oldest chunk."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    activation: Activation = "relu"
    """Between the layers."""
    learning_rate: float = 1e-3
    """Of Adam."""
    weight_decay: float = 0.0
    """Of Adam, decoupled from the gradient."""
    batch: int = 256
    """Demonstrated steps of one gradient step; so many steps are counted for it."""
    report: int = 64
    """Gradient steps between two reports."""
    max_grad_norm: float = 1.0
    """Bound of the gradient's norm."""
    seed: int = 0
    """Of everything random in the agent."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_source(self.demonstrations)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        if self.play not in ("open_loop", "ensemble"):
            raise unknown_name("way to play chunks", self.play, ("open_loop", "ensemble"))
        for name in ("num_envs", "chunk", "batch", "report"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} >= 1, got {getattr(self, name)}.")
        if self.demonstration_episodes is not None and self.demonstration_episodes < 1:
            raise ValueError(f"Expected demonstration_episodes >= 1 or None, got {self.demonstration_episodes}.")
        for name in ("ensemble_decay", "weight_decay"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"Expected {name} >= 0, got {getattr(self, name)}.")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"Expected at least one hidden layer of width >= 1, got {self.hidden}.")
