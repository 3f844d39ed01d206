"""Means of what happens between two reports, kept on the device and read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cairngym.agents.core import Metrics


class Means:
    """Means of named numbers."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], torch.Tensor] = {}
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, names: tuple[str, ...], values: torch.Tensor) -> None:
        """Take in `(len(names),)` values."""
        known = names in self._sums
        self._sums[names] = self._sums[names] + values if known else values.clone()
        self._counts[names] = self._counts.get(names, 0) + 1

    def take(self) -> Metrics:
        """The means since the last call, by name; nothing of what was not added."""
        means: Metrics = {}
        for names, total in self._sums.items():
            means |= dict(zip(names, (total / self._counts[names]).tolist(), strict=True))
        self._sums.clear()
        self._counts.clear()
        return means


class EpisodeMeans:
    """Episodes that ended, and the unweighted shaper terms of every step.

    Args:
        device: where the env's tensors live.
    """

    COLUMNS = ("success_once", "return", "length")

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(1 + len(self.COLUMNS), dtype=torch.float64, device=device)
        self._terms = Means()

    def add(self, info: Mapping[str, Any]) -> None:
        """Take in a step's `info`."""
        done, episode = info["_episode"], info["episode"]
        columns = torch.stack([done, *(episode[name] for name in self.COLUMNS)]).to(torch.float64)
        self._sums += torch.where(done, columns, 0.0).sum(1)
        for name, value in info.get("reward_terms", {}).items():
            self._terms.add((f"reward_terms/{name}",), value.mean().unsqueeze(0))

    def take(self) -> Metrics:
        """Success rate, mean return and mean length (None without an episode), their number, and means of terms."""
        episodes, *sums = self._sums.tolist()
        self._sums.zero_()
        names = ("success_rate", "episode_return", "episode_length")
        means: Metrics = {name: total / episodes if episodes else None for name, total in zip(names, sums, strict=True)}
        return {**means, "episodes": int(episodes), **self._terms.take()}
