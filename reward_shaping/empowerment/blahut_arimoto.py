"""The capacity of discrete channels: how much an action can say through what follows it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

FLOOR = 1e-200
"""Least probability of an input, so that an outcome only it can cause keeps one above zero."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Capacities of B channels, in nats; the true ones lie between `lower` and `upper`."""

    lower: torch.Tensor
    """float64 `(B,)`."""
    upper: torch.Tensor
    """float64 `(B,)`."""
    source: torch.Tensor
    """float64 `(B, A)`, the distribution over inputs that comes this close."""
    iterations: int
    """Of the channel that took longest."""

    @property
    def gap(self) -> torch.Tensor:
        """How far the bounds are apart, float64 `(B,)`."""
        return self.upper - self.lower


def channel_capacity(channel: torch.Tensor, *, tolerance: float = 1e-6, max_iterations: int = 20_000) -> Capacity:
    """Capacities of a batch of channels by Blahut and Arimoto's alternating maximisation.

    With D_a = KL(P(.|a) || sum_b w_b P(.|b)), any source w brackets the capacity between log sum_a w_a exp(D_a) and
    max_a D_a (Blahut, "Computation of channel capacity and rate-distortion functions", 1972, theorem 3); the source
    moves to w_a exp(D_a), normalised, until the two are `tolerance` apart. Each channel stops by itself, so that its
    result depends on no other. Computed in float64; outcomes and inputs of probability zero are fine.

    Args:
        channel: `(B, A, S)`, probabilities P(s|a) of each channel.
        tolerance: nats between the bounds at which a channel is done.
        max_iterations: after which the rest stop all the same; their `gap` says where they stand.

    Returns:
        Bounds and sources.

    Raises:
        ValueError: not three axes, an empty one, or rows that are no probabilities.

    Example:
        >>> flips = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])  # log 2 - H(0.1)
        >>> round(float(channel_capacity(flips).lower), 4)
        0.3681
    """
    channel = _checked(channel)
    count, inputs, _ = channel.shape
    log_source = channel.new_full((count, inputs), 1.0 / inputs).log()
    entropy = torch.special.xlogy(channel, channel).sum(-1)
    lower, upper = channel.new_zeros(count), channel.new_full((count,), torch.inf)
    active, iterations = torch.arange(count, device=channel.device), 0
    while len(active) and iterations < max_iterations:
        iterations += 1
        divergence = _divergences(channel[active], log_source[active], entropy[active])
        moved = log_source[active] + divergence
        total = moved.logsumexp(-1)
        lower[active], upper[active] = total.clamp(min=0.0), divergence.amax(-1).clamp(min=0.0)
        open_ = upper[active] - lower[active] > tolerance
        active = active[open_]
        log_source[active] = (moved - total.unsqueeze(-1))[open_]
    return Capacity(lower=lower, upper=upper, source=log_source.exp(), iterations=iterations)


def _divergences(channel: torch.Tensor, log_source: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
    """KL of every input's outcomes from those of the mixture, `(B, A)`."""
    source = log_source.exp().clamp(min=FLOOR)
    mixture = (source.unsqueeze(1) @ channel).squeeze(1)
    log_mixture = torch.where(mixture > 0, mixture, 1.0).log()  # an outcome of no input adds nothing
    return entropy - (channel @ log_mixture.unsqueeze(-1)).squeeze(-1)


def _checked(channel: torch.Tensor) -> torch.Tensor:
    if channel.ndim != 3 or 0 in channel.shape:
        raise ValueError(f"Expected a channel of shape (B, A, S), none of them zero, got {tuple(channel.shape)}.")
    channel = channel.to(torch.float64)
    rows = channel.sum(-1)
    if not bool((channel >= 0).all()) or not torch.allclose(rows, torch.ones_like(rows), atol=1e-5):
        raise ValueError("Expected rows P(.|a) of probabilities: none below zero or NaN, each row summing to one.")
    return channel / rows.unsqueeze(-1)
