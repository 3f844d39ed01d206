"""Running statistics: of observations, to normalise them, and of discounted returns, to scale rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class RunningMoments:
    """Mean and variance of every feature over all batches seen, in float64 (Chan, Golub and LeVeque, 1979).

    Args:
        features: number of features.
        device: where the statistics live.

    Example:
        >>> moments = RunningMoments(1, torch.device("cpu"))
        >>> moments.update(torch.tensor([[1.0], [2.0]]))
        >>> moments.update(torch.tensor([[6.0]]))
        >>> float(moments.mean), round(float(moments.variance), 3)
        (3.0, 4.667)
    """

    def __init__(self, features: int, device: torch.device) -> None:
        self.count = 0
        self.mean = torch.zeros(features, dtype=torch.float64, device=device)
        self.variance = torch.ones_like(self.mean)
        self._refresh()

    def _refresh(self) -> None:
        self._center = self.mean.to(torch.float32)
        self._factor = (self.variance + 1e-8).rsqrt().to(torch.float32)

    def update(self, batch: torch.Tensor) -> None:
        """Take in a batch `(B, features)`; an empty one changes nothing."""
        for chunk in batch.split(1024):  # in float64 the whole batch would not fit a cache
            self._add(chunk.to(torch.float64))
        self._refresh()

    def _add(self, batch: torch.Tensor) -> None:
        added = len(batch)
        if added == 0:
            return
        mean = batch.mean(dim=0)
        variance = (batch - mean).square_().mean(dim=0)
        total, delta = self.count + added, mean - self.mean
        share = added / total
        if self.count == 0:
            self.mean, self.variance = mean, variance
        else:
            self.variance = (1 - share) * self.variance + share * variance + share * (1 - share) * delta.square()
            self.mean = self.mean + share * delta
        self.count = total

    def normalize(self, values: torch.Tensor, clip: float) -> torch.Tensor:
        """(values - mean) / std clipped to [-clip, clip], float32 `(B, features)`."""
        return values.sub(self._center).mul_(self._factor).clamp_(-clip, clip)

    def get_state(self) -> dict[str, Any]:
        """Copy the statistics."""
        return {"count": self.count, "mean": self.mean.clone(), "variance": self.variance.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.count = snapshot["count"]
        self.mean, self.variance = snapshot["mean"].clone(), snapshot["variance"].clone()
        self._refresh()


class ReturnScale:
    """The std of discounted returns, by which rewards are divided.

    For every env the rewards run through the filter R <- discount x R + r, step after step and across episodes (Burda
    et al., "Exploration by random network distillation", 2019, section 2.4). R serves the std only: what an agent gets
    is r / std. The divisor stays the same until `commit`, and is one while returns do not vary.

    Args:
        num_envs: N.
        discount: of the filter, in [0, 1).
        device: where the statistics live.
    """

    def __init__(self, num_envs: int, discount: float, device: torch.device) -> None:
        self.discount, self.steps = discount, 0
        self.returns = torch.zeros(num_envs, dtype=torch.float32, device=device)
        self.divisor = torch.ones((), dtype=torch.float32, device=device)
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    def observe(self, reward: torch.Tensor, valid: torch.Tensor | None = None) -> None:
        """Take in one step's rewards `(N,)`; envs that are not `valid` stand still."""
        filtered = self.discount * self.returns + reward
        self.returns = filtered if valid is None else torch.where(valid, filtered, self.returns)
        counted = torch.ones_like(self.returns) if valid is None else valid.to(torch.float32)
        weighed = self.returns * counted
        self._sums += torch.stack((counted, weighed, weighed * self.returns)).sum(dim=1, dtype=torch.float64)
        self.steps += 1

    def commit(self) -> None:
        """Let the divisor be the std of all returns observed."""
        count, total, squares = self._sums
        mean = total / count.clamp(min=1.0)
        std = (squares / count.clamp(min=1.0) - mean.square()).clamp(min=0.0).sqrt()
        self.divisor = torch.where(std > 1e-8, std, 1.0).to(torch.float32)

    def get_state(self) -> dict[str, Any]:
        """Copy the filter and the statistics."""
        return {
            "returns": self.returns.clone(), "divisor": self.divisor.clone(),
            "sums": self._sums.clone(), "steps": self.steps,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.returns, self.divisor = snapshot["returns"].clone(), snapshot["divisor"].clone()
        self._sums, self.steps = snapshot["sums"].clone(), snapshot["steps"]
