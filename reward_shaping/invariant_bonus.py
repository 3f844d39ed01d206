"""Potential-based intrinsic motivation: any bonus, paid back where the episode ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.composition import Composition
from cairngym.reward_shaping.core import Term


class InvariantBonusShaper(Composition):
    """The weighted sum F of its terms, but at an episode's last step -sum_{i<T} gamma^(i-T) F_i instead.

    Forbes et al., "Potential-based reward shaping for intrinsic motivation" (AAMAS 2024, arXiv 2402.07411). Here T is
    the number of the last step, from 0; what the terms would pay for that step itself is left out. This is
    potential-based shaping, gamma Phi(h') - Phi(h), by a potential of the history h of the episode:

        Phi_0 = 0,    Phi_{t+1} = (Phi_t + F_t) / gamma,    Phi(end) = 0.

    *Why it leaves optimal policies as they are.* From any moment of an episode the discounted sum of what is still to
    come is -Phi_t, whatever is done; so every action's value falls by the same Phi_t, and from the episode's start it
    is 0. That needs no property of the terms: they may remember, learn between two steps or be negative, since what
    counts is what was paid.

    *Time limits.* A potential of the state alone stays at a truncation, because the value that the agent bootstraps
    with has it in it. A potential of the history can't stay: it grows like gamma^-t, so an episode that never ends
    would keep all of its bonuses (gamma^t Phi_t does not vanish), and staying away from the goal would pay. So Phi is
    settled at *both* ends, and the episode that follows a truncation is taken to start without debts. Bootstrapping is
    then right with the value of the last state at the *beginning* of an episode. A critic without memory gives the mean
    over the histories it met that state with, which is lower by their mean Phi; with `center` that mean is near zero.

    *Size.* A bonus is paid back gamma^-(T-t) times: 2.7 times after 100 steps at gamma 0.99, 150 times after 500. With
    `center`, F is taken less its mean over all steps up to the last `update` (the paper's normalised variant), so that
    Phi wanders about zero instead. The sums over episodes stay zero, whatever the mean.

    Its stream is "task", whatever its terms' are: it holds for the agent's own discount and ends with the episode, so
    it must not go to an intrinsic value head.

    Args:
        terms: what is paid, and paid back.
        gamma: the agent's discount, in (0, 1].
        center: subtract the running mean.

    Raises:
        ValueError: a discount out of its range, or other than that of a term.

    Example:
        >>> import cairngym
        >>> shaper = InvariantBonusShaper([{"name": "count"}], gamma=0.5)
        >>> (shaper.stream, shaper.policy_invariant, shaper.gamma)
        ('task', True, 0.5)
    """

    def __init__(self, terms: Sequence[Term | Mapping[str, Any]], *, gamma: float = 0.99, center: bool = False) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"Expected gamma in (0, 1], the agent's discount, got {gamma}.")
        super().__init__(terms)
        if self.gamma not in (None, gamma):
            raise ValueError(
                f"Expected terms built for the discount {gamma}, got {self.gamma}. Give each gamma={gamma}."
            )
        self.gamma: float = gamma
        self.center, self.stream, self.policy_invariant = center, "task", True

    def _declare(self) -> None:
        super()._declare()
        self.memory = True

    def bind(self, env: TensorEnv) -> None:
        """Bind every term and start without debts."""
        super().bind(env)
        self._phi = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
        self._sums = torch.zeros(2, dtype=torch.float64, device=env.device)
        self._mean = torch.zeros((), dtype=torch.float64, device=env.device)
        self._found: tuple[Transition, torch.Tensor] | None = None

    def _paid(self, transition: Transition) -> torch.Tensor:
        """F, float64 `(B,)`, before the mean is subtracted; asked of the terms once for `shape` and `observe`."""
        if self._found is None or self._found[0] is not transition:
            total = torch.zeros(len(transition), dtype=torch.float64, device=self._phi.device)
            for term, value in zip(self.terms, self.values(transition), strict=True):
                total = total + term.weight * value
            self._found = transition, total
        return self._found[1]

    def _bonus(self, transition: Transition) -> torch.Tensor:
        # Rounded as it is paid, so that what is paid back is what was paid.
        return (self._paid(transition) - self._mean).to(torch.float32)

    def shape(self, transition: Transition) -> torch.Tensor:
        """F, or -Phi where the episode ended, float32 `(B,)`."""
        if transition.env_id is None:
            raise ValueError("What is owed belongs to a running episode; keep the value that was collected.")
        owed = self._phi[transition.env_id].to(torch.float32)
        return torch.where(transition.terminated | transition.truncated, -owed, self._bonus(transition))

    def observe(self, transition: Transition) -> None:
        """Let every term take it in, and add to what is owed."""
        phi = (self._phi + self._bonus(transition)) / self.gamma
        self._phi = phi if transition.valid is None else torch.where(transition.valid, phi, self._phi)
        if self.center:
            counted = torch.ones_like(phi) if transition.valid is None else transition.valid.to(torch.float64)
            self._sums = self._sums + torch.stack((counted, counted * self._paid(transition))).sum(dim=1)
        self._found = None
        super().observe(transition)

    def begin(self, mask: torch.Tensor) -> None:
        """Forget what the masked envs' episodes owed."""
        super().begin(mask)
        self._phi = torch.where(mask, 0.0, self._phi)
        self._found = None

    def update(self) -> dict[str, float]:
        """Let every term learn, and take the mean of what was paid so far."""
        self._found = None
        metrics = super().update()
        if self.center:
            self._mean = self._sums[1] / self._sums[0].clamp(min=1.0)
            metrics["mean"] = float(self._mean)
        return metrics

    def get_state(self) -> dict[str, Any]:
        """Copy every term's state, what is owed and the mean."""
        owed = {"phi": self._phi.clone(), "sums": self._sums.clone(), "mean": self._mean.clone()}
        return {"terms": super().get_state(), **owed}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        super().set_state(snapshot["terms"])
        self._phi, self._sums = snapshot["phi"].clone(), snapshot["sums"].clone()
        self._mean, self._found = snapshot["mean"].clone(), None
