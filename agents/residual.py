"""Residual off-policy reinforcement learning: a correction of a frozen base policy, learned at every step of N envs.

Ankile et al., "Residual off-policy RL for finetuning behavior cloning policies", arXiv 2509.19301 (ResFiT), with the
kept warm-up of DAWN (arXiv 2602.10539) and, where asked for, the schedule of Policy Decorator (Yuan et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import nn

from cairngym.agents.core import Actor
from cairngym.agents.critics import EnsembleCritic, Features, Minibatch
from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.off_policy_config import OffPolicyConfig
from cairngym.agents.records import to_unit
from cairngym.agents.residual_config import ResidualConfig
from cairngym.agents.residual_demonstrations import with_base_actions
from cairngym.agents.residual_networks import CorrectionNetwork, ResidualFeatures
from cairngym.agents.td3 import TD3
from cairngym.agents.unit_actions import UnitActor, UnitBox
from cairngym.envs.core import Observation, TensorEnv
from cairngym.reward_shaping.residual.base import BASE_ACTION
from cairngym.reward_shaping.residual.wrapper import residual_of


class Residual(TD3):
    """TD3 on the executed action `clip(base + scale * correction)`, for envs in the wrapper "residual".

    All actions in here are executed ones in [-1, 1]^A: the policy adds its correction to the base's action, which is
    the end of its inputs; the critics see what was executed and not what the base wanted; replay keeps what was
    executed, and the base's action of both ends with the observations. Only `command` speaks of residuals, to the env.

    Args:
        env: in the wrapper "residual".
        config: settings.

    Raises:
        TypeError: an env without that wrapper.
    """

    name: ClassVar[str] = "residual"
    config: ResidualConfig
    config_class: ClassVar[type[OffPolicyConfig]] = ResidualConfig
    features: ResidualFeatures
    policy: CorrectionNetwork

    def make_box(self, env: TensorEnv) -> UnitBox:
        """The base's actions."""
        self.scale = residual_of(env).scale
        return UnitBox(residual_of(env).corrected_space, self.name, env.device)

    def make_features(self, env: TensorEnv) -> Features:
        """The observation's, and after them the base's action."""
        config, space = self.config, env.single_observation_space
        if not isinstance(space, spaces.Dict) or BASE_ACTION not in space.spaces:
            raise TypeError(
                f"Expected observations with the entry {BASE_ACTION!r}, got {space}. Leave out the wrapper around "
                '"residual" that flattens them.'
            )
        return ResidualFeatures(
            residual_of(env), space, env.task.categories, normalize=config.normalize, clip=config.observation_clip,
            floor=config.observation_floor,
        )  # fmt: skip

    def make_critic(self, num_features: int) -> EnsembleCritic:
        """Critics of executed actions, to whom the base's does not matter."""
        config = self.config
        return EnsembleCritic(
            num_features, config.hidden, config.critics, activation=config.activation, layer_norm=config.layer_norm,
            unseen=self.box.size,
        )  # fmt: skip

    def make_policy(self, num_features: int) -> nn.Module:
        """The correction, zero at first."""
        return CorrectionNetwork(num_features, self.box.size, self.scale, self.config.hidden, self.config.activation)

    @property
    def kept(self) -> int:
        """The warm-up."""
        return self.config.warmup_steps if self.config.keep_warmup else 0

    def _enter(self, env: TensorEnv) -> None:
        if residual_of(env).scale != self.scale:
            raise ValueError(
                f'Expected the scale {self.scale} of the wrapper "residual", which the agent was made for, got '
                f"{residual_of(env).scale}."
            )
        super()._enter(env)

    # Collecting -------------------------------------------------------------------------------------------------------

    def begin_with(self, features: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """The base's actions with uniform noise."""
        return self.policy.base(features) + self.config.warmup_noise * uniform

    def explore(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The corrected actions with noise, of a growing share of the decisions while the schedule lasts.

        What lies outside of the box is left to the env to clip, which counts it.
        """
        base, config = self.policy.base(features), self.config
        noise = torch.randn(base.shape, generator=generator, device=self.device)
        wanted = base + self.scale * self.policy.correction(features) + self.noise_scales(len(base)) * noise
        if self.steps_done >= config.progressive_steps:
            return wanted
        draw = torch.rand(len(base), 1, generator=generator, device=self.device)
        return torch.where(draw < self.steps_done / config.progressive_steps, wanted, base)

    def command(self, obs: Observation, unit: torch.Tensor) -> torch.Tensor:
        """The residual `(N, *shape)` that makes the env do `unit`."""
        residual = (unit - self.features.base_action(obs)) / self.scale
        return residual.view(-1, *self.box.shape)

    def done(self, unit: torch.Tensor, info: Mapping[str, Any]) -> torch.Tensor:
        """The executed action; on the way it is measured how far it is from the base's."""
        del unit
        space = self.features.corrected_space
        executed, base = to_unit(info["executed_action"], space), to_unit(info[BASE_ACTION], space)
        norm = (executed - base).flatten(1).square().sum(1).sqrt()
        self._means.add(("residual_norm", "clipped_fraction"), torch.stack((norm.mean(), info["clipped"].mean())))
        return executed

    def demonstrated(self, env: TensorEnv, source: str) -> Demonstrations:
        """Demonstrations made without the base, with what it would have done."""
        wrapper = residual_of(env)
        return with_base_actions(super().demonstrated(wrapper.env, source), wrapper)

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy, which corrects the base of the env it plays in."""
        del num_envs, deterministic
        return _Corrector(self, seed)

    # Updating ---------------------------------------------------------------------------------------------------------

    def _earned(self, steps: int) -> int:
        return super()._earned(steps) + max(0, self.config.critic_only_updates - self.updates_done)

    def _actor_is_due(self) -> bool:
        return self.updates_done >= self.config.critic_only_updates and super()._actor_is_due()

    def actor_loss(self, batch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Minus the mean of all critics' values of the executed action, plus the penalty on the correction."""
        correction = self.policy.correction(batch.features)
        loss = -self.frozen_critic(batch.features, self.policy.execute(batch.features, correction)).mean()
        if self.config.action_penalty:
            loss = loss + self.config.action_penalty * correction.square().mean()
        return loss, loss.detach().unsqueeze(0)


class _Corrector(UnitActor):
    """Plays by an agent's corrections."""

    def __init__(self, agent: Residual, seed: int) -> None:
        super().__init__(lambda obs, _: agent.play(agent.features(obs), None), agent.box, agent.device, seed)
        self.agent = agent

    @torch.no_grad()
    def act(self, obs: Observation) -> torch.Tensor:
        """Residuals for the N envs."""
        return self.agent.command(obs, self.policy(obs, self.generator))
