"""Networks of off-policy agents and what they learn from: an ensemble of critics, and actors on [-1, 1]^A."""

from __future__ import annotations

import copy
import itertools
import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from cairngym.agents.inputs import InputEncoder
from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.agents.normalization import RunningNormalizer
from cairngym.envs.core import Observation

LOG_STD_BOUNDS = (-10.0, 2.0)
Members = torch.Tensor | slice | None
"""Which critics of an ensemble to ask: int64 `(M,)`, a slice, or None for all."""


class Minibatch(NamedTuple):
    """What one gradient step learns from, B transitions."""

    features: torch.Tensor
    """`(B, F)`, as networks take them."""
    action: torch.Tensor
    """`(B, A)` in [-1, 1]."""
    reward: torch.Tensor
    next_features: torch.Tensor
    discount: torch.Tensor
    """`(B,)`: a target is `reward + discount * value of what follows`."""
    noise: torch.Tensor
    """`(B, K)` standard normal, which the losses turn into random actions."""


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Where nothing is rounded to a shorter format, even under autocast."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()  # entering torch's own costs more than a small layer


class Features(nn.Module):
    """Network inputs from observations: symbols one-hot, features normalised by all that was collected.

    Args:
        encoder: splits observations into symbols and features.
        normalize: whether features are centred and scaled.
        clip: bound of the normalised features in standard deviations.
        floor: what is added, squared, to their variances: about the least standard deviation they are divided by.
    """

    def __init__(
        self, encoder: InputEncoder, *, normalize: bool = True, clip: float = 10.0, floor: float = 0.01
    ) -> None:
        super().__init__()
        self.encoder = encoder
        selected = encoder.normalized if normalize else torch.zeros_like(encoder.normalized)
        self.normalizer = RunningNormalizer(selected, clip, floor**2)
        self.size = encoder.num_symbols + encoder.num_features

    def forward(self, obs: Observation) -> torch.Tensor:
        """`(B, size)` float32."""
        symbols, features = self.encoder(obs)
        normal = self.normalizer(features)
        if not self.encoder.num_symbols:
            return normal
        one_hot = normal.new_zeros(len(normal), self.encoder.num_symbols + 1).scatter_(1, symbols.to(torch.int64), 1.0)
        return torch.cat((one_hot[:, :-1], normal), dim=1)  # the last column stands for "no symbol"

    def update(self, obs: Observation) -> None:
        """Let the normaliser take in collected observations."""
        self.normalizer.update(self.encoder(obs).features)


class EnsembleLinear(nn.Module):
    """E linear layers side by side, with the initialisation of `nn.Linear`."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor, members: Members = None) -> torch.Tensor:
        """`(E, B, outputs)` from `(E, B, inputs)`, or from `(B, inputs)` that all share; of the `members` only."""
        weight, bias = (self.weight, self.bias) if members is None else (self.weight[members], self.bias[members])
        return torch.baddbmm(bias, x.expand(len(weight), *x.shape[-2:]), weight)


class EnsembleCritic(nn.Module):
    """E action values of the same shape, each with weights of its own, in one batched pass.

    Normalised layers have neither gain nor offset: this layer's bias and the next one's weights stand for them. The
    head works in float32 whatever the autocast, which keeps large values apart.

    Args:
        num_inputs: entries of an observation's features and of an action together.
        hidden: widths of the hidden layers.
        members: E.
        activation: between the layers.
        layer_norm: whether every hidden layer is normalised before its activation (Ball et al. 2023).
        unseen: how many of the last features are the actor's alone; they do not count among `num_inputs`.
    """

    def __init__(
        self,
        num_inputs: int,
        hidden: tuple[int, ...],
        members: int = 2,
        *,
        activation: Activation = "relu",
        layer_norm: bool = True,
        unseen: int = 0,
    ) -> None:
        super().__init__()
        self.members, self.layer_norm, self.unseen = members, layer_norm, unseen
        sizes = itertools.pairwise((num_inputs, *hidden))
        self.layers = nn.ModuleList(EnsembleLinear(members, inputs, outputs) for inputs, outputs in sizes)
        self.head = EnsembleLinear(members, hidden[-1], 1)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, features: torch.Tensor, action: torch.Tensor, members: Members = None) -> torch.Tensor:
        """Values `(E, B)`, or `(M, B)` of the `members` asked, from `(B, F)` and `(B, A)`."""
        seen = features[..., : features.shape[-1] - self.unseen]
        x = torch.cat((seen, action), dim=-1)
        for layer in self.layers:
            x = layer(x, members)
            if self.layer_norm:
                x = functional.layer_norm(x, x.shape[-1:])
            x = self.activation(x)
        with full_precision(x.device):
            return self.head(x.float(), members).squeeze(-1)


def frozen_view(critic: EnsembleCritic) -> EnsembleCritic:
    """The same critic, sharing its parameters' memory, without gradients for them.

    An actor's loss goes through it, so that no gradient is spent on the critic's weights.
    """
    view = copy.deepcopy(critic).requires_grad_(False)
    for own, source in zip(view.parameters(), critic.parameters(), strict=True):
        own.data = source.data
    return view


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy without gradients: a target network."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(targets: list[torch.Tensor], sources: list[torch.Tensor], tau: float) -> None:
    """Move the targets by the share `tau` of their distance towards the sources (Polyak averaging), in place."""
    torch._foreach_lerp_(targets, sources, tau)


def _mlp(num_inputs: int, hidden: tuple[int, ...], activation: Activation) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((num_inputs, *hidden)):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class PolicyNetwork(nn.Module):
    """An MLP whose head works in float32 whatever the autocast.

    Args:
        num_inputs: entries of an observation's features.
        num_outputs: width of the head.
        hidden: widths of the hidden layers.
        activation: between the layers.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, hidden: tuple[int, ...], activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.trunk = _mlp(num_inputs, hidden, activation)
        self.head = nn.Linear(hidden[-1], num_outputs)

    def outputs(self, features: torch.Tensor) -> torch.Tensor:
        """`(B, num_outputs)` from `(B, F)`."""
        latent = self.trunk(features)
        with full_precision(latent.device):
            return self.head(latent.float())


class DeterministicActor(PolicyNetwork):
    """An action for every observation, squashed by tanh."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Actions `(B, A)` in [-1, 1] from `(B, F)`."""
        return self.outputs(features).tanh()


class SquashedGaussianActor(PolicyNetwork):
    """A normal distribution for every observation, squashed by tanh (Haarnoja et al. 2018, appendix C).

    Args:
        num_inputs: entries of an observation's features.
        num_actions: A.
        hidden: widths of the hidden layers.
        activation: between the layers.
    """

    def __init__(
        self, num_inputs: int, num_actions: int, hidden: tuple[int, ...], activation: Activation = "relu"
    ) -> None:
        super().__init__(num_inputs, 2 * num_actions, hidden, activation)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation before tanh, `(B, A)` each, from `(B, F)`."""
        mean, log_std = self.outputs(features).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_BOUNDS)

    def sample(self, features: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions `(B, A)` from standard normal `noise` `(B, A)`, and their log-densities `(B,)` on [-1, 1]^A."""
        mean, log_std = self(features)
        raw = mean + log_std.exp() * noise
        normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
        return raw.tanh(), (normal - log_slope(raw)).sum(-1)


def log_slope(raw: torch.Tensor) -> torch.Tensor:
    """log(1 - tanh(x)^2) elementwise, without cancellation for large |x|."""
    return 2.0 * (math.log(2.0) - raw - functional.softplus(-2.0 * raw))
