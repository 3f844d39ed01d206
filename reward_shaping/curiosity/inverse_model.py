"""Inverse dynamics: which action led from s to s'? Its features hold what the actions can change, and little else."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from cairngym.reward_shaping.curiosity.learned import make_network


class ActionCode:
    """Actions as rows of numbers, and how far a prediction of them is off.

    Choices become one-hot and are predicted by logits; continuous actions are brought from their bounds to [-1, 1],
    where they have any, and predicted by their mean.

    Args:
        space: one env's action space: a Box, Discrete or MultiDiscrete.
        device: where the actions live.

    Raises:
        TypeError: another space.

    Example:
        >>> code = ActionCode(spaces.Discrete(3), torch.device("cpu"))
        >>> code(torch.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, space: spaces.Space, device: torch.device) -> None:
        if isinstance(space, spaces.Discrete):
            self.choices, first = [int(space.n)], [int(space.start)]
        elif isinstance(space, spaces.MultiDiscrete):
            self.choices, first = space.nvec.ravel().tolist(), space.start.ravel().tolist()
        elif isinstance(space, spaces.Box):
            self.choices, first = [], []
            bounded = np.isfinite(space.low) & np.isfinite(space.high) & (space.high > space.low)
            low, high = np.where(bounded, space.low, -1.0).ravel(), np.where(bounded, space.high, 1.0).ravel()
            half, middle = high / 2 - low / 2, high / 2 + low / 2
            self._half = torch.as_tensor(half, dtype=torch.float32, device=device)
            self._middle = torch.as_tensor(middle, dtype=torch.float32, device=device)
        else:
            raise TypeError(f"Expected actions in a Box, Discrete or MultiDiscrete space, got {space}.")
        self._first = torch.tensor(first, device=device)
        self.width = sum(self.choices) if self.choices else len(self._half)

    def __call__(self, action: torch.Tensor) -> torch.Tensor:
        """Rows of numbers, float32 `(B, width)`."""
        flat = action.reshape(len(action), -1)
        if not self.choices:
            return (flat.to(torch.float32) - self._middle) / self._half
        index = flat.long() - self._first
        parts = [nn.functional.one_hot(index[:, i], count) for i, count in enumerate(self.choices)]
        return torch.cat(parts, dim=1).to(torch.float32)

    def loss(self, prediction: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Of every row, `(B,)`: cross-entropy summed over the choices, or squared error averaged over the entries."""
        if not self.choices:
            return (prediction - code).square().mean(dim=1)
        logits = torch.cat([part.log_softmax(dim=1) for part in prediction.split(self.choices, dim=1)], dim=1)
        return -(logits * code).sum(dim=1)


class InverseModel(nn.Module):
    """Features of observations, and from those of s and s' a prediction of the action (Pathak et al., 2017).

    Args:
        inputs: width of an observation's row.
        hidden: width of the hidden layers.
        features: width of the features.
        actions: width of an action's row.
        generator: of the first weights.
    """

    def __init__(self, inputs: int, hidden: int, features: int, actions: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = make_network((inputs, hidden, features), generator)
        self.decode = make_network((2 * features, hidden, actions), generator)

    def forward(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Logits or means of the action `(B, actions)` from features `(B, features)` of s and of s'."""
        return self.decode(torch.cat((before, after), dim=1))
