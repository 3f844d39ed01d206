"""Soft actor-critic (Haarnoja et al. 2018) with an ensemble of critics (Chen et al. 2021)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from cairngym.agents.critics import Minibatch, SquashedGaussianActor
from cairngym.agents.off_policy import OffPolicy
from cairngym.agents.off_policy_config import OffPolicyConfig, RLPDConfig, SACConfig


class SACPolicy(SquashedGaussianActor):
    """The actor together with the logarithm of its temperature, which one optimizer trains."""

    def __init__(self, num_inputs: int, num_actions: int, config: SACConfig) -> None:
        super().__init__(num_inputs, num_actions, config.hidden, config.activation)
        start = torch.tensor(math.log(config.initial_temperature))
        self.log_temperature = nn.Parameter(start, requires_grad=config.learn_temperature)


class SAC(OffPolicy):
    """SAC with a learned temperature.

    With `entropy_backup` values count the entropy of later actions, as in the paper; targets are then not clipped.
    With `target_critics` below `critics` the actor follows the mean of all critics, as in REDQ, else their minimum.

    Args:
        env: gives the spaces, the device and the number of envs.
        config: settings.
    """

    name: ClassVar[str] = "sac"
    config: SACConfig
    config_class: ClassVar[type[OffPolicyConfig]] = SACConfig
    noise_draws: ClassVar[int] = 2
    actor_metrics: ClassVar[tuple[str, ...]] = ("loss/actor", "entropy", "alpha")
    policy: SACPolicy

    def make_policy(self, num_features: int) -> nn.Module:
        """The squashed Gaussian actor and its temperature."""
        return SACPolicy(num_features, self.box.size, self.config)

    def _clips(self) -> bool:
        return self.config.clip_targets and not self.config.entropy_backup

    @property
    def target_entropy(self) -> float:
        """What the temperature aims at, in nats."""
        given = self.config.target_entropy
        return -float(self.box.size) if given is None else given

    def explore(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Sampled actions."""
        return self.play(features, generator)

    def play(self, features: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Sampled actions, or tanh of the means."""
        if generator is None:
            return self.policy(features)[0].tanh()
        noise = torch.randn(len(features), self.box.size, generator=generator, device=self.device)
        return self.policy.sample(features, noise)[0]

    def next_value(self, batch: Minibatch, members: torch.Tensor | None) -> torch.Tensor:
        """The least of the target critics' values at a sampled action, with its entropy if that is backed up."""
        action, log_prob = self.policy.sample(batch.next_features, batch.noise[:, : self.box.size])
        value = self.networks["target_critic"](batch.next_features, action, members).amin(0)
        return value - self.policy.log_temperature.exp() * log_prob if self.config.entropy_backup else value

    def actor_loss(self, batch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Value and entropy of sampled actions, and the temperature's own loss, whose gradients do not meet."""
        action, log_prob = self.policy.sample(batch.features, batch.noise[:, self.box.size :])
        values = self.frozen_critic(batch.features, action)
        value = values.mean(0) if self.config.target_critics else values.amin(0)
        log_temperature = self.policy.log_temperature
        temperature = log_temperature.detach().exp()
        loss = (temperature * log_prob - value).mean()
        entropy = -log_prob.detach().mean()
        own = log_temperature * (entropy - self.target_entropy)
        return loss + own, torch.stack((loss.detach(), entropy, temperature))


class RLPD(SAC):
    """SAC with prior data (Ball et al. 2023): half of every batch from demonstrations, ten critics, many updates.

    It is `SAC` with other defaults, named so that a comparison says what it is.
    """

    name: ClassVar[str] = "rlpd"
    config: RLPDConfig
    config_class: ClassVar[type[OffPolicyConfig]] = RLPDConfig

    @property
    def target_entropy(self) -> float:
        """What the temperature aims at, in nats."""
        given = self.config.target_entropy
        return -0.5 * self.box.size if given is None else given
