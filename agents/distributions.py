"""Action distributions, written out so that sampling and log-probabilities are a handful of tensor operations.

A distribution turns the network's outputs into actions. `sample` takes its noise as an argument: a rollout draws all of
it in one call, from the agent's own generator.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from gymnasium import spaces
from torch import nn


class Distribution(nn.Module):
    """What actions a network's outputs stand for.

    Attributes:
        num_outputs: how many outputs the network needs.
        noise_shape, action_shape: shapes of one env's noise and action.
        action_dtype: dtype of stored actions.
    """

    num_outputs: int
    noise_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    action_dtype: torch.dtype

    @abstractmethod
    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw the noise of `shape` samples, `(*shape, *noise_shape)`."""

    @abstractmethod
    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions `(B, *action_shape)` and their log-probabilities `(B,)`."""

    @abstractmethod
    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """The likeliest actions."""

    @abstractmethod
    def evaluate(self, outputs: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of `action` and entropies, `(B,)` each."""

    @abstractmethod
    def to_env(self, action: torch.Tensor) -> torch.Tensor:
        """The action as the env's `step` takes it."""


class Categorical(Distribution):
    """One of n actions; outputs are logits."""

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__()
        self.num_outputs, self.start = int(space.n), int(space.start)
        self.noise_shape, self.action_shape, self.action_dtype = (1,), (), torch.int64

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Uniform in [0, 1)."""
        return torch.rand((*shape, 1), generator=generator, device=generator.device)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Invert the cumulative distribution at `noise`."""
        log_probs = outputs - outputs.logsumexp(-1, keepdim=True)  # on a CPU, thrice as fast as log_softmax
        below = log_probs.exp().cumsum(-1) <= noise
        # Rounding may leave the last cumulative value below the noise.
        action = below.sum(-1, keepdim=True).clamp_(max=self.num_outputs - 1)
        return action.squeeze(-1), log_probs.gather(-1, action).squeeze(-1)

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """The action of the largest logit."""
        return outputs.argmax(-1)

    def evaluate(self, outputs: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies."""
        log_probs = outputs - outputs.logsumexp(-1, keepdim=True)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1), entropy

    def to_env(self, action: torch.Tensor) -> torch.Tensor:
        """Count from the space's first action."""
        return action + self.start if self.start else action


class DiagonalGaussian(Distribution):
    """Independent normal actions; outputs are means, standard deviations are parameters of their own.

    Means live on a scale where a bounded action's box is [-1, 1]. `to_env` brings samples into the box by clipping or
    by tanh; log-probabilities are those of the sample before it, which leaves PPO's ratio exact in both cases.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, space: spaces.Box, squash: Literal["clip", "tanh"] = "clip", log_std: float = 0.0) -> None:
        super().__init__()
        low, high = (torch.as_tensor(bound, dtype=torch.float32).flatten() for bound in (space.low, space.high))
        self.bounded = bool((low.isfinite() & high.isfinite()).all())
        self.num_outputs, self.squash, self.env_shape = low.numel(), squash, space.shape
        self.noise_shape = self.action_shape = (low.numel(),)
        self.action_dtype = torch.float32
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.log_std = nn.Parameter(torch.full((low.numel(),), log_std))

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Standard normal."""
        return torch.randn((*shape, *self.noise_shape), generator=generator, device=generator.device)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean plus scaled noise."""
        action = outputs + self.log_std.exp() * noise
        return action, self._log_prob(noise)

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """The mean."""
        return outputs

    def evaluate(self, outputs: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies."""
        log_prob = self._log_prob((action - outputs) * (-self.log_std).exp())
        entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return log_prob, entropy.expand_as(log_prob)

    def _log_prob(self, standard: torch.Tensor) -> torch.Tensor:
        return -(0.5 * standard.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def to_env(self, action: torch.Tensor) -> torch.Tensor:
        """Into the box: [-1, 1] onto its bounds where they are finite, else clipped at those that are."""
        if self.bounded:
            unit = action.tanh() if self.squash == "tanh" else action.clamp(-1.0, 1.0)
            action = self.low + 0.5 * (unit + 1.0) * (self.high - self.low)
        # Rounding may leave the box by one bit.
        return action.clamp(self.low, self.high).view(-1, *self.env_shape)


def make_distribution(
    space: spaces.Space, squash: Literal["clip", "tanh"] = "clip", log_std: float = 0.0
) -> Distribution:
    """The distribution for an env's action space.

    Raises:
        TypeError: a space that is neither Discrete nor Box.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(space)
    if isinstance(space, spaces.Box):
        return DiagonalGaussian(space, squash, log_std)
    raise TypeError(f"Expected a Discrete or Box action space, got {space}. Wrap the env to offer one of them.")
