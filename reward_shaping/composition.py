"""Shapers made of shapers: sum, gate, product, blend; `combiners` has more.

A composition declares what follows from its terms: it has memory if one has, requires what any requires, and is built
for the discount its terms share. Each takes `terms`, a sequence of `Term`s or of configurations such as
`{"name": "count", "weight": 0.01, "mode": "episodic"}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.core import Shaper, Term, check_names
from cairngym.reward_shaping.registry import make_term


class Composition(Shaper):
    """What every composition does: hand each call on to its terms, and derive what they declare.

    Args:
        terms: what it is made of.

    Raises:
        ValueError: fewer terms than the composition needs, terms of the same name, of different discounts, or of
            different streams.
    """

    fewest = 1

    def __init__(self, terms: Sequence[Term | Mapping[str, Any]]) -> None:
        self.terms = tuple(term if isinstance(term, Term) else make_term(term) for term in terms)
        if len(self.terms) < self.fewest:
            raise ValueError(f"{type(self).__name__} needs at least {self.fewest} terms, got {len(self.terms)}.")
        check_names(self.terms)
        self.gamma = self._shared_gamma()
        self.stream = self.paying[0].shaper.stream
        if any(term.shaper.stream != self.stream for term in self.paying):
            raise ValueError(
                f"Expected terms of one stream, got { ({term.name: term.shaper.stream for term in self.paying}) }. "
                "Give the env two terms instead, so that each keeps its own stream."
            )
        self._declare()

    @property
    def paying(self) -> tuple[Term, ...]:
        """The terms whose values make up the reward."""
        return self.terms

    def _shared_gamma(self) -> float | None:
        gammas = {term.name: term.shaper.gamma for term in self.terms if term.shaper.gamma is not None}
        if len(set(gammas.values())) > 1:
            raise ValueError(f"Expected terms built for one discount, got {gammas}. Give each the agent's gamma.")
        return next(iter(gammas.values()), None)

    def _declare(self) -> None:
        """Derive `memory`, `looks_back` and `requires`; some terms know theirs only once they are bound."""
        self.looks_back = any(term.shaper.looks_back for term in self.terms)
        self.memory = any(term.shaper.memory for term in self.terms)
        self.requires = tuple(sorted({field for term in self.terms for field in term.shaper.requires}))

    def bind(self, env: TensorEnv) -> None:
        """Bind every term."""
        for term in self.terms:
            term.shaper.bind(env)
        self._declare()

    def values(self, transition: Transition) -> list[torch.Tensor]:
        """Every term's unweighted value, float32 `(B,)` each."""
        return [term.shaper.shape(transition) for term in self.terms]

    def observe(self, transition: Transition) -> None:
        """Let every term take it in."""
        for term in self.terms:
            term.shaper.observe(transition)

    def begin(self, mask: torch.Tensor) -> None:
        """Let every term forget the masked envs' episodes."""
        for term in self.terms:
            term.shaper.begin(mask)

    def update(self) -> dict[str, float]:
        """Let every term learn; metrics are named `<term>/<metric>`."""
        return {
            f"{term.name}/{metric}": value
            for term in self.terms
            for metric, value in term.shaper.update().items()
        }  # fmt: skip

    def get_state(self) -> dict[str, Any]:
        """Copy every term's state."""
        return {term.name: term.shaper.get_state() for term in self.terms}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return every term to its copy."""
        for term in self.terms:
            term.shaper.set_state(snapshot[term.name])


class SumShaper(Composition):
    """The weighted sum of its terms; policy-invariant if all of them are.

    Example:
        >>> SumShaper([{"name": "potential", "gamma": 0.9}]).gamma
        0.9
    """

    def __init__(self, terms: Sequence[Term | Mapping[str, Any]]) -> None:
        super().__init__(terms)
        self.policy_invariant = all(term.shaper.policy_invariant for term in self.terms)

    def shape(self, transition: Transition) -> torch.Tensor:
        """Sum of weight x value."""
        return _weighted_sum(self.values(transition), [term.weight for term in self.terms])


class ProductShaper(Composition):
    """The product of its weighted terms, such as progress times soft penalties in [0, 1].

    CaRL (arXiv 2504.17838) multiplies route completion by such penalties, so that no sum of small gains outweighs one.
    """

    def shape(self, transition: Transition) -> torch.Tensor:
        """Product of weight x value."""
        result = torch.ones_like(transition.reward)
        for term, value in zip(self.terms, self.values(transition), strict=True):
            result = result * (term.weight * value)
        return result


class GatedComposition(Composition):
    """Terms in order of priority, each of which counts only where all before it exceed their thresholds.

    Args:
        terms: highest priority first.
        threshold: what a term's unweighted value must exceed for those after it to count; one for all, or one for each
            term but the last.
        per: "step" compares the value of this step, "episode" the sum of the episode so far, this step included.

    Raises:
        ValueError: fewer than two terms, another number of thresholds, or an unknown `per`.
    """

    fewest = 2

    def __init__(
        self,
        terms: Sequence[Term | Mapping[str, Any]],
        threshold: float | Sequence[float] = 0.0,
        *,
        per: Literal["step", "episode"] = "step",
    ) -> None:
        if per not in ("step", "episode"):
            raise ValueError(f"Expected per 'step' or 'episode', got {per!r}.")
        self.per = per
        super().__init__(terms)
        gates = len(self.terms) - 1
        given = [threshold] * gates if isinstance(threshold, int | float) else list(threshold)
        if len(given) != gates:
            raise ValueError(f"Expected {gates} thresholds, one for each term but the last, got {len(given)}.")
        self.thresholds = [float(value) for value in given]

    def _declare(self) -> None:
        super()._declare()
        self.memory = self.memory or self.per == "episode"

    def bind(self, env: TensorEnv) -> None:
        """Bind every term and start with nothing earned."""
        super().bind(env)
        self._earned = torch.zeros(len(self.thresholds), env.num_envs, dtype=torch.float32, device=env.device)
        self._found: tuple[Transition, list[torch.Tensor]] | None = None

    def levels(self, transition: Transition) -> list[torch.Tensor]:
        """Every term's unweighted value, zero where a gate before it is shut, float32 `(B,)` each."""
        first, *rest = values = self._values(transition)
        earned = self._sums(transition, values)
        counted, opened = [first], torch.ones_like(first, dtype=torch.bool)
        for total, threshold, value in zip(earned, self.thresholds, rest, strict=True):
            opened = opened & (total > threshold)
            counted.append(torch.where(opened, value, 0.0))
        return counted

    def _values(self, transition: Transition) -> list[torch.Tensor]:
        if self.per == "step":
            return self.values(transition)
        if self._found is None or self._found[0] is not transition:
            self._found = transition, self.values(transition)
        return self._found[1]

    def _sums(self, transition: Transition, values: list[torch.Tensor]) -> list[torch.Tensor]:
        """What each gate is judged by, `(B,)` each."""
        if self.per == "step":
            return values[:-1]
        if transition.env_id is None:
            raise ValueError("Sums over an episode belong to a running one; keep the value that was collected.")
        earned = self._earned[:, transition.env_id]
        return [before + value for before, value in zip(earned, values, strict=False)]

    def observe(self, transition: Transition) -> None:
        """Let every term take it in, and add up what the gates earned."""
        if self.per == "episode":
            earned = torch.stack(self._sums(transition, self._values(transition)))
            self._earned = earned if transition.valid is None else torch.where(transition.valid, earned, self._earned)
            self._found = None
        super().observe(transition)

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the masked envs' episodes."""
        super().begin(mask)
        self._earned = torch.where(mask, 0.0, self._earned)
        self._found = None

    def get_state(self) -> dict[str, Any]:
        """Copy every term's state and what the gates have earned."""
        return {"terms": super().get_state(), "earned": self._earned.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        super().set_state(snapshot["terms"])
        self._earned, self._found = snapshot["earned"].clone(), None


class GateShaper(GatedComposition):
    """The last term, counted only where every term before it exceeds its threshold; the gates themselves pay nothing.

    With `{"name": "task_reward"}` as a gate, task and term together are gated reward accumulation (see
    `AccumulateShaper`) of two levels.

    Args:
        terms: the gates, then the term they let through.
        threshold: a gate is open where its unweighted value exceeds it; one for all gates, or one for each.
        per: "step", or "episode" to compare the sum of the episode so far.
    """

    @property
    def paying(self) -> tuple[Term, ...]:
        """The last term."""
        return self.terms[-1:]

    def shape(self, transition: Transition) -> torch.Tensor:
        """The last term's weight x value where all gates are open, else zero."""
        return self.terms[-1].weight * self.levels(transition)[-1]


class BlendShaper(Composition):
    """A convex combination of its terms, whose weights may move from one mixture to another in the course of training.

    Weights are at least zero and sum to at most one; what is missing to one goes to no term, so that
    `terms=[{"name": "count"}], final=[0.0], steps=1_000_000` fades a bonus out. Policy-invariant if all terms are and
    the weights stay: a potential whose scale changes between two steps no longer telescopes.

    Args:
        terms: what is blended; their weights are the first mixture.
        final: the last mixture, one weight for each term; None keeps the first.
        steps: transitions (of all envs together) over which the mixture moves linearly from first to last.
    """

    def __init__(
        self, terms: Sequence[Term | Mapping[str, Any]], final: Sequence[float] | None = None, steps: int = 0
    ) -> None:
        super().__init__(terms)
        self.first = [term.weight for term in self.terms]
        self.final = self.first if final is None else [float(weight) for weight in final]
        if len(self.final) != len(self.terms):
            raise ValueError(f"Expected {len(self.terms)} final weights, one for each term, got {len(self.final)}.")
        for mixture in (self.first, self.final):
            if min(mixture) < 0 or sum(mixture) > 1 + 1e-6:
                raise ValueError(f"Expected weights >= 0 that sum to at most 1, got {mixture}.")
        if final is not None and steps < 1:
            raise ValueError(f"Expected steps >= 1 to move to the final weights {self.final}, got {steps}.")
        self.steps, self._taken = steps, 0
        moves = self.first != self.final
        self.policy_invariant = not moves and all(term.shaper.policy_invariant for term in self.terms)

    @property
    def mixture(self) -> list[float]:
        """The weights now."""
        part = min(self._taken / self.steps, 1.0) if self.steps else 0.0
        return [(1 - part) * first + part * final for first, final in zip(self.first, self.final, strict=True)]

    def shape(self, transition: Transition) -> torch.Tensor:
        """Sum of present weight x value."""
        return _weighted_sum(self.values(transition), self.mixture)

    def observe(self, transition: Transition) -> None:
        """Let every term take it in, and move on."""
        super().observe(transition)
        self._taken += len(transition)

    def bind(self, env: TensorEnv) -> None:
        """Bind every term and start from the first mixture."""
        super().bind(env)
        self._taken = 0

    def get_state(self) -> dict[str, Any]:
        """Copy every term's state and how far the mixture has moved."""
        return {"terms": super().get_state(), "taken": self._taken}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        super().set_state(snapshot["terms"])
        self._taken = snapshot["taken"]


def _weighted_sum(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = total + weight * value
    return total
