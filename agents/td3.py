"""Twin delayed deterministic policy gradient (Fujimoto et al. 2018); DDPG is the special case of one critic."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from cairngym.agents.critics import DeterministicActor, Minibatch
from cairngym.agents.off_policy import OffPolicy
from cairngym.agents.off_policy_config import OffPolicyConfig, TD3Config


class TD3(OffPolicy):
    """TD3 with an ensemble of critics; the actor follows the first one.

    Its policy has no randomness of its own: noise belongs to collecting, so `act` plays the same action whether it is
    asked for a deterministic one or not. Targets follow at every gradient step, not only at the actor's.

    Args:
        env: gives the spaces, the device and the number of envs.
        config: settings.
    """

    name: ClassVar[str] = "td3"
    stochastic: ClassVar[bool] = False
    config: TD3Config
    config_class: ClassVar[type[OffPolicyConfig]] = TD3Config
    noise_draws: ClassVar[int] = 1
    actor_metrics: ClassVar[tuple[str, ...]] = ("loss/actor",)

    def make_policy(self, num_features: int) -> nn.Module:
        """The deterministic actor."""
        return DeterministicActor(num_features, self.box.size, self.config.hidden, self.config.activation)

    def targets(self) -> dict[str, nn.Module]:
        """The critics' and the policy's."""
        return {"target_critic": self.critic, "target_policy": self.policy}

    def noise_scales(self, num_envs: int) -> torch.Tensor:
        """Standard deviations of the exploration noise, `(N, 1)`, evenly spread over the envs."""
        least = self.config.exploration_noise
        most = self.config.exploration_noise_max
        return torch.linspace(least, least if most is None else most, num_envs, device=self.device).unsqueeze(1)

    def explore(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The policy's actions with each env's noise."""
        noise = torch.randn(len(features), self.box.size, generator=generator, device=self.device)
        return (self.policy(features) + self.noise_scales(len(features)) * noise).clamp(-1.0, 1.0)

    def play(self, features: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """The policy's actions."""
        del generator
        return self.policy(features)

    def next_value(self, batch: Minibatch, members: torch.Tensor | None) -> torch.Tensor:
        """The least of the target critics' values near the target policy's action."""
        bound = self.config.target_noise_clip
        noise = (self.config.target_noise * batch.noise).clamp(-bound, bound)
        action = (self.networks["target_policy"](batch.next_features) + noise).clamp(-1.0, 1.0)
        return self.networks["target_critic"](batch.next_features, action, members).amin(0)

    def actor_loss(self, batch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Minus the first critic's value of the policy's actions, plus the penalty on their size."""
        action = self.policy(batch.features)
        loss = -self.frozen_critic(batch.features, action, slice(0, 1)).mean()
        if self.config.action_penalty:
            loss = loss + self.config.action_penalty * action.square().mean()
        return loss, loss.detach().unsqueeze(0)
