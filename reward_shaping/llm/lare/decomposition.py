"""Losses of return decomposition: per-step rewards whose mean over an episode is the return over its length.

RD takes whole episodes. RRD (Ren et al., "Learning long-term reward redistribution via randomized return
decomposition", ICLR 2022, arXiv 2111.13485) takes a random subset of K steps, drawn without replacement. With r the
rewards of an episode of T steps and R its return,

    E[(mean_subset(r) - R/T)^2] = (mean(r) - R/T)^2 + (1 - K/T)/K var(r),

var with Bessel's correction; so RRD also asks for rewards that vary little. Subtracting the last term, estimated
without bias from the subset, leaves RD's loss in expectation.
"""

from __future__ import annotations

from typing import Literal

import torch

from cairngym.reward_shaping.llm.lare.episodes import Episodes

Loss = Literal["rd", "rrd", "unbiased"]
LOSSES: tuple[Loss, ...] = ("rd", "rrd", "unbiased")


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the last axis `(..., K)` where `mask` holds; zero where it holds nowhere."""
    return torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


def masked_variance(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sample variance over the last axis where `mask` holds, with Bessel's correction; zero for a single value."""
    deviation = torch.where(mask, values - masked_mean(values, mask).unsqueeze(-1), 0.0)
    return deviation.square().sum(-1) / (mask.sum(-1) - 1).clamp(min=1)


def decomposition_error(rewards: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared distance of the mean reward from R/T, `(E,)`: RD over all steps, RRD over a subset.

    Args:
        rewards: of steps, `(E, K)`.
        mask: which steps are real, bool `(E, K)`.
        target: R/T, `(E,)`.
    """
    return (masked_mean(rewards, mask) - target).square()


def subset_variance(rewards: torch.Tensor, mask: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Unbiased estimate of the variance of a subset's mean, (1 - K/T)/K var(r), `(E,)`.

    Args:
        rewards: of the steps drawn, `(E, K)`.
        mask: which of them are real, bool `(E, K)`; episodes shorter than K have all their steps drawn.
        length: T, int64 `(E,)`.
    """
    drawn = mask.sum(-1)
    return (1.0 - drawn / length) / drawn * masked_variance(rewards, mask)


def draw_steps(episodes: Episodes, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw up to `size` different steps of every episode, each subset equally likely.

    Returns:
        Factors `(E, K, F)` with K at most `size`, and which rows are real, bool `(E, K)`.
    """
    lived = episodes.lived
    key = torch.rand(lived.shape, generator=generator, device=lived.device)
    key = torch.where(lived, key, 2.0)
    chosen = key.topk(min(size, lived.shape[1]), dim=1, largest=False).indices
    width = episodes.factors.shape[2]
    factors = episodes.factors.gather(1, chosen.unsqueeze(-1).expand(-1, -1, width))
    return factors, lived.gather(1, chosen)
