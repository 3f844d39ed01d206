"""How smoothly an agent acts: the mean change of its action from step to step."""

from __future__ import annotations

import torch

from cairngym.agents.core import Metrics
from cairngym.agents.ring import Ring


class Motion:
    """Mean |a_t - a_(t-1)| over action entries in [-1, 1] and over the steps that go on with an episode.

    Args:
        device: where actions live.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, ring: Ring) -> None:
        """Take in the newest step of every env."""
        if ring.filled < 2:
            return
        last, before = (ring.steps - 1) % ring.length, (ring.steps - 2) % ring.length
        action = ring.columns["action"]
        change = (action[last] - action[before]).abs().flatten(1).mean(1)
        follows = ring.episode[last] == ring.episode[before]
        self._sums += torch.stack((torch.where(follows, change, 0.0).sum(), follows.sum())).to(torch.float64)

    def take(self) -> Metrics:
        """The mean since the last call; None where no step went on with an episode."""
        total, count = self._sums.tolist()
        self._sums.zero_()
        return {"action_change": total / count if count else None}
