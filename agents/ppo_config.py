"""Settings of PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cairngym.agents.demonstration_sources import check_source
from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.envs.checks import check_seed, unknown_name


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO; the defaults learn MiniGrid tasks within seconds on two cores."""

    num_envs: int = 1024
    """Envs stepped together; whoever makes the env reads it."""
    rollout_steps: int = 64
    """Steps of every env between two updates."""
    epochs: int = 1
    """Passes over a rollout."""
    minibatch: int = 4096
    """Samples of one gradient step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    schedule: Literal["constant", "linear", "kl"] = "constant"
    """"linear" falls to zero at `schedule_steps`; "kl" keeps the update near `target_kl`."""
    schedule_steps: int | None = None
    """Env steps at which a linear schedule ends."""
    target_kl: float = 0.01
    """Divergence between two policies that the "kl" schedule aims at, in nats."""
    gamma: float = 0.99
    """Discount."""
    lam: float = 0.95
    """Decay of generalised advantage estimation."""
    clip: float = 0.2
    """How far the probability ratio may go before it stops paying."""
    value_clip: float | None = None
    """How far values may move within an update; None does not clip."""
    value_coefficient: float = 0.5
    """Weight of the value loss, half the mean squared error."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Bound of the gradient's norm."""
    normalize_advantage: bool = True
    """Whether the advantages of a rollout are centred and scaled."""
    intrinsic_gamma: float | None = None
    """Discount of intrinsic rewards, which then get a value head of their own; None treats them like any reward."""
    intrinsic_episodic: bool = False
    """Whether intrinsic returns end with the episode (Burda et al. 2019 let them go on)."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    activation: Activation = "tanh"
    """Between the layers."""
    shared: bool = True
    """Whether actor and critic share the hidden layers."""
    memory: int = 0
    """Size of a GRU after the hidden layers; 0 for none."""
    squash: Literal["clip", "tanh"] = "clip"
    """How a continuous action is brought into its bounds."""
    log_std: float = 0.0
    """First logarithm of the standard deviation of continuous actions, whose box is [-1, 1]."""
    stagger: bool = True
    """Whether the first episodes begin at random ages, so that time limits do not fall together."""
    demonstrations: str | None = None
    """What to imitate: a file, `minari:ID`, or `oracle` for the task's own; see `agents.demonstration_sources`."""
    demonstration_episodes: int | None = None
    """How many demonstrated episodes, the first ones; None takes all of a file's, and 10 of an oracle's."""
    pretrain_updates: int = 0
    """Gradient steps that imitate demonstrations before the first env step."""
    cloning_coefficient: float = 0.0
    """Weight of the cross-entropy of demonstrated actions beside PPO's own losses."""
    cloning_steps: int | None = None
    """Env steps over which that weight falls to zero; None keeps it."""
    cloning_batch: int = 1024
    """Demonstrated steps of one gradient step, drawn with replacement."""
    compile: bool = False
    """Whether torch.compile builds the loss; needs a C++ compiler."""
    seed: int = 0
    """Of everything random in the agent."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        if self.schedule not in ("constant", "linear", "kl"):
            raise unknown_name("schedule", self.schedule, ("constant", "linear", "kl"))
        if self.squash not in ("clip", "tanh"):
            raise unknown_name("squash", self.squash, ("clip", "tanh"))
        if self.schedule == "linear" and not self.schedule_steps:
            raise ValueError(
                "Expected schedule_steps with schedule='linear', got none. Give the steps of the whole run."
            )
        self._check_demonstrations()
        for name in ("num_envs", "rollout_steps", "epochs", "minibatch", "cloning_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} >= 1, got {getattr(self, name)}.")
        for name in ("gamma", "lam", "intrinsic_gamma"):
            if getattr(self, name) is not None and not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"Expected {name} in [0, 1], got {getattr(self, name)}.")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"Expected at least one hidden layer of width >= 1, got {self.hidden}.")

    def _check_demonstrations(self) -> None:
        if self.demonstrations is None:
            if self.pretrain_updates or self.cloning_coefficient:
                raise ValueError(
                    "Expected demonstrations with pretrain_updates or cloning_coefficient, got none. Give "
                    "demonstrations='oracle', a file, or 'minari:ID'."
                )
            return
        check_source(self.demonstrations)
        if self.memory:
            raise ValueError(
                f"Expected memory=0 with demonstrations, got {self.memory}; steps are imitated one by one."
            )
        if not self.pretrain_updates and not self.cloning_coefficient:
            raise ValueError("Expected pretrain_updates or cloning_coefficient with demonstrations, got neither.")
        if self.pretrain_updates < 0 or self.cloning_coefficient < 0.0:
            raise ValueError(
                f"Expected pretrain_updates >= 0 and cloning_coefficient >= 0, got {self.pretrain_updates} and "
                f"{self.cloning_coefficient}."
            )
        for name in ("demonstration_episodes", "cloning_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"Expected {name} >= 1 or None, got {getattr(self, name)}.")
