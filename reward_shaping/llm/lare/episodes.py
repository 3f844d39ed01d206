"""Finished episodes as rows of factors with a return each, kept on the device in a bounded ring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch


class Episodes(NamedTuple):
    """E finished episodes; what lies beyond an episode's length means nothing."""

    factors: torch.Tensor
    """float32 `(E, T, F)`, T the longest of them."""
    length: torch.Tensor
    """int64 `(E,)`, at least one."""
    returned: torch.Tensor
    """float32 `(E,)`, the undiscounted sum of task rewards."""

    @property
    def lived(self) -> torch.Tensor:
        """Which steps are real, bool `(E, T)`."""
        moment = torch.arange(self.factors.shape[1], device=self.length.device)
        return moment < self.length.unsqueeze(1)


class EpisodeRing:
    """The last episodes that N envs finished, and those they live.

    An env writes its running episode straight into a slot of the storage. Where an episode ends, that slot changes
    places with the one of the oldest finished episode, so nothing is ever moved and nothing waits for the device.
    Episodes that were reset before their end, or are longer than `longest`, are left out; so are, where more end in
    one step than the ring holds, those of the envs with the highest numbers.

    Args:
        num_envs: N.
        factors: F, how many numbers a step has.
        longest: the most steps of an episode.
        capacity: finished episodes kept.
        device: where they live.
    """

    def __init__(self, num_envs: int, factors: int, longest: int, capacity: int, device: torch.device) -> None:
        slots = num_envs + capacity
        self.longest, self.capacity = longest, capacity
        self._factors = torch.zeros(slots, longest, factors, dtype=torch.float32, device=device)
        self._length = torch.zeros(slots, dtype=torch.int64, device=device)
        self._returned = torch.zeros(slots, dtype=torch.float32, device=device)
        self._slot = torch.arange(num_envs, device=device)
        # One more entry takes what is not to be kept, so that shapes never depend on values.
        self._queue = torch.arange(num_envs, slots + 1, device=device)
        self._finished = torch.zeros((), dtype=torch.int64, device=device)

    @staticmethod
    def bytes(num_envs: int, factors: int, longest: int, capacity: int) -> int:
        """Memory that such a ring takes for its factors."""
        return 4 * (num_envs + capacity) * longest * factors

    def add(
        self,
        factors: torch.Tensor,
        reward: torch.Tensor,
        done: torch.Tensor,
        valid: torch.Tensor | None = None,
    ) -> None:
        """Take in one step of every env.

        Args:
            factors: `(N, F)`.
            reward: of the task, `(N,)`.
            done: bool `(N,)`, where the episode ended with this step, terminated or truncated.
            valid: bool `(N,)`, false where no step was made; None where all are real.
        """
        slot, length = self._slot, self._length[self._slot]
        self._factors[slot, length.clamp(max=self.longest - 1)] = factors
        made = torch.ones_like(done) if valid is None else valid
        self._length[slot] = length + made
        self._returned[slot] += torch.where(made, reward, 0.0)
        self._finish(done & made)

    def _finish(self, done: torch.Tensor) -> None:
        whole = done & (self._length[self._slot] <= self.longest)
        rank = whole.cumsum(0) - 1
        kept = whole & (rank < self.capacity)
        place = torch.where(kept, (self._finished + rank) % self.capacity, self.capacity)
        fresh = torch.where(kept, self._queue[place], self._slot)
        self._queue[place] = self._slot
        self._slot = fresh
        self._finished = self._finished + kept.sum()
        self.begin(done)

    def begin(self, mask: torch.Tensor) -> None:
        """Forget what the masked `(N,)` envs have lived of their present episodes."""
        self._length[self._slot] = torch.where(mask, 0, self._length[self._slot])
        self._returned[self._slot] = torch.where(mask, 0.0, self._returned[self._slot])

    @property
    def finished(self) -> int:
        """Episodes finished and kept so far, also those that have been overwritten; waits for the device."""
        return int(self._finished)

    def since(self, count: int) -> Episodes:
        """The episodes after the first `count` that were finished, oldest first, as far as the ring still has them."""
        end = self.finished
        numbers = torch.arange(max(count, end - self.capacity), end, device=self._queue.device)
        return self._take(numbers % self.capacity)

    def sample(self, count: int, generator: torch.Generator) -> Episodes:
        """Draw episodes uniformly, with replacement.

        Raises:
            ValueError: the ring is empty.
        """
        filled = min(self.finished, self.capacity)
        if filled == 0:
            raise ValueError("Expected at least one finished episode to draw from, got none; step the env on.")
        return self._take(torch.randint(filled, (count,), generator=generator, device=self._queue.device))

    def _take(self, places: torch.Tensor) -> Episodes:
        slots = self._queue[places]
        length = self._length[slots]
        longest = int(length.max()) if len(slots) else 0
        return Episodes(self._factors[slots, :longest], length, self._returned[slots])

    def get_state(self) -> dict[str, Any]:
        """Copy the steps in use and where they are."""
        return {
            "factors": self._factors[self._used()],
            "length": self._length.clone(), "returned": self._returned.clone(),
            "slot": self._slot.clone(), "queue": self._queue.clone(), "finished": self._finished.clone(),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._length, self._returned = snapshot["length"].clone(), snapshot["returned"].clone()
        self._slot, self._queue = snapshot["slot"].clone(), snapshot["queue"].clone()
        self._finished = snapshot["finished"].clone()
        self._factors.zero_()
        self._factors[self._used()] = snapshot["factors"]

    def _used(self) -> torch.Tensor:
        return torch.arange(self.longest, device=self._length.device) < self._length.unsqueeze(1)
