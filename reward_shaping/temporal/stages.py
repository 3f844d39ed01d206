"""The dense reward of a plan: towards the subgoal pursued, for hitting it, and against breaking an invariant."""

from __future__ import annotations

import torch

from cairngym.envs.core import State, TensorEnv, Transition
from cairngym.envs.stl.monitored import MARGINS
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.temporal.fields import BROKEN, GOAL, HITS, SIZE
from cairngym.reward_shaping.temporal.observation import TemporalObservation


class StagesShaper(Shaper):
    """approach x [Phi_g(s') - Phi_g(s)] / S + hit x hits / S - broken x invariants broken + success x 1[success].

    Phi_g = clip(margin of g / its scale, -1, 0) for the target g pursued before the step, so that going back and forth
    earns nothing, and S the subgoals of the plan, so that one with more of them pays no more (the critic that chooses
    between plans would else prefer it). TGPO's stage-wise reward on predicates' margins instead of distances (arXiv
    2510.00225; the paper's own coefficients are not published). Needs the wrapper "temporal".

    Args:
        approach: for coming from one scale away to each target in turn.
        hit: for all subgoals hit.
        broken: against an invariant broken, once for each.
        success: for satisfying the formula, beside the task's own reward.

    Raises:
        ValueError: a coefficient less than zero or not finite.
    """

    requires = (MARGINS, GOAL, HITS, BROKEN, SIZE)

    def __init__(self, *, approach: float = 1.0, hit: float = 1.0, broken: float = 1.0, success: float = 2.0) -> None:
        for name, value in (("approach", approach), ("hit", hit), ("broken", broken), ("success", success)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"Expected a finite {name} >= 0, got {value}.")
        self.approach, self.hit, self.broken, self.success = approach, hit, broken, success
        self._wrapper: TemporalObservation | None = None

    def bind(self, env: TensorEnv) -> None:
        """Find the plan.

        Raises:
            TypeError: the env has none.
        """
        self._wrapper = temporal_wrapper(env)

    def shape(self, transition: Transition) -> torch.Tensor:
        """The reward of the plan, float32 `(B,)`."""
        before, after = transition.state, transition.next_state
        nearer = torch.where(before[GOAL] >= 0, self._phi(after, before[GOAL]) - self._phi(before, before[GOAL]), 0.0)
        hits, broken = after[HITS] - before[HITS], after[BROKEN] - before[BROKEN]
        value = (self.approach * nearer + self.hit * hits) / before[SIZE].clamp(min=1)
        return value - self.broken * broken + self.success * transition.success

    def _phi(self, state: State, goal: torch.Tensor) -> torch.Tensor:
        if self._wrapper is None:
            raise RuntimeError("The shaper 'stages' needs an env: call bind(env), or use cairngym.shape.")
        features = self._wrapper.features
        scaled = features.grounding.target_margins(state[MARGINS]) / features.scale
        return scaled.gather(1, goal.clamp(min=0).unsqueeze(1))[:, 0].clamp(-1.0, 0.0)


def temporal_wrapper(env: TensorEnv) -> TemporalObservation:
    """The wrapper "temporal" around or inside `env`.

    Raises:
        TypeError: there is none.
    """
    layer = env
    while not isinstance(layer, TemporalObservation):
        if not hasattr(layer, "env"):
            raise TypeError(
                'Expected an env in the wrapper "temporal", which gives episodes their plans; add it inside.'
            )
        layer = layer.env
    return layer
