"""Running normalisation of observation features."""

from __future__ import annotations

import torch
from torch import nn


class RunningNormalizer(nn.Module):
    """Centres and scales features by the mean and standard deviation of all that was seen, and clips the result.

    Statistics are merged batch by batch (Chan, Golub and LeVeque 1979) in float64. Before the first update it changes
    nothing but the clipping.

    Args:
        selected: bool `(F,)`, which features to normalise; the others pass unchanged.
        clip: bound of the normalised features in standard deviations.
    """

    selected: torch.Tensor
    count: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, selected: torch.Tensor, clip: float = 10.0, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.clip, self.epsilon = clip, epsilon
        size, device = selected.numel(), selected.device
        self.register_buffer("selected", selected.clone())
        self.register_buffer("count", torch.zeros((), dtype=torch.float64, device=device))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64, device=device))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64, device=device))
        self.register_buffer("shift", torch.zeros(size, device=device))
        self.register_buffer("scale", torch.ones(size, device=device))
        self.active = bool(selected.any())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise float32 `(B, F)`."""
        if not self.active:
            return features
        normal = ((features - self.shift) * self.scale).clamp(-self.clip, self.clip)
        return torch.where(self.selected, normal, features)

    @torch.no_grad()
    def update(self, features: torch.Tensor) -> None:
        """Take in a batch of raw features, float32 `(B, F)`."""
        if not self.active:
            return
        batch = features.to(torch.float64)
        size, mean = len(batch), batch.mean(0)
        variance = batch.var(0, unbiased=False)
        total = self.count + size
        delta = mean - self.mean
        spread = self.variance * self.count + variance * size + delta**2 * (self.count * size / total)
        self.mean.add_(delta * (size / total))
        self.variance.copy_(spread / total)
        self.count.copy_(total)
        self.shift.copy_(self.mean)
        self.scale.copy_(torch.rsqrt(self.variance + self.epsilon))
