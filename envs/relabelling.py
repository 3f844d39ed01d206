"""Replayed steps as they would have been under another plan: what an env offers to a learner's replay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from cairngym.envs.data import Observation, State


class Steps(NamedTuple):
    """n steps, one after another, of each of B episodes; every tensor is `(B, n, ...)`.

    Where an episode ends or what is recorded of it does, its last step stands in place of those that would follow.
    """

    obs: Observation
    """Acted on."""
    state: State
    next_obs: Observation
    """The true next ones."""
    next_state: State


class Relabeller(ABC):
    """Gives steps of the past another plan: the same motion, seen and paid as if that had been wanted.

    A plan is whatever an episode is given to follow that changes neither how the world moves nor the task's reward.
    Nothing is remembered between calls, and every row depends on its own arguments alone.
    """

    fields: tuple[str, ...]
    """The state fields that it reads or changes; replay stores them."""
    glimpse_fields: tuple[str, ...] = ()
    """Those of them that it reads of later steps."""
    glimpses: int = 0
    """Later steps of its episode that every sample is shown."""
    draws: int = 0
    """Uniform numbers that every sample takes."""

    @abstractmethod
    def relabel(self, steps: Steps, later: State, uniforms: torch.Tensor) -> Steps:
        """The same steps under another plan.

        Args:
            steps: as recorded, B samples of n each.
            later: `glimpse_fields` `(B, glimpses, ...)` after steps of the same episode, drawn uniformly from the first
                one sampled on.
            uniforms: `(B, draws)` in [0, 1).
        """
