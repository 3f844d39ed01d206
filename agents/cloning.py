"""Imitation of demonstrations by an actor-critic: before it learns from rewards, and beside that.

The loss is the cross-entropy of the demonstrated actions under the policy. The standard deviation of continuous actions
is left to the reward: imitation would shrink it to nothing, and with it all exploration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cairngym.agents.demonstration_sources import load_demonstrations
from cairngym.agents.distributions import Categorical, DiagonalGaussian, Distribution
from cairngym.agents.inputs import Inputs

if TYPE_CHECKING:
    from cairngym.agents.ppo import PPO

STREAM = 0x5EED
"""Sets the draws of minibatches apart from those of the agent, which are the same with and without demonstrations."""
NEAR_ONE = 1.0 - 1e-4
"""What tanh is inverted at, at most."""


class Cloning:
    """What a PPO agent imitates, and how much.

    Args:
        agent: imitates; its config says what.
    """

    def __init__(self, agent: PPO) -> None:
        self.agent, self.config = agent, agent.config
        self.generator = torch.Generator(agent.device).manual_seed(agent.config.seed ^ STREAM)
        self.inputs: Inputs | None = None
        self.action = torch.zeros(0, device=agent.device)
        self._total = torch.zeros((), device=agent.device)
        self._count, self._weight = 0, 0.0

    @property
    def weight(self) -> float:
        """The coefficient at the agent's present step."""
        config = self.config
        if config.demonstrations is None or self.inputs is None:
            return 0.0
        if config.cloning_steps is None:
            return config.cloning_coefficient
        return config.cloning_coefficient * max(0.0, 1.0 - self.agent.steps_done / config.cloning_steps)

    def begin(self) -> None:
        """Get the demonstrations and imitate them for `pretrain_updates` gradient steps, if that was not done yet."""
        agent, config = self.agent, self.config
        if config.demonstrations is None or self.inputs is not None:
            return
        shown = load_demonstrations(
            config.demonstrations, agent.env, episodes=config.demonstration_episodes, seed=config.seed
        )
        self.inputs = agent.encoder(shown.obs)
        self.action = from_env(agent.distribution, shown.action)
        if not config.pretrain_updates:
            return
        agent.model.normalizer.update(self.inputs.features)
        for _ in range(config.pretrain_updates):
            agent.optimizer.zero_grad(set_to_none=True)
            self.loss().backward()
            nn.utils.clip_grad_norm_(agent.parameters, config.max_grad_norm)
            agent.optimizer.step()
        self.metrics()

    def loss(self) -> torch.Tensor:
        """The cross-entropy of a minibatch of demonstrated actions."""
        if self.inputs is None:
            raise RuntimeError("Expected demonstrations, got none yet; call begin() first.")
        size = len(self.action)
        index = torch.randint(size, (self.config.cloning_batch,), generator=self.generator, device=self.action.device)
        none = self.agent.model.initial_memory(0)
        outputs, _ = self.agent.model.sequence(self.inputs.rows(index), none, none)
        loss = -log_likelihood(self.agent.distribution, outputs, self.action.index_select(0, index)).mean()
        self._total, self._count = self._total + loss.detach(), self._count + 1
        return loss

    def penalty(self) -> torch.Tensor | float:
        """What is added to the agent's loss."""
        self._weight = self.weight
        return self._weight * self.loss() if self._weight else 0.0

    def metrics(self) -> dict[str, float]:
        """The mean loss since the last call, and the coefficient it had; nothing where nothing was imitated."""
        if not self._count:
            return {}
        found = {"loss/cloning": float(self._total) / self._count, "cloning_weight": self._weight}
        self._total, self._count = torch.zeros_like(self._total), 0
        return found

    def get_state(self) -> dict[str, Any]:
        """Copy the demonstrations and the generator's state."""
        shown = None if self.inputs is None else {**self.inputs._asdict(), "action": self.action}
        return {"shown": shown, "generator": self.generator.get_state()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        self.generator.set_state(snapshot["generator"].cpu())
        shown, self.inputs = snapshot["shown"], None
        if shown is not None:
            on = self.agent.device
            self.inputs, self.action = Inputs(shown["symbols"].to(on), shown["features"].to(on)), shown["action"].to(on)


def from_env(distribution: Distribution, action: torch.Tensor) -> torch.Tensor:
    """The inverse of `Distribution.to_env`: actions of an env as the distribution's samples."""
    if isinstance(distribution, Categorical):
        return action.to(torch.int64) - distribution.start
    if not isinstance(distribution, DiagonalGaussian):
        raise TypeError(f"Expected a Categorical or a DiagonalGaussian, got a {type(distribution).__name__}.")
    action = action.flatten(1).to(torch.float32)
    if not distribution.bounded:
        return action
    low, high = distribution.low, distribution.high
    unit = torch.where(high > low, 2.0 * (action - low) / (high - low).clamp_min(1e-12) - 1.0, 0.0).clamp(-1.0, 1.0)
    return unit.clamp(-NEAR_ONE, NEAR_ONE).atanh() if distribution.squash == "tanh" else unit


def log_likelihood(distribution: Distribution, outputs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Log-probabilities `(B,)` of demonstrated actions; no gradient reaches the standard deviation."""
    if isinstance(distribution, DiagonalGaussian):
        spread = distribution.log_std.detach()
        return -0.5 * ((action - outputs) * (-spread).exp()).square().sum(-1)
    return distribution.evaluate(outputs, action)[0]
