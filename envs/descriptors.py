"""Behavior descriptors: the numbers of an episode's last state that tell behaviors apart, and the grid they fall on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cairngym.envs.data import State, StateField


@dataclass(frozen=True, kw_only=True)
class BehaviorDescriptor:
    """D numbers of a state, as the last state of an episode shows what came of a behavior.

    Raises:
        ValueError: no entries, bounds or cells of another number, bounds that are not finite or not in order.

    Example:
        >>> entries = ("position", 0), ("position", 1)
        >>> place = BehaviorDescriptor(entries=entries, low=(0, 0), high=(6, 6), cells=(3, 3))
        >>> place({"position": torch.tensor([[1.0, 5.0]])}).tolist()
        [[1.0, 5.0]]
        >>> place.cell(torch.tensor([[1.0, 5.0], [7.0, -1.0]])).tolist()
        [2, 6]
    """

    entries: tuple[tuple[str, int], ...]
    """For each number a state field and the place in it, counted over the field's flattened values."""
    low: tuple[float, ...]
    """Least value of each number, in the field's unit."""
    high: tuple[float, ...]
    cells: tuple[int, ...]
    """Into how many equal parts each number's range is divided to count what was covered."""
    walls: tuple[tuple[float, float, float, float], ...] = ()
    """Lines that bound the way in the first two numbers, x and y of both ends, for pictures; may be empty."""

    def __post_init__(self) -> None:
        sizes = {len(self.entries), len(self.low), len(self.high), len(self.cells)}
        if sizes == {0} or len(sizes) > 1:
            raise ValueError(
                f"Expected as many low, high and cells as entries, at least one, got {len(self.entries)} entries, "
                f"{len(self.low)} low, {len(self.high)} high and {len(self.cells)} cells."
            )
        for low, high, cells in zip(self.low, self.high, self.cells, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high and cells >= 1):
                raise ValueError(f"Expected finite low < high and cells >= 1, got {low}, {high} and {cells}.")

    @property
    def size(self) -> int:
        """D."""
        return len(self.entries)

    @property
    def fields(self) -> tuple[str, ...]:
        """The state fields it reads, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.entries))

    def check(self, state_spec: Mapping[str, StateField]) -> None:
        """Raise `ValueError` where an entry does not exist in `state_spec`."""
        for name, place in self.entries:
            if name not in state_spec or not 0 <= place < math.prod(state_spec[name].shape):
                raise ValueError(
                    f"Expected entries of the state fields {', '.join(state_spec) or 'none'}, got {name!r}[{place}]."
                )

    def __call__(self, state: State) -> torch.Tensor:
        """Descriptors, float32 `(B, D)`, in the fields' units; they may lie outside of the bounds."""
        columns = [state[name].reshape(len(state[name]), -1)[:, place] for name, place in self.entries]
        return torch.stack(columns, dim=1).to(torch.float32)

    def clipped(self, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Descriptors `(B, D)` brought into the bounds, and bool `(B,)` where they were outside of them."""
        low, high = (torch.tensor(bound, device=descriptors.device) for bound in (self.low, self.high))
        return descriptors.clamp(low, high), ((descriptors < low) | (descriptors > high)).any(dim=1)

    def cell(self, descriptors: torch.Tensor) -> torch.Tensor:
        """Grid cells, int64 `(B,)` in [0, prod(cells)), the last number counting fastest; clipped into the bounds.

        A descriptor with NaN has no cell: -1.
        """
        low, high = (torch.tensor(bound, device=descriptors.device) for bound in (self.low, self.high))
        counts = torch.tensor(self.cells, device=descriptors.device)
        # Clamped before they become integers, which could not hold what lies far outside.
        place = ((descriptors - low) / (high - low) * counts).clamp_min(0).minimum(counts - 1).to(torch.int64)
        index = torch.zeros(len(descriptors), dtype=torch.int64, device=descriptors.device)
        for axis, count in enumerate(self.cells):
            index = index * count + place[:, axis]
        return torch.where(descriptors.isnan().any(dim=1), -1, index)
