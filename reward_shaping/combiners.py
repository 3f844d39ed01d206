"""Compositions for rewards that were not made to be added: task_reward, sign, accumulate, count_divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.composition import Composition, GatedComposition
from cairngym.reward_shaping.core import Shaper, Term
from cairngym.reward_shaping.curiosity.count import CountShaper


class TaskRewardShaper(Shaper):
    """The task's own sparse reward as a term, for compositions that weigh it against others.

    Added to an env by itself it pays the task's reward a second time.
    """

    def shape(self, transition: Transition) -> torch.Tensor:
        """The task's reward, float32 `(B,)`."""
        return transition.reward.to(torch.float32)


def in_place_of_task(value: torch.Tensor, transition: Transition) -> torch.Tensor:
    """What to add to the task's reward for the sum to be `value`, `(B,)`."""
    return value - transition.reward


class SignShaper(Composition):
    """The weighted sum of the signs of its terms: whoever wrote them decides directions, the weights decide sizes.

    Auto MC-Reward (Li et al., CVPR 2024, arXiv 2312.09238) learns from 1.0 sgn(sparse) + 0.1 sgn(dense), as in the
    example.

    Args:
        terms: what is summed; `{"name": "task_reward"}` is the task's own reward.
        keep_task: leave the task's reward in; otherwise the term takes its place, where its weight is one.

    Example:
        >>> import cairngym
        >>> terms = [{"name": "task_reward"}, {"name": "potential", "weight": 0.1}]
        >>> env = cairngym.shape(cairngym.make("Chain-N10-v0"), "sign", terms=terms, keep_task=False)
        >>> obs, info = env.reset(seed=0)
        >>> round(float(env.step([1])[1]), 3)
        0.1
    """

    def __init__(self, terms: Sequence[Term | Mapping[str, Any]], *, keep_task: bool = True) -> None:
        super().__init__(terms)
        self.keep_task = keep_task

    def shape(self, transition: Transition) -> torch.Tensor:
        """Sum of weight x sign of value."""
        total = torch.zeros_like(transition.reward, dtype=torch.float32)
        for term, value in zip(self.terms, self.values(transition), strict=True):
            total = total + term.weight * value.sign()
        return total if self.keep_task else in_place_of_task(total, transition)


class AccumulateShaper(GatedComposition):
    """Gated reward accumulation: the weighted sum of levels of reward, each counted where all higher ones are earned.

    R_i counts iff R_j > delta_j for every j of higher priority (G-RA, arXiv 2508.10548), so that no wealth of small
    rewards makes up for a missing outcome. The first term always counts.

    Args:
        terms: highest priority first; `{"name": "task_reward"}` is the task's own reward.
        threshold: delta, one for all or one for each term but the last; compared with unweighted values.
        per: "step", or "episode" to compare the sum of the episode so far.
        keep_task: leave the task's reward in; otherwise the term takes its place, where its weight is one.
    """

    def __init__(
        self,
        terms: Sequence[Term | Mapping[str, Any]],
        threshold: float | Sequence[float] = 0.0,
        *,
        per: Literal["step", "episode"] = "step",
        keep_task: bool = True,
    ) -> None:
        super().__init__(terms, threshold, per=per)
        self.keep_task = keep_task

    def shape(self, transition: Transition) -> torch.Tensor:
        """Sum of weight x value over the levels that count."""
        total = torch.zeros_like(transition.reward, dtype=torch.float32)
        for term, value in zip(self.terms, self.levels(transition), strict=True):
            total = total + term.weight * value
        return total if self.keep_task else in_place_of_task(total, transition)


class CountDividedShaper(Composition):
    """The weighted sum of its terms, each divided by N^exponent: what is paid again and again comes to pay less.

    N counts within the episode, this step included: the arrivals at s' as `key` tells states apart, or without a key
    the steps in which the term's value was not zero. ONI (arXiv 2410.23022) divides the reward of a caption by such a
    count of the caption.

    Args:
        terms: what is divided.
        key: the state fields that tell events apart; None counts each term's own events.
        exponent: beta, at least zero.
        resolution: width of the cells that floating-point fields of the key are cut into, see `CountShaper`.
        table_bits: size of the table that a key is hashed into, see `CountShaper`.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        terms: Sequence[Term | Mapping[str, Any]],
        *,
        key: Sequence[str] | None = None,
        exponent: float = 0.5,
        resolution: float | Mapping[str, float] = 0.1,
        table_bits: int = 12,
    ) -> None:
        if not 0 <= exponent < float("inf"):
            raise ValueError(f"Expected a finite exponent >= 0, got {exponent}.")
        if key is not None and not key:
            raise ValueError("Expected at least one state field as key, got none; key=None counts a term's own events.")
        self.exponent = exponent
        self._visits = (
            None if key is None
            else CountShaper(key=key, exponent=exponent, resolution=resolution, table_bits=table_bits)
        )  # fmt: skip
        super().__init__(terms)

    def _declare(self) -> None:
        super()._declare()
        self.memory = True
        if self._visits is not None:
            self.requires = tuple(sorted({*self.requires, *self._visits.requires}))

    def bind(self, env: TensorEnv) -> None:
        """Bind every term and start with nothing counted."""
        if self._visits is not None:
            self._visits.bind(env)
        super().bind(env)
        self._events = torch.zeros(len(self.terms), env.num_envs, dtype=torch.int64, device=env.device)
        self._found: tuple[Transition, list[torch.Tensor]] | None = None

    def _values(self, transition: Transition) -> list[torch.Tensor]:
        if self._found is None or self._found[0] is not transition:
            self._found = transition, self.values(transition)
        return self._found[1]

    def shape(self, transition: Transition) -> torch.Tensor:
        """Sum of weight x value / N^exponent."""
        values = self._values(transition)
        total = torch.zeros_like(transition.reward, dtype=torch.float32)
        for term, value, share in zip(self.terms, values, self._shares(transition, values), strict=True):
            total = total + term.weight * value * share
        return total

    def _shares(self, transition: Transition, values: list[torch.Tensor]) -> list[torch.Tensor]:
        if self._visits is not None:
            return [self._visits.shape(transition)] * len(values)
        counts = self._counted(transition, values).clamp(min=1).to(torch.float32)
        return list(counts.pow(-self.exponent))

    def _counted(self, transition: Transition, values: list[torch.Tensor]) -> torch.Tensor:
        """Events of every term up to and with this step, int64 `(terms, B)`."""
        if transition.env_id is None:
            raise ValueError("Counts of an episode belong to a running one; keep the value that was collected.")
        happened = torch.stack(values) != 0
        return self._events[:, transition.env_id] + happened

    def observe(self, transition: Transition) -> None:
        """Let every term take it in, and count."""
        if self._visits is not None:
            self._visits.observe(transition)
        else:
            counted = self._counted(transition, self._values(transition))
            self._events = counted if transition.valid is None else torch.where(transition.valid, counted, self._events)
        self._found = None
        super().observe(transition)

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the masked envs' episodes."""
        super().begin(mask)
        if self._visits is not None:
            self._visits.begin(mask)
        self._events = torch.where(mask, 0, self._events)
        self._found = None

    def get_state(self) -> dict[str, Any]:
        """Copy every term's state and the counts."""
        visits = None if self._visits is None else self._visits.get_state()
        return {"terms": super().get_state(), "events": self._events.clone(), "visits": visits}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        super().set_state(snapshot["terms"])
        self._events, self._found = snapshot["events"].clone(), None
        if self._visits is not None:
            self._visits.set_state(snapshot["visits"])
