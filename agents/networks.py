"""Actor and critic: a first layer that sums the weights of the symbols present, an MLP, an optional GRU, two heads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from cairngym.agents.inputs import InputEncoder, Inputs
from cairngym.agents.normalization import RunningNormalizer

Activation = Literal["tanh", "relu", "elu"]


class Tanh(nn.Module):
    """The hyperbolic tangent, 2 sigmoid(2 x) - 1: a fifth of the time of PyTorch's own on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise."""
        return torch.sigmoid(2.0 * x) * 2.0 - 1.0


ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": Tanh, "relu": nn.ReLU, "elu": nn.ELU}


class _SymbolSum(torch.autograd.Function):
    """Sum of the rows of `weight` at each sample's symbols: what a matrix product with their one-hot code gives.

    Forward gathers S rows a sample, several times cheaper than the product; backward is the dense product, several
    times cheaper than scattering S rows a sample.
    """

    @staticmethod
    def forward(ctx: Any, symbols: torch.Tensor, weight: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(symbols)
        ctx.scratch = scratch
        return functional.embedding_bag(symbols.to(torch.int32), weight, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, torch.Tensor, None]:
        (symbols,) = ctx.saved_tensors
        one_hot = ctx.scratch[: len(symbols)].zero_()
        one_hot.scatter_(1, symbols.to(torch.int64), 1.0)
        grad_weight = one_hot.t() @ grad
        grad_weight[-1] = 0.0  # the row of "no symbol" stays zero
        return None, grad_weight, None


class InputLayer(nn.Module):
    """A linear layer over symbols (one-hot) and features.

    Args:
        num_symbols: how many symbols there are.
        num_sites: how many are present at once.
        num_features: how many features.
        width: how many outputs.
        gain: of the orthogonal initialisation.
    """

    def __init__(self, num_symbols: int, num_sites: int, num_features: int, width: int, gain: float) -> None:
        super().__init__()
        self.num_sites, self.num_features = num_sites, num_features
        weight = torch.empty(width, num_symbols + num_features)
        nn.init.orthogonal_(weight, gain)
        symbols, features = weight.t().split((num_symbols, num_features))
        self.symbol_weight = nn.Parameter(torch.cat((symbols, torch.zeros(1, width)))) if num_symbols else None
        self.feature_weight = nn.Parameter(features.clone()) if num_features else None
        self.bias = nn.Parameter(torch.zeros(width))
        self._one_hot = torch.empty(0, num_symbols + 1)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """`(B, width)`."""
        out: torch.Tensor = self.bias
        if self.symbol_weight is not None:
            out = out + _SymbolSum.apply(
                inputs.symbols, self.symbol_weight, self._scratch(inputs.symbols, self.symbol_weight)
            )
        if self.feature_weight is not None:
            out = out + inputs.features @ self.feature_weight
        return out if out.ndim == 2 else out.expand(len(inputs.features), -1)

    def _scratch(self, symbols: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        # Megabytes that every backward pass would else allocate, which costs more than the arithmetic on them.
        if torch.is_grad_enabled() and len(self._one_hot) < len(symbols):
            self._one_hot = torch.empty(len(symbols), len(weight), device=weight.device)
        return self._one_hot


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A linear layer with orthogonal weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Trunk(nn.Module):
    """From inputs to a vector: the input layer and further hidden layers."""

    def __init__(self, encoder: InputEncoder, hidden: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        gain = math.sqrt(2.0)
        sizes = (encoder.num_symbols, encoder.num_sites, encoder.num_features)
        self.first = InputLayer(*sizes, hidden[0], gain)
        layers: list[nn.Module] = [ACTIVATIONS[activation]()]
        for size, width in itertools.pairwise(hidden):
            layers += [linear(size, width, gain), ACTIVATIONS[activation]()]
        self.rest = nn.Sequential(*layers)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """`(B, hidden[-1])`."""
        return self.rest(self.first(inputs))


class ActorCritic(nn.Module):
    """Outputs of the action distribution, and values, from encoded observations.

    Args:
        encoder: knows the sizes of the inputs.
        num_outputs: what the action distribution needs.
        num_values: value heads: one, or two with an intrinsic stream.
        hidden: widths of the hidden layers.
        activation: between them.
        memory: size of the GRU after the trunk, 0 for none. With one, actor and critic share the trunk.
        shared: whether actor and critic share the trunk.
    """

    def __init__(
        self,
        encoder: InputEncoder,
        num_outputs: int,
        num_values: int = 1,
        *,
        hidden: tuple[int, ...] = (64, 64),
        activation: Activation = "tanh",
        memory: int = 0,
        shared: bool = True,
    ) -> None:
        super().__init__()
        self.memory = memory
        self.normalizer = RunningNormalizer(encoder.normalized)
        self.trunk = Trunk(encoder, hidden, activation)
        self.value_trunk = None if shared or memory else Trunk(encoder, hidden, activation)
        self.gru = nn.GRUCell(hidden[-1], memory) if memory else None
        width = memory or hidden[-1]
        # A nearly uniform first policy, and first values near zero: where rewards are rare, random ones would be all
        # that the first advantages tell, and the policy would follow them away from exploring.
        self.actor, self.critic = linear(width, num_outputs, 0.01), linear(width, num_values, 0.01)

    def initial_memory(self, batch: int) -> torch.Tensor:
        """Zeros, `(B, memory)`."""
        return self.actor.weight.new_zeros(batch, self.memory)

    def forward(self, inputs: Inputs, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One step.

        Args:
            inputs: of B observations.
            memory: `(B, memory)` before them, zero where an episode begins.

        Returns:
            outputs `(B, num_outputs)`, values `(B, num_values)`, memory `(B, memory)` after them.
        """
        inputs = Inputs(inputs.symbols, self.normalizer(inputs.features))
        latent = self.trunk(inputs)
        if self.gru is not None:
            latent = memory = self.gru(latent, memory)
        return self.actor(latent), self._values(inputs, latent), memory

    def sequence(self, inputs: Inputs, memory: torch.Tensor, begins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """T steps of B envs.

        Args:
            inputs: `(T * B, ...)`, time first.
            memory: `(B, memory)` before the first step.
            begins: bool `(T, B)`, where an episode begins.

        Returns:
            outputs `(T * B, num_outputs)` and values `(T * B, num_values)`.
        """
        inputs = Inputs(inputs.symbols, self.normalizer(inputs.features))
        latent = self.trunk(inputs)
        if self.gru is not None:
            latent = self._unroll(latent.view(*begins.shape, -1), memory, begins).flatten(0, 1)
        return self.actor(latent), self._values(inputs, latent)

    def _unroll(self, latent: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
        keep = (~begins).to(latent.dtype).unsqueeze(-1)
        steps = []
        # Indexing by step would have every backward step write a gradient of the whole sequence.
        for now, kept in zip(latent.unbind(0), keep.unbind(0), strict=True):
            memory = self.gru(now, memory * kept)  # type: ignore[misc]
            steps.append(memory)
        return torch.stack(steps)

    def _values(self, inputs: Inputs, latent: torch.Tensor) -> torch.Tensor:
        return self.critic(latent if self.value_trunk is None else self.value_trunk(inputs))


def check_same_networks(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Refuse parameters of other names or shapes than the model's.

    Raises:
        ValueError: naming the first that differs.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    other = {name: tuple(value.shape) for name, value in saved.items()}
    for name in sorted(own.keys() | other.keys()):
        if own.get(name) != other.get(name):
            raise ValueError(
                f"Expected networks with {name} of shape {own.get(name)}, got a checkpoint with {other.get(name)}. "
                "Make the agent with the config and the env the checkpoint was saved with."
            )
