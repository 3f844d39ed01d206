"""Policies on [-1, 1]^A at play: how their actions reach the env's box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces

from cairngym.agents.core import Actor
from cairngym.envs.core import Observation


class UnitBox:
    """Maps [-1, 1]^A onto a box of finite bounds.

    Args:
        space: one env's action space.
        agent: named in errors.
        device: where actions live.

    Raises:
        TypeError: the space is no Box.
        ValueError: a bound is infinite.
    """

    def __init__(self, space: spaces.Space, agent: str, device: torch.device) -> None:
        if not isinstance(space, spaces.Box):
            raise TypeError(
                f"Expected a Box action space for {agent!r}, got {space}: {agent} needs a Box; ppo takes Discrete."
            )
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"Expected an action space with finite bounds for {agent!r}, got {space}: actions in [-1, 1] are "
                "mapped onto them. Bound it with a wrapper."
            )
        self.shape, self.size = space.shape, int(np.prod(space.shape))
        self.low, self.high = (
            torch.as_tensor(bound, dtype=torch.float32, device=device).flatten() for bound in (space.low, space.high)
        )

    def to_env(self, unit: torch.Tensor) -> torch.Tensor:
        """The env's actions `(N, *shape)` from `(N, A)` in [-1, 1]."""
        action = self.low + 0.5 * (unit + 1.0) * (self.high - self.low)
        # Rounding may leave the box by one bit.
        return action.clamp(self.low, self.high).view(-1, *self.shape)


class UnitActor(Actor):
    """Plays by a policy on [-1, 1]^A that keeps no memory.

    Args:
        policy: actions `(N, A)` from observations and a generator.
        box: takes them to the env.
        device: where the generator draws.
        seed: of the generator.
    """

    def __init__(
        self,
        policy: Callable[[Observation, torch.Generator], torch.Tensor],
        box: UnitBox,
        device: torch.device,
        seed: int,
    ) -> None:
        self.policy, self.box = policy, box
        self.generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def act(self, obs: Observation) -> torch.Tensor:
        """Actions for the N envs."""
        return self.box.to_env(self.policy(obs, self.generator))
