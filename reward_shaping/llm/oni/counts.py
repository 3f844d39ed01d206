"""How often each caption came up, in every env's episode and in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

STAMP = 32
"""First bit of the episode's number in an entry; the bits below hold the count."""
COUNT = 2**STAMP - 1


class CaptionCounts:
    """Counts of captions by env and episode, `(N, capacity)`; the capacity doubles when captions outgrow it.

    An entry holds the number of the episode it counts in, so that nothing is cleared where one begins.

    Args:
        num_envs: N.
        device: where.
        capacity: captions there is room for at first, none (0) included.
    """

    def __init__(self, num_envs: int, device: torch.device, capacity: int = 16) -> None:
        self.capacity = capacity
        self._held = torch.zeros(num_envs, capacity, dtype=torch.int64, device=device)
        self._stamp = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.visits = torch.zeros(capacity, dtype=torch.int64, device=device)
        """How often each caption came up in all, int64 `(capacity,)`."""

    def before(self, env_id: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """How often each env's caption came up in its episode so far, int64 `(B,)`."""
        held = self._held.view(-1)[env_id * self.capacity + ids]
        return torch.where(held >> STAMP == self._stamp[env_id], held & COUNT, 0)

    def add(self, env_id: torch.Tensor, ids: torch.Tensor, before: torch.Tensor) -> None:
        """Count one more of each; no env may occur twice."""
        self._held.view(-1)[env_id * self.capacity + ids] = (self._stamp[env_id] << STAMP) + before + 1
        self.visits.index_add_(0, ids, torch.ones_like(ids))

    def begin(self, mask: torch.Tensor) -> None:
        """Number the masked `(N,)` envs' new episodes."""
        self._stamp = self._stamp + mask

    def reserve(self, captions: int) -> None:
        """Make room for so many captions."""
        while self.capacity < captions:
            self.capacity *= 2
            self._held = torch.cat((self._held, torch.zeros_like(self._held)), dim=1)
            self.visits = torch.cat((self.visits, torch.zeros_like(self.visits)))

    def get_state(self) -> dict[str, Any]:
        """Copy all entries."""
        return {"held": self._held.clone(), "stamp": self._stamp.clone(), "visits": self.visits.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._held, self._stamp = snapshot["held"].clone(), snapshot["stamp"].clone()
        self.visits = snapshot["visits"].clone()
        self.capacity = len(self.visits)
