"""What numbers are drawn from; every one has a least and a greatest number, so that extremes can be checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from cairngym.envs.checks import unknown_name

Kind = Literal["uniform", "log_uniform", "gaussian"]
KINDS = ("uniform", "log_uniform", "gaussian")
CUT = 4.0
"""Deviations at which gaussians are cut."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Numbers by one uniform draw each.

    Raises:
        UnknownNameError: no such kind.
        ValueError: numbers missing, not finite, in the wrong order, or of another kind.
    """

    kind: Kind = "uniform"
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    """Of a gaussian."""
    std: float | None = None
    """Of a gaussian."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("distribution", self.kind, KINDS)
        given = [name for name in ("low", "high", "mean", "std") if getattr(self, name) is not None]
        wanted = ("mean", "std") if self.kind == "gaussian" else ("low", "high")
        if not set(wanted) <= set(given) or (self.kind != "gaussian" and set(given) != set(wanted)):
            raise ValueError(
                f"Expected {' and '.join(wanted)} for the distribution {self.kind!r}, got {', '.join(given) or 'none'}."
            )
        for name in given:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"Expected a finite {name}, got {getattr(self, name)}.")
        if self.std is not None and self.std < 0.0:
            raise ValueError(f"Expected std >= 0, got {self.std}.")
        low, high = self.support
        if low > high:
            raise ValueError(f"Expected low <= high, got {low:g} and {high:g}.")
        if self.kind == "log_uniform" and low <= 0.0:
            raise ValueError(f"Expected low > 0 for the distribution 'log_uniform', got {low:g}.")

    @property
    def support(self) -> tuple[float, float]:
        """The least and the greatest number that can be drawn."""
        if self.kind != "gaussian":
            return float(self.low or 0.0), float(self.high or 0.0)
        mean, reach = float(self.mean or 0.0), CUT * float(self.std or 0.0)
        low = mean - reach if self.low is None else max(mean - reach, self.low)
        high = mean + reach if self.high is None else min(mean + reach, self.high)
        return low, high

    def sample(self, draw: torch.Tensor) -> torch.Tensor:
        """Numbers float64 of the shape of `draw`, which is uniform in [0, 1)."""
        share = draw.to(torch.float64)
        low, high = self.support
        if self.kind == "uniform":
            number = low + share * (high - low)
        elif self.kind == "log_uniform":
            number = torch.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            number = float(self.mean or 0.0) + float(self.std or 0.0) * normal(share)
        return number.clamp(low, high)


def normal(draw: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers float64 by the inverse of their distribution; `draw` is uniform in [0, 1)."""
    return torch.special.ndtri(draw.to(torch.float64) + 2.0**-25)  # draws have 24 bits; neither end is reached
