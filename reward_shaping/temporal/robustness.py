"""Robustness paid at the end of an episode."""

from __future__ import annotations

import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.envs.stl.monitored import LOW, TIME
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.temporal.task import stl_task


class RobustnessShaper(Shaper):
    """The exact robustness of the whole trace, divided by `scale` and clipped to [-1, 1], at the horizon; else zero.

    Tells by how much an episode failed, but only at its end. Not policy-invariant: larger margins pay more. After
    Aksaray et al., "Q-learning for robust satisfaction of signal temporal logic specifications", CDC 2016.

    Args:
        scale: robustness that pays 1, in the predicates' unit; None takes the greatest `scale` of their measures.

    Raises:
        ValueError: a scale that is not positive and finite.
    """

    requires = (LOW, TIME)

    def __init__(self, *, scale: float | None = None) -> None:
        if scale is not None and not 0 < scale < float("inf"):
            raise ValueError(f"Expected a finite scale > 0, got {scale}.")
        self.scale = scale
        self._horizon, self._scale = 0, 1.0

    def bind(self, env: TensorEnv) -> None:
        """Learn the horizon and the scale of the env's formula.

        Raises:
            TypeError: a task without a formula.
        """
        task = stl_task(env)
        self._horizon, self._scale = task.horizon, self.scale or task.scale

    def shape(self, transition: Transition) -> torch.Tensor:
        """The clipped robustness where the trace is complete."""
        state = transition.next_state
        value = (state[LOW] / self._scale).clamp(-1.0, 1.0)
        return torch.where(state[TIME] >= self._horizon, value, 0.0)
