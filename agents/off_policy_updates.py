"""The networks of off-policy agents, and the gradient steps that train them on what was replayed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from cairngym.agents.checkpoint import load_moments, to_plain
from cairngym.agents.core import Agent
from cairngym.agents.critics import EnsembleCritic, Features, Minibatch, follow, frozen_copy, frozen_view
from cairngym.agents.inputs import make_encoder
from cairngym.agents.meters import Means
from cairngym.agents.networks import check_same_networks
from cairngym.agents.off_policy_config import OffPolicyConfig
from cairngym.agents.replay import ReplayBatch
from cairngym.agents.unit_actions import UnitBox
from cairngym.envs.core import TensorEnv


class GradientSteps(Agent):
    """An actor, an ensemble of critics, and what of them follows slowly; how batches become gradient steps.

    Policies act on [-1, 1]^A.
    """

    config: OffPolicyConfig
    config_class: ClassVar[type[OffPolicyConfig]]
    noise_draws: ClassVar[int]
    """Standard normal vectors of A numbers that one transition's losses need."""
    critic_metrics: ClassVar[tuple[str, ...]] = ("loss/critic", "q_mean", "target_mean")
    actor_metrics: ClassVar[tuple[str, ...]]
    device: torch.device
    generator: torch.Generator
    box: UnitBox
    bounds: tuple[float, float] | None
    """Returns that targets are clipped to, where they are."""
    updates_done: int = 0

    def _build(self, env: TensorEnv) -> None:
        config = self.config
        with torch.random.fork_rng(devices=[]):  # same parameters on every device, and nobody else's draws moved
            torch.manual_seed(config.seed)
            features = self.make_features(env)
            self.critic = self.make_critic(features.size)
            self.policy = self.make_policy(features.size)
        modules = {"features": features, "critic": self.critic, "policy": self.policy}
        self.networks = nn.ModuleDict(modules).to(self.device)
        self.features = features
        self.frozen_critic = frozen_view(self.critic)
        targets = self.targets()
        self.networks.update({name: frozen_copy(source) for name, source in targets.items()})
        self._followers = (
            [parameter.detach() for name in targets for parameter in self.networks[name].parameters()],
            [parameter.detach() for source in targets.values() for parameter in source.parameters()],
        )
        actor_rate = config.actor_learning_rate or config.learning_rate
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.learning_rate, fused=True)
        self.actor_optimizer = torch.optim.Adam(self.policy.parameters(), lr=actor_rate, fused=True)
        self._critic_loss, self._actor_loss = self.critic_loss, self.actor_loss
        if config.compile:
            self._critic_loss, self._actor_loss = torch.compile(self.critic_loss), torch.compile(self.actor_loss)
        self._means = Means()

    def _clips(self) -> bool:
        return self.config.clip_targets

    # What the algorithm decides ---------------------------------------------------------------------------------------

    def make_features(self, env: TensorEnv) -> Features:
        """What makes the networks' inputs from observations."""
        config = self.config
        return Features(
            make_encoder(env), normalize=config.normalize, clip=config.observation_clip, floor=config.observation_floor
        )

    def make_critic(self, num_features: int) -> EnsembleCritic:
        """The ensemble of critics."""
        config = self.config
        return EnsembleCritic(
            num_features + self.box.size, config.hidden, config.critics, activation=config.activation,
            layer_norm=config.layer_norm,
        )  # fmt: skip

    @abstractmethod
    def make_policy(self, num_features: int) -> nn.Module:
        """The network whose parameters the actor's loss trains."""

    @abstractmethod
    def next_value(self, batch: Minibatch, members: torch.Tensor | None) -> torch.Tensor:
        """Value `(B,)` of what follows, by the target critics `members`, int64 `(M,)`, or all of them."""

    @abstractmethod
    def actor_loss(self, batch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's loss, and the means named in `actor_metrics`."""

    def targets(self) -> dict[str, nn.Module]:
        """Names of target networks, and what they follow."""
        return {"target_critic": self.critic}

    # Gradient steps ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _prepare(self, batch: ReplayBatch) -> Minibatch:
        noise = (len(batch.reward), self.noise_draws * self.box.size)
        return Minibatch(
            self.features(batch.obs), batch.action.flatten(1), batch.reward, self.features(batch.next_obs),
            batch.discount, torch.randn(noise, generator=self.generator, device=self.device),
        )  # fmt: skip

    def _draw_members(self, updates: int) -> torch.Tensor | None:
        """For every gradient step the critics its target asks, int64 `(updates, M)`; None for all."""
        count = self.config.target_critics
        if count is None or count == self.config.critics:
            return None
        order = torch.rand(updates, self.config.critics, generator=self.generator, device=self.device).argsort(1)
        return order[:, :count]

    def update(self, batch: Minibatch, members: torch.Tensor | None = None) -> None:
        """One gradient step of the critics, of the actor where it is due, and of the targets."""
        with self._precision():
            loss, parts = self._critic_loss(batch, members)
        self._descend(self.critic_optimizer, self.critic, loss)
        self._means.add(self.critic_metrics, parts)
        if self._actor_is_due():
            with self._precision():
                loss, parts = self._actor_loss(batch)
            self._descend(self.actor_optimizer, self.policy, loss)
            self._means.add(self.actor_metrics, parts)
        self.updates_done += 1
        follow(*self._followers, self.config.tau)

    def _actor_is_due(self) -> bool:
        return self.updates_done % self.config.policy_delay == 0

    def _descend(self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), self.config.max_grad_norm)
        optimizer.step()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def critic_loss(self, batch: Minibatch, members: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Half the squared error, summed over the critics, and the means named in `critic_metrics`."""
        with torch.no_grad():
            target = self.target(batch, members)
        value = self.critic(batch.features, batch.action)
        loss = 0.5 * (value - target).square().mean(1).sum()
        return loss, torch.stack((loss, value.mean(), target.mean())).detach()

    def target(self, batch: Minibatch, members: torch.Tensor | None = None) -> torch.Tensor:
        """What the critics should say, `(B,)`: reward plus discounted value, within the attainable returns."""
        target = batch.reward + batch.discount * self.next_value(batch, members)
        return target if self.bounds is None else target.clamp(*self.bounds)

    # Saving -----------------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        """Copy what gradient steps change."""
        return {
            "networks": {name: value.clone() for name, value in self.networks.state_dict().items()},
            "critic_optimizer": to_plain(self.critic_optimizer.state_dict()),
            "actor_optimizer": to_plain(self.actor_optimizer.state_dict()),
            "updates_done": self.updates_done,
        }

    def _set_learned(self, snapshot: Mapping[str, Any]) -> None:
        check_same_networks(self.networks, snapshot["networks"])
        self.networks.load_state_dict(snapshot["networks"])
        load_moments(self.critic_optimizer, snapshot["critic_optimizer"])
        load_moments(self.actor_optimizer, snapshot["actor_optimizer"])
        self.updates_done = snapshot["updates_done"]
