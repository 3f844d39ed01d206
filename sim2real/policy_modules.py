"""Policies as pure graphs: the same networks as the agents', without random numbers, hidden memory or in-place writes.

Every module takes the entries of an observation, then its memories, and returns the action as the env takes it, for
discrete actions the logits, and the memories after the step. Nothing here is trained; parameters are the agent's own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from cairngym.agents.behavior_cloning import BehaviorCloning
from cairngym.agents.critics import PolicyNetwork
from cairngym.agents.distributions import Categorical
from cairngym.agents.dynamics_gradient import DynamicsGradient
from cairngym.agents.evolution.cem import CEM
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.inputs import InputEncoder, Inputs
from cairngym.agents.networks import InputLayer, Trunk
from cairngym.agents.normalization import RunningNormalizer
from cairngym.agents.off_policy import OffPolicy
from cairngym.agents.ppo import PPO
from cairngym.agents.unit_actions import UnitBox
from cairngym.envs.fused import feed_forward


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a policy hands itself from step to step; zero where an episode begins."""

    name: str
    shape: tuple[int, ...]
    """Of one robot's."""
    dtype: torch.dtype = torch.float32


Decision = tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, ...]]
"""The action, logits of discrete actions, and the memories after the step."""


class PolicyGraph(nn.Module):
    """A policy as a function of arrays `(B, ...)`, in the order of `entries` and then of `memories`.

    Attributes:
        entries: names of the observation's entries, "" for a lone one.
        memories: what the policy hands itself.
        gives_logits: whether actions are discrete.
    """

    memories: tuple[Memory, ...] = ()

    def __init__(self, entries: tuple[str, ...], *, gives_logits: bool) -> None:
        super().__init__()
        self.entries, self.gives_logits = entries, gives_logits

    @property
    def clips(self) -> bool:
        """Whether numbers without bounds are normalised and clipped, so that none is too large to be exact."""
        found = [each for each in self.modules() if isinstance(each, RunningNormalizer)]
        return any(each.active for each in found)

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """The decision on B observations."""
        raise TypeError(f"{type(self).__name__} decides nothing; use one of its subclasses.")

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Action, logits where actions are discrete, and memories."""
        obs = dict(zip(self.entries, arrays, strict=False))
        action, logits, memories = self.decide(obs, arrays[len(self.entries) :])
        return (action, *(() if logits is None else (logits,)), *memories)


def in_double(graph: PolicyGraph) -> PolicyGraph:
    """A copy that computes in float64, from the same float32 parameters and inputs; its memories are float64, too."""
    exact = copy.deepcopy(graph).double()
    for module in exact.modules():
        if isinstance(module, Encoding):
            module.precision = torch.float64
    return exact


class Encoding(nn.Module):
    """What an `InputEncoder` does to observations, from tables that are part of the graph."""

    table: torch.Tensor
    first: torch.Tensor
    precision = torch.float32

    def __init__(self, encoder: InputEncoder) -> None:
        super().__init__()
        table = encoder.table
        self.columns, self.numbers = table.columns, tuple(encoder.numbers)
        self.largest, self.num_symbols = table.largest, encoder.num_symbols
        self.register_buffer("table", table.table.to(torch.int64))
        self.register_buffer("first", table.first.to(torch.int64))
        self.scaled = tuple(encoder.scaling)
        for index, (factor, offset) in enumerate(encoder.scaling.values()):
            self.register_buffer(f"factor_{index}", factor)
            self.register_buffer(f"offset_{index}", offset)

    def forward(self, obs: Mapping[str, torch.Tensor]) -> Inputs:
        """Symbols int64 `(B, S)` and features float32 `(B, F)`."""
        batch = next(iter(obs.values()))
        parts = [self._number(name, obs[name]) for name in self.numbers]
        features = torch.cat(parts, 1) if parts else batch.new_zeros((batch.shape[0], 0), dtype=self.precision)
        if not self.columns:
            return Inputs(batch.new_zeros((batch.shape[0], 0), dtype=torch.int64), features)
        codes = torch.cat([obs[name].flatten(1)[:, run].to(torch.int64) for name, run in self.columns], 1)
        return Inputs(self.table[codes.clamp(-1, self.largest + 1) + self.first], features)

    def _number(self, name: str, value: torch.Tensor) -> torch.Tensor:
        number = value.flatten(1).to(torch.float32).to(self.precision)
        if name not in self.scaled:
            return number
        index = self.scaled.index(name)
        return number * self.get_buffer(f"factor_{index}") + self.get_buffer(f"offset_{index}")

    def dense(self, inputs: Inputs) -> torch.Tensor:
        """One-hot symbols and features side by side, `(B, num_symbols + F)`."""
        symbols, features = inputs
        if not self.num_symbols:
            return features
        one_hot = features.new_zeros((features.shape[0], self.num_symbols + 1))
        return torch.cat((one_hot.scatter(1, symbols, 1.0)[:, :-1], features), dim=1)


def first_layer(layer: InputLayer, inputs: Inputs) -> torch.Tensor:
    """What an `InputLayer` makes of its inputs, `(B, width)`."""
    out = layer.bias.expand(inputs.features.shape[0], -1)
    if layer.symbol_weight is not None:
        out = out + layer.symbol_weight[inputs.symbols].sum(1)
    if layer.feature_weight is not None:
        out = out + inputs.features @ layer.feature_weight
    return out


class TrunkGraph(nn.Module):
    """From observations to the vector after a trunk's last hidden layer."""

    def __init__(self, encoder: InputEncoder, normalizer: RunningNormalizer, trunk: Trunk) -> None:
        super().__init__()
        self.encoding, self.normalizer, self.trunk = Encoding(encoder), normalizer, trunk

    def forward(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """`(B, width)`."""
        symbols, features = self.encoding(obs)
        return self.trunk.rest(first_layer(self.trunk.first, Inputs(symbols, self.normalizer(features))))


class ActorCriticGraph(PolicyGraph):
    """The actor of PPO's networks; a GRU's memory goes in and comes out."""

    def __init__(self, agent: PPO, entries: tuple[str, ...]) -> None:
        super().__init__(entries, gives_logits=isinstance(agent.distribution, Categorical))
        model = agent.model
        self.latent = TrunkGraph(agent.encoder, model.normalizer, model.trunk)
        self.gru, self.actor, self.distribution = model.gru, model.actor, agent.distribution
        if model.gru is not None:
            self.memories = (Memory(name="memory", shape=(model.memory,)),)

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """The likeliest action."""
        latent = self.latent(obs)
        if self.gru is not None:
            latent = self.gru(latent, held[0])
        outputs = self.actor(latent)
        logits = outputs if self.gives_logits else None
        action = self.distribution.to_env(self.distribution.mode(outputs))
        return action, logits, () if self.gru is None else (latent,)


class ChunkGraph(PolicyGraph):
    """Behavior cloning's chunks of H actions; those predicted before go in and come out, with their age in steps."""

    def __init__(self, agent: BehaviorCloning, entries: tuple[str, ...]) -> None:
        super().__init__(entries, gives_logits=isinstance(agent.distribution, Categorical))
        model = agent.model
        self.latent = TrunkGraph(agent.encoder, model.normalizer, model.trunk)
        self.head, self.distribution, self.chunk = model.head, agent.distribution, model.chunk
        self.blends, self.decay = agent.config.play == "ensemble", agent.config.ensemble_decay
        shape = (self.chunk, agent.distribution.num_outputs)
        if self.chunk > 1:
            kept = (self.chunk, *shape) if self.blends else shape
            self.memories = (
                Memory(name="chunks", shape=kept),
                Memory(name="age", shape=(1,), dtype=torch.int64),
            )

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """The likeliest action of the chunk in use, or of all chunks that speak of this step."""
        fresh = self.head(self.latent(obs)).unflatten(1, (self.chunk, -1))
        memories: tuple[torch.Tensor, ...] = ()
        if not self.memories:
            outputs = fresh[:, 0]
        else:
            chunks, age = held
            outputs, chunks = (self._blended if self.blends else self._open_loop)(fresh, chunks, age)
            memories = (chunks, age + 1)
        logits = outputs if self.gives_logits else None
        return self.distribution.to_env(self.distribution.mode(outputs)), logits, memories

    def _open_loop(
        self, fresh: torch.Tensor, chunk: torch.Tensor, age: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        place = age % self.chunk
        chunk = torch.where((place == 0).unsqueeze(2), fresh, chunk)
        index = place.unsqueeze(2).expand(-1, 1, chunk.shape[2])
        return chunk.gather(1, index).squeeze(1), chunk

    def _blended(
        self, fresh: torch.Tensor, chunks: torch.Tensor, age: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chunks = torch.cat((fresh.unsqueeze(1), chunks[:, :-1]), 1)
        said = torch.stack([chunks[:, k, k] for k in range(self.chunk)], 1)
        said = said.softmax(-1) if self.gives_logits else said
        k = torch.arange(self.chunk, device=said.device).unsqueeze(0)
        oldest = age.clamp(max=self.chunk - 1)
        weight = torch.exp(-self.decay * (oldest - k)) * (k <= oldest)
        mean = (said * weight.unsqueeze(2)).sum(1) / weight.sum(1, keepdim=True)
        return (mean.log() if self.gives_logits else mean), chunks


class BoxGraph(nn.Module):
    """Maps [-1, 1]^A onto an env's box, limits included."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, box: UnitBox) -> None:
        super().__init__()
        self.shape = tuple(box.shape)
        self.register_buffer("low", box.low)
        self.register_buffer("high", box.high)

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        """`(B, *shape)`."""
        action = self.low + 0.5 * (unit + 1.0) * (self.high - self.low)
        return action.clamp(self.low, self.high).view(-1, *self.shape)


class OffPolicyGraph(PolicyGraph):
    """The actor of SAC (tanh of its means), of TD3, and of their kin."""

    def __init__(self, agent: OffPolicy, entries: tuple[str, ...]) -> None:
        super().__init__(entries, gives_logits=False)
        self.encoding, self.normalizer = Encoding(agent.features.encoder), agent.features.normalizer
        policy = cast(PolicyNetwork, agent.policy)
        self.trunk, self.head = policy.trunk, policy.head
        self.box, self.size = BoxGraph(agent.box), agent.box.size

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """The likeliest action."""
        symbols, features = self.encoding(obs)
        outputs = self.head(self.trunk(self.encoding.dense(Inputs(symbols, self.normalizer(features)))))
        # SAC's are means and then log standard deviations.
        return self.box(outputs[:, : self.size].tanh()), None, ()


class GradientGraph(PolicyGraph):
    """The controller that was trained through the dynamics."""

    def __init__(self, agent: DynamicsGradient, entries: tuple[str, ...]) -> None:
        super().__init__(entries, gives_logits=False)
        self.latent = TrunkGraph(agent.encoder, agent.model.normalizer, agent.model.trunk)
        self.head, self.box = agent.model.head, BoxGraph(agent.box)

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """Its action."""
        return self.box(self.head(self.latent(obs)).tanh()), None, ()


class MeanGraph(PolicyGraph):
    """The mean policy of the cross-entropy method."""

    def __init__(self, agent: CEM, entries: tuple[str, ...]) -> None:
        super().__init__(entries, gives_logits=isinstance(agent.actions, Categorical))
        self.encoding, self.normalizer, self.distribution = Encoding(agent.encoder), agent.normalizer, agent.actions
        stack = agent.shape.stack(agent.search.mean.unsqueeze(0))
        symbols = stack.table[: agent.shape.num_symbols]
        self.activation, self.depth = agent.shape.activation, len(stack.layers)
        for index, (weight, bias) in enumerate(stack.layers):
            # The first layer's rows are the symbols' and then the features', as `dense` has them.
            rows = torch.cat((symbols, weight[0])) if index == 0 else weight[0]
            self.register_buffer(f"weight_{index}", rows.detach().clone())
            self.register_buffer(f"bias_{index}", bias[0].detach().clone())

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """Its likeliest action."""
        symbols, features = self.encoding(obs)
        out = self.encoding.dense(Inputs(symbols, self.normalizer(features)))
        for index in range(self.depth):
            out = self.activation(out) if index else out
            out = out @ self.get_buffer(f"weight_{index}") + self.get_buffer(f"bias_{index}")
        logits = out if self.gives_logits else None
        return self.distribution.to_env(self.distribution.mode(out)), logits, ()


class GenomeGraph(PolicyGraph):
    """The elite of an evolving agent."""

    genome: torch.Tensor

    def __init__(self, agent: Evolution, entries: tuple[str, ...]) -> None:
        super().__init__(entries, gives_logits=agent.controller.box is None)
        controller = agent.controller
        self.encoding, self.policy = Encoding(controller.encoder), controller.policy
        self.box = None if controller.box is None else BoxGraph(controller.box)
        self.first_action = controller.first_action
        self.register_buffer("genome", agent.elite.genome.detach().clone())

    def decide(self, obs: Mapping[str, torch.Tensor], held: tuple[torch.Tensor, ...]) -> Decision:
        """Its action."""
        outputs = feed_forward(self.genome, self.policy, self.encoding.dense(self.encoding(obs)).unsqueeze(0))[0]
        if self.box is None:
            return outputs.argmax(1) + self.first_action, outputs, ()
        return self.box(outputs), None, ()
