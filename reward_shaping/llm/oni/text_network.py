"""A small network that scores embedded texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from cairngym.envs.core import clone


class TextNetwork:
    """One hidden layer, ReLU, and a score that is zero for every text before anything is learned.

    Args:
        features: length of an embedded text.
        hidden: width of the hidden layer.
        learning_rate: of AdamW.
        weight_decay: of AdamW, times the learning rate at every step.
        seed: of the weights; the global generator is not touched.
    """

    def __init__(self, features: int, hidden: int, learning_rate: float, weight_decay: float, seed: int) -> None:
        first = nn.utils.skip_init(nn.Linear, features, hidden)
        nn.init.orthogonal_(first.weight, 2.0, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(first.bias)
        last = nn.utils.skip_init(nn.Linear, hidden, 1, bias=False)
        nn.init.zeros_(last.weight)
        self._layers = nn.Sequential(first, nn.ReLU(), last)
        self._optimizer = torch.optim.AdamW(
            self._layers.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
        )

    def score(self, rows: torch.Tensor) -> torch.Tensor:
        """Scores `(…)` of embedded texts `(…, features)`, to be learned from."""
        return self._layers(rows).squeeze(-1)

    @torch.no_grad()
    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Scores `(…)` of embedded texts `(…, features)`."""
        return self.score(rows)

    def descend(self, loss: torch.Tensor) -> None:
        """One step down a loss made of scores."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()

    def get_state(self) -> dict[str, Any]:
        """Copy weights and optimiser."""
        return {"layers": clone(self._layers.state_dict()), "optimizer": clone(self._optimizer.state_dict())}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._layers.load_state_dict(snapshot["layers"])
        self._optimizer.load_state_dict(clone(snapshot["optimizer"]))
