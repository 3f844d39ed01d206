"""Noise that weakens a base policy, the same for env i whatever the number of envs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from cairngym.envs.random import bits, uniform
from cairngym.reward_shaping.residual.base import BasePolicy, Lives

if TYPE_CHECKING:
    from cairngym.envs.core import Observation, State, TensorEnv

NOISE_STREAM, RANDOM_STREAM, ERROR_STREAM = 17, 18, 19
"""Beside those of `cairngym.envs.random.Stream` and `cairngym.envs.wrappers.STICKY_STREAM`."""
SUMMANDS = 12
"""Uniform draws added up to a nearly normal one of variance one."""


def normal(lives: Lives, stream: int, count: int, step: torch.Tensor | None = None) -> torch.Tensor:
    """Draw nearly standard normal numbers `(B, count)`, at most six from zero.

    They are sums of uniform ones, added as integers: no rounding, so no trace of the batch they are drawn in.

    Args:
        lives: of B envs.
        stream: what for.
        count: how many for each env.
        step: int64 `(B,)` for draws made anew at every step, None for draws made once an episode.
    """
    words = bits(lives.seed, lives.env_id, lives.number, stream, SUMMANDS * count, step) >> 8
    total = words.view(-1, count, SUMMANDS).sum(-1) - SUMMANDS * (2**24 - 1) // 2
    return total.to(torch.float32) * 2.0**-24


class NoisyBase(BasePolicy):
    """A base policy whose actions are made worse on purpose.

    Args:
        env: gives the action space, a Box with finite bounds.
        noise: standard deviation of what is added to every action, in halves of the action's range.
        random_actions: probability that an action is drawn uniformly instead.

    Raises:
        ValueError: noise below zero, or a probability outside [0, 1].
    """

    def __init__(self, env: TensorEnv, *, noise: float = 0.0, random_actions: float = 0.0) -> None:
        if not 0.0 <= noise < float("inf"):
            raise ValueError(f"Expected a finite noise >= 0, got {noise}.")
        if not 0.0 <= random_actions <= 1.0:
            raise ValueError(f"Expected a probability in [0, 1] of random actions, got {random_actions}.")
        self.noise, self.random_actions = noise, random_actions
        space = env.single_action_space
        self.low, self.high = (
            torch.as_tensor(bound, dtype=torch.float32, device=env.device)
            for bound in (space.low, space.high)  # type: ignore[attr-defined]
        )

    @abstractmethod
    def decide(self, obs: Observation, state: State, lives: Lives) -> torch.Tensor:
        """Actions as they should be; arguments as of `act`."""

    def act(self, obs: Observation, state: State, lives: Lives) -> torch.Tensor:
        """Actions with the noise, within the box."""
        action = self.decide(obs, state, lives)
        size, half = self.low.numel(), 0.5 * (self.high - self.low)
        if self.noise:
            draw = normal(lives, NOISE_STREAM, size, lives.length)
            action = action + self.noise * half * draw.view(-1, *self.low.shape)
        if self.random_actions:
            draw = uniform(lives.seed, lives.env_id, lives.number, RANDOM_STREAM, size + 1, lives.length)
            anything = self.low + 2.0 * half * draw[:, 1:].view(-1, *self.low.shape)
            rare = (draw[:, 0] < self.random_actions).view(-1, *(1,) * self.low.ndim)
            action = torch.where(rare, anything, action)
        return action.clamp(self.low, self.high)
