"""Steps of N envs cut into whole episodes, in an order that favours no short ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces


def idle(space: spaces.Space, count: int) -> torch.Tensor:
    """Actions of `count` envs that nobody watches."""
    if isinstance(space, spaces.Discrete):
        return torch.full((count,), int(space.start))
    box: Any = space
    return torch.as_tensor(np.zeros(box.shape).clip(box.low, box.high)).expand(count, *box.shape)


def rows_of(value: Any, count: int) -> Any:
    """The first `count` rows of a tensor or of (nested) dicts of tensors."""
    return (
        {name: rows_of(entry, count) for name, entry in value.items()} if isinstance(value, Mapping) else value[:count]
    )


class EpisodeCollector:
    """Cuts the steps of N envs into episodes."""

    def __init__(self, num_envs: int) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.begin = [0] * num_envs
        self.played = [0] * num_envs
        self.kept: list[tuple[int, int, dict[str, torch.Tensor]]] = []
        """Number of the episode, env, and its steps."""

    @property
    def settled(self) -> int:
        """Kept episodes before which none can come any more."""
        return sum(number < min(self.played) for number, _, _ in self.kept)

    def first(self, episodes: int) -> list[dict[str, torch.Tensor]]:
        """The first episodes kept."""
        return [steps for _, _, steps in sorted(self.kept, key=lambda kept: kept[:2])[:episodes]]

    def add(self, step: Mapping[str, Any], done: torch.Tensor, wanted: torch.Tensor) -> None:
        """Take in a step; episodes that are `done` are kept where `wanted`."""
        self.steps.append(flatten_columns(step))
        for i in wanted.nonzero().flatten().tolist():
            lived = self.steps[self.begin[i] :]
            self.kept.append(
                (self.played[i], i, {name: torch.stack([past[name][i] for past in lived]) for name in lived[0]})
            )
        for i in done.nonzero().flatten().tolist():
            self.begin[i] = len(self.steps)
            self.played[i] += 1
        over = min(self.begin)
        del self.steps[:over]
        self.begin = [first - over for first in self.begin]


def flatten_columns(columns: Mapping[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors of (nested) dicts by their paths, `obs/achieved_goal` and so on."""
    flat: dict[str, torch.Tensor] = {}
    for name, entry in columns.items():
        flat.update(
            flatten_columns(entry, f"{prefix}{name}/") if isinstance(entry, Mapping) else {prefix + name: entry}
        )
    return flat
