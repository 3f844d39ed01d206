"""The reward for reaching the subgoals that a language model named, the sooner the more."""

from __future__ import annotations

import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.llm.beacons.observation import INDEX, STEPS, BeaconObservation


class BeaconShaper(Shaper):
    """(1 - t / T) x 1[the current subgoal is reached], t steps after the last one was, T the task's horizon.

    The published weight is 0.2: `cairngym.shape(env, "beacons", weight=0.2)`. Needs the wrapper "beacons", which
    follows the subgoals and keeps them in the state, so that the term has no memory of its own. It is not
    policy-invariant: a policy may prefer to reach wrong subgoals. After Ruiz-Gonzalez et al., "Words as Beacons:
    guiding RL agents with high-level language prompts", arXiv 2410.08632.
    """

    requires = (INDEX, STEPS)

    def __init__(self) -> None:
        self._horizon: int | None = None

    def bind(self, env: TensorEnv) -> None:
        """Find the subgoals and the horizon.

        Raises:
            TypeError: nothing follows subgoals in this env.
        """
        layer = env
        while not isinstance(layer, BeaconObservation):
            if not hasattr(layer, "env"):
                raise TypeError(
                    'Expected an env in the wrapper "beacons", which follows the subgoals of its levels; add it inside.'
                )
            layer = layer.env
        self._horizon = env.task.horizon

    def shape(self, transition: Transition) -> torch.Tensor:
        """The reward for the subgoal reached in this step, float32 `(B,)` in [0, 1).

        Raises:
            RuntimeError: no env is bound yet.
        """
        if self._horizon is None:
            raise RuntimeError("The shaper 'beacons' needs an env: call bind(env), or use cairngym.shape.")
        before, after = transition.state, transition.next_state
        worth = 1.0 - (before[STEPS] + 1).to(torch.float32) / self._horizon
        return torch.where(after[INDEX] > before[INDEX], worth.clamp(min=0.0), 0.0)
