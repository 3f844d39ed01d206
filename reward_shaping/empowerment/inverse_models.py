"""Models q(a|s, s') of what was done, given what came of it, and the bounds on mutual information they give."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from gymnasium import spaces
from torch import nn

Source = Literal["optimal", "uniform", "behavior"]
RAREST = math.log(1e-4)
"""Log of the least probability that a behaviour is believed to give to a sequence."""


class InverseModel(nn.Module, ABC):
    """Three functions learned together: the inverse model, the behaviour that made the data, and the bound itself."""

    bound: float
    """Nats that no estimate exceeds."""

    @abstractmethod
    def encode(self, action: torch.Tensor) -> torch.Tensor:
        """A sequence of n actions `(B, n, ...)` as a row of numbers, float32 `(B, E)`."""

    @abstractmethod
    def losses(self, before: torch.Tensor, after: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is minimised, each a mean over the batch.

        Args:
            before: features of s, `(B, F)`.
            after: features of the state n steps on, `(B, F)`.
            action: the encoded actions between, `(B, E)`.
        """

    @abstractmethod
    def value(self, features: torch.Tensor) -> torch.Tensor:
        """The estimate at states `(B, F)`, float32 `(B,)` in [0, bound]."""


class CategoricalInverse(InverseModel):
    """For Discrete actions: all A^n sequences as one category.

    L(s, a, s') is what distinguishes the posteriors of any two sources: q(a|s, s') is the softmax over a of L plus the
    log of the source. It is trained on the data's own posterior, whose source is the behaviour, and read with the
    source wanted. So what is estimated does not follow the agent's habits, as long as everything is tried at times.

    psi(s, a) is the mean of log q(a|s, s') over s'. The bound is log sum_a exp psi(s, a), attained by the source
    exp psi(s, .) normalised, for "optimal", which makes it the capacity once all is learned (Mohamed and Rezende,
    "Variational information maximisation for intrinsically motivated reinforcement learning", 2015); and the mean of
    psi(s, a) - log omega(a|s) over the source omega otherwise.

    Args:
        features: F.
        actions: A.
        steps: n.
        hidden: width of the hidden layers.
        source: see above.
        generator: of the weights.
    """

    def __init__(
        self, features: int, actions: int, steps: int, hidden: int, source: Source, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.sequences, self.source = actions**steps, source
        self.bound = math.log(self.sequences)
        self.inverse = network((2 * features, hidden, hidden, self.sequences), generator)
        self.behavior = network((features, hidden, self.sequences), generator)
        self.psi = network((features, hidden, self.sequences), generator)
        self.powers: torch.Tensor
        self.register_buffer("powers", torch.tensor([float(actions**power) for power in reversed(range(steps))]))

    def encode(self, action: torch.Tensor) -> torch.Tensor:
        """The number of the sequence, first action slowest, `(B, 1)`."""
        return (action.to(torch.float32) * self.powers).sum(1, keepdim=True)

    def log_psi(self, features: torch.Tensor) -> torch.Tensor:
        """Psi of every sequence, `(B, A^n)`, at most 0; -log A^n before anything is learned."""
        return (self.psi(features) - self.bound).clamp(min=-3 * self.bound - 1, max=0.0)

    def log_source(self, features: torch.Tensor) -> torch.Tensor:
        """Log of the source, `(B, A^n)`."""
        if self.source == "uniform":
            return torch.full_like(features[:, :1], -self.bound).expand(-1, self.sequences)
        chosen = self.log_psi(features) if self.source == "optimal" else self.behavior(features)
        return chosen.log_softmax(1)

    def losses(self, before: torch.Tensor, after: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross-entropies of the posterior and of the behaviour, and squared error of psi."""
        number = action.long()
        habit = self.behavior(before).log_softmax(1)
        likelihood = self.inverse(torch.cat((before, after), dim=1))
        posterior = (likelihood + habit.detach().clamp(min=RAREST)).log_softmax(1)
        with torch.no_grad():
            wanted = (likelihood + self.log_source(before)).log_softmax(1).gather(1, number)
            wanted = wanted.clamp(min=-3 * self.bound - 1)
        guess = (self.psi(before) - self.bound).gather(1, number)
        return {
            "inverse": -posterior.gather(1, number).mean(),
            "behavior": -habit.gather(1, number).mean(),
            "value": (guess - wanted).square().mean(),
        }

    def value(self, features: torch.Tensor) -> torch.Tensor:
        """The bound, clipped to [0, n log A]."""
        psi = self.log_psi(features)
        if self.source == "optimal":
            return psi.logsumexp(1).clamp(0.0, self.bound)
        omega = self.log_source(features)
        return (omega.exp() * (psi - omega)).sum(1).clamp(0.0, self.bound)


class GaussianInverse(InverseModel):
    """For Box actions: a Gaussian over the n x D numbers of a sequence, scaled to [-1, 1].

    The bound is the mean of log q(a|s, s') - log omega(a|s), learned as a function of s. Where nothing blurs what was
    done, information has no limit; q therefore never gets narrower than `width`, as if actions were read to that
    accuracy only, and the estimate is at most n D (log 2 - 0.5 log(2 pi e width^2)), with the entropy of a uniform
    source on the box.

    Args:
        features: F.
        space: of the actions; bounded.
        steps: n.
        hidden: width of the hidden layers.
        source: "behavior", a Gaussian fitted to what is done in each state; or "uniform" on the box, towards which the
            data are weighted, each sequence at most ten times.
        width: least std of q, in half ranges of the action.
        generator: of the weights.

    Raises:
        ValueError: actions without bounds, or the source "optimal", which only discrete actions have.
    """

    def __init__(
        self, features: int, space: spaces.Box, steps: int, hidden: int, source: Source, width: float,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        if not space.is_bounded():
            raise ValueError(f"Expected actions within bounds, got {space}.")
        if source == "optimal":
            raise ValueError("The source 'optimal' needs Discrete actions; choose 'behavior' or 'uniform'.")
        self.size, self.source, self.width = steps * math.prod(space.shape), source, width
        self.bound = self.size * max(0.0, math.log(2.0) - 0.5 * math.log(2 * math.pi * math.e * width**2))
        self.inverse = network((2 * features, hidden, hidden, 2 * self.size), generator)
        self.behavior = network((features, hidden, 2 * self.size), generator)
        self.gain = network((features, hidden, 1), generator)
        low, high = torch.as_tensor(space.low).double(), torch.as_tensor(space.high).double()
        self.middle: torch.Tensor
        self.reach: torch.Tensor
        self.register_buffer("middle", ((low + high) / 2).float())
        self.register_buffer("reach", ((high - low) / 2).clamp(min=1e-8).float())

    def encode(self, action: torch.Tensor) -> torch.Tensor:
        """The actions in [-1, 1], `(B, n D)`."""
        return ((action - self.middle) / self.reach).clamp(-1.0, 1.0).flatten(1)

    def _log_density(self, parameters: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Log density of encoded actions under Gaussians, `(B,)`."""
        mean, raw = parameters.chunk(2, dim=1)
        log_std = raw.clamp(math.log(self.width), 1.0)
        error = (action - mean) / log_std.exp()
        return (-0.5 * error.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(1)

    def losses(self, before: torch.Tensor, after: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Negative log-likelihoods of q and of the behaviour, and squared error of the gain."""
        posterior = self._log_density(self.inverse(torch.cat((before, after), dim=1)), action)
        habit = self._log_density(self.behavior(before), action)
        source, weight = habit.detach(), torch.ones_like(habit)
        if self.source == "uniform":
            source = torch.full_like(habit, -self.size * math.log(2.0))
            weight = (source - habit.detach()).exp().clamp(max=10.0)
            weight = weight / weight.mean()
        wanted = (posterior.detach() - source).clamp(-self.bound - 1.0, 2 * self.bound + 1.0)
        return {
            "inverse": -(weight * posterior).mean(),
            "behavior": -habit.mean(),
            "value": (weight * (self.gain(before)[:, 0] - wanted).square()).mean(),
        }

    def value(self, features: torch.Tensor) -> torch.Tensor:
        """The bound, clipped to [0, bound]."""
        return self.gain(features)[:, 0].clamp(0.0, self.bound)


def network(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """An MLP with ReLU between its layers: orthogonal weights drawn from `generator`, the last ones near zero."""
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=2):
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
        gain = 0.01 if place == len(sizes) else math.sqrt(2)
        nn.init.orthogonal_(linear.weight, gain, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
