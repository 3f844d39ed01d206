"""Potential-based shaping, right at both ends of an episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from cairngym.envs.core import State, TensorEnv, Transition
from cairngym.reward_shaping.core import Shaper

OFFSETS = {"goal": -1.0, "zero": 0.0}
Potential = Callable[[State], torch.Tensor]


class PotentialShaper(Shaper):
    """F = gamma Phi(s') - Phi(s), with Phi = scale x (potential + offset) and Phi(terminal) = 0.

    It leaves every optimal policy as it is (Ng, Harada and Russell, ICML 1999) because along an episode the terms
    telescope to -Phi(s_0). That takes Phi = 0 at the end of every episode that *terminates*, by success or by failure
    (Grzes, AAMAS 2017). An episode that is *truncated* has not ended: Phi(s_T) stays, and the agent bootstraps with its
    value of the final observation. A state from which nothing follows may also be seen as one that goes on for ever:
    its steps would pay (gamma - 1) Phi each, which sums to the same.

    The offset changes no optimal policy, but what a learner believes before it has learned. Its values start near
    zero, and a value of zero under shaping stands for the value Phi(s) of the task. So with task reward r at success

        a step that succeeds seems to gain r - Phi(s),    a step that fails seems to gain 0 - Phi(s).

    - `offset="zero"` (Phi >= 0): failure always loses, but so does success wherever Phi(s) > r. With `scale` about or
      below the reward of success neither happens: the default, safe where episodes can be lost (lava, falls).
    - `offset="goal"` (Phi(goal) = 0, Phi <= 0): success always gains. So does failure, by up to `scale`, and standing
      still earns (1 - gamma) |Phi|, until the values have been learned. A choice where nothing fails.
    - `terminal="keep"`: Phi is kept at every end. With `offset="goal"` this is the task with a penalty for failing of
      1 - progress, times `scale`; with any other it pays for ending where Phi is high. Not policy-invariant.

    A large `scale` is no gain as such: what the agent can't see of Phi is noise in its values.

    `docs/potential_shaping.md` derives this; `cairngym.reward_shaping.invariance` checks it on any small world.

    Args:
        gamma: the agent's discount, in (0, 1].
        potential: "progress", the task's own, in [0, 1] and one at success; or a function of the state giving float
            `(B,)`, also of transitions that are replayed.
        offset: "zero" (0), "goal" (-1) or a number, added to the potential before it is scaled.
        scale: positive factor of Phi; constant, since a changing one (such as a running std) would not telescope.
        terminal: "zero", or "keep" for the naive variant.
        requires: the state fields `potential` reads; default is what the task declares for its progress, and all
            fields for a function.

    Raises:
        ValueError: an option out of its range.

    Example:
        >>> import cairngym
        >>> env = cairngym.shape(cairngym.make("Chain-N10-v0"), "potential", gamma=0.99)
        >>> obs, info = env.reset(seed=0)
        >>> round(float(env.step([1])[1]), 3)  # 0.99 x 0.5 x 1/9 - 0.5 x 0/9
        0.055
    """

    def __init__(
        self,
        *,
        gamma: float = 0.99,
        potential: Literal["progress"] | Potential = "progress",
        offset: Literal["goal", "zero"] | float = "zero",
        scale: float = 0.5,
        terminal: Literal["zero", "keep"] = "zero",
        requires: Sequence[str] | None = None,
    ) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"Expected gamma in (0, 1], the agent's discount, got {gamma}.")
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"Expected a positive scale, got {scale}. A term's weight may be negative instead.")
        if terminal not in ("zero", "keep"):
            raise ValueError(f"Expected terminal 'zero' or 'keep', got {terminal!r}.")
        if potential != "progress" and not callable(potential):
            raise ValueError(f"Expected potential 'progress' or a function of the state, got {potential!r}.")
        self.gamma: float = gamma
        self.scale, self.offset, self.terminal = scale, _offset(offset), terminal
        self.policy_invariant = terminal == "zero"
        self._potential, self._given = potential, tuple(requires or ())
        self._measure = potential if callable(potential) else None
        self.requires = self._given

    def bind(self, env: TensorEnv) -> None:
        """Find out which state fields the potential reads."""
        declared: tuple[str, ...] = ()
        if self._potential == "progress":
            self._measure, declared = env.progress, env.unwrapped.task.progress_fields
        self.requires = self._given or declared or tuple(env.state_spec)

    def phi(self, state: State) -> torch.Tensor:
        """Phi of every state, float32 `(B,)`.

        Raises:
            RuntimeError: the task's progress is wanted, but no env is bound yet.
        """
        if self._measure is None:
            raise RuntimeError("The task's progress needs an env: call bind(env), or use cairngym.shape.")
        return self.scale * (self._measure(state).to(torch.float32) + self.offset)

    def shape(self, transition: Transition) -> torch.Tensor:
        """Gamma Phi(s') - Phi(s), with Phi(s') = 0 where the episode terminated."""
        after = self.phi(transition.next_state)
        if self.terminal == "zero":
            after = torch.where(transition.terminated, 0.0, after)
        return self.gamma * after - self.phi(transition.state)


def _offset(offset: str | float) -> float:
    if isinstance(offset, str):
        if offset not in OFFSETS:
            raise ValueError(f"Expected offset 'goal', 'zero' or a number, got {offset!r}.")
        return OFFSETS[offset]
    if not math.isfinite(offset):
        raise ValueError(f"Expected a finite offset, got {offset}.")
    return float(offset)
