"""A network's policy at play, apart from any learning."""

from __future__ import annotations

import torch

from cairngym.agents.core import Actor
from cairngym.agents.distributions import Distribution
from cairngym.agents.inputs import InputEncoder
from cairngym.agents.networks import ActorCritic
from cairngym.envs.core import Observation


class NetworkActor(Actor):
    """Plays by an actor-critic's networks, which it shares with whoever trains them.

    Args:
        encoder: makes their inputs.
        model: the networks.
        distribution: what their outputs stand for.
        num_envs: how many envs.
        deterministic: the likeliest action instead of a sampled one.
        seed: of the sampling.
    """

    def __init__(
        self,
        encoder: InputEncoder,
        model: ActorCritic,
        distribution: Distribution,
        num_envs: int,
        *,
        deterministic: bool = False,
        seed: int = 0,
    ) -> None:
        self.encoder, self.model, self.distribution = encoder, model, distribution
        self.deterministic = deterministic
        self.memory = model.initial_memory(num_envs)
        self.generator = torch.Generator(encoder.device).manual_seed(seed)

    @torch.no_grad()
    def act(self, obs: Observation) -> torch.Tensor:
        """Actions for the N envs."""
        outputs, _, self.memory = self.model(self.encoder(obs), self.memory)
        if self.deterministic:
            return self.distribution.to_env(self.distribution.mode(outputs))
        noise = self.distribution.noise((len(outputs),), self.generator)
        return self.distribution.to_env(self.distribution.sample(outputs, noise)[0])

    def begin(self, mask: torch.Tensor) -> None:
        """Empty the memory of the masked envs."""
        self.memory = self.memory.masked_fill(mask.unsqueeze(1), 0.0)
