"""Which returns a task can pay, so that values outside them need not be believed."""

from __future__ import annotations

import math

from cairngym.envs.adapters.foreign import ForeignTask
from cairngym.envs.core import TensorEnv


def return_interval(low: float, high: float, gamma: float, *, terminate_on_success: bool) -> tuple[float, float]:
    """The tightest interval that holds every discounted return `sum of gamma^t r_t` over t < T, 1 <= T <= infinity.

    An episode that goes on for ever and one that stops after a step are both possible, the latter because a task may
    fail, so with rewards in [low, high] a task that *continues* after success pays between `min(low, low / (1 -
    gamma))` and `max(high, high / (1 - gamma))`. A task that *ends* at success pays more than `low` at the last step
    only: `low (1 - gamma^(T-1)) / (1 - gamma) + gamma^(T-1) r` with r in [low, high], which is monotone in
    `gamma^(T-1)`, so its upper end is `max(high, low / (1 - gamma))`; the lower one is the same. Time limits cut
    nothing off, being bootstrapped.

    Args:
        low: least reward of a step.
        high: greatest reward of a step.
        gamma: discount; with 1 an interval may be infinite.
        terminate_on_success: whether every reward above `low` ends the episode.

    Example:
        >>> return_interval(-1.0, 0.0, 0.75, terminate_on_success=False)
        (-4.0, 0.0)
        >>> return_interval(0.0, 1.0, 0.75, terminate_on_success=False)
        (0.0, 4.0)
        >>> return_interval(0.0, 1.0, 0.75, terminate_on_success=True)
        (0.0, 1.0)
    """
    lowest, highest = _for_ever(low, gamma), _for_ever(low if terminate_on_success else high, gamma)
    return min(low, lowest), max(high, highest)


def _for_ever(reward: float, gamma: float) -> float:
    if gamma < 1.0:
        return reward / (1.0 - gamma)
    return math.copysign(math.inf, reward) if reward else 0.0


def return_bounds(env: TensorEnv, gamma: float) -> tuple[float, float] | None:
    """The returns an env can pay, or None where nobody knows: shaped envs, and foreign ones, declare no range."""
    task = env.unwrapped.task
    if getattr(env, "terms", ()) or isinstance(task, ForeignTask):
        return None
    low, high = task.reward_range
    return return_interval(low, high, gamma, terminate_on_success=task.terminate_on_success)
