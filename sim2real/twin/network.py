"""A way for datagrams with delay, jitter, loss and reordering, decided by a seed."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from typing import Generic, TypeVar

from cairngym.sim2real.twin.config import NetworkConfig

Item = TypeVar("Item")


class Link(Generic[Item]):
    """One direction of a network; what is pushed in comes out when it is due.

    Each item takes three draws, so that what becomes of item k depends on the seed and k alone.

    Args:
        config: of the network.
        seed: of the draws.

    Attributes:
        loss: share of items lost beyond those that `config` loses, for faults.
        delay_s: added to every delay, for faults.
        lost: how many items were lost.
    """

    def __init__(self, config: NetworkConfig, seed: str) -> None:
        self.config, self.loss, self.delay_s, self.lost = config, 0.0, 0.0, 0
        self._random = random.Random(seed)
        self._queue: list[tuple[float, int, Item]] = []
        self._count = itertools.count()
        self._last = -math.inf

    def push(self, item: Item, now: float) -> None:
        """Send an item at the time `now`, s."""
        lost, jitter, held = (self._random.random() for _ in range(3))
        if lost < max(self.config.loss, self.loss):
            self.lost += 1
            return
        due = now + self.config.delay_s + self.delay_s + jitter * self.config.jitter_s
        if held < self.config.reorder:
            due += self.config.hold_s
        else:
            self._last = due = max(due, self._last)
        heapq.heappush(self._queue, (due, next(self._count), item))

    def pop(self, now: float) -> list[Item]:
        """The items that have arrived by the time `now`, in the order of their arrival."""
        arrived = []
        while self._queue and self._queue[0][0] <= now:
            arrived.append(heapq.heappop(self._queue)[2])
        return arrived

    @property
    def next_s(self) -> float:
        """When the next item arrives; infinite if none is on its way."""
        return self._queue[0][0] if self._queue else math.inf
