"""Observations as rows of features, and a bounded uniform sample of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import Observation

Codes = tuple[tuple[int, ...], ...]


class ObservationEncoder:
    """Flattens observations into float32 rows; entries that hold codes become one-hot.

    Args:
        space: one env's observation space, a Box or a flat Dict of boxes.
        categories: for entries that hold codes, the codes worth telling apart in each channel of the last axis; see
            `TaskSpec.categories`. An entry whose last axis has another length is taken as numbers.
        device: where the observations live.

    Raises:
        TypeError: if the space is neither.
    """

    def __init__(self, space: spaces.Space, categories: Mapping[str, Codes], device: torch.device) -> None:
        boxes = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self._names = tuple(boxes)
        self._codes: dict[str, list[tuple[int, torch.Tensor]]] = {}
        self.features = 0
        for name, box in boxes.items():
            if not isinstance(box, spaces.Box):
                raise TypeError(f"Expected observations made of boxes, got {box} for {name or 'the observation'!r}.")
            codes = categories.get(name, ())
            if not codes or len(codes) != box.shape[-1]:
                self.features += math.prod(box.shape)
                continue
            dtype = torch.as_tensor(np.zeros(0, box.dtype)).dtype
            self._codes[name] = [
                (channel, torch.tensor(listed, dtype=dtype, device=device))
                for channel, listed in enumerate(codes)
                if listed
            ]
            self.features += math.prod(box.shape[:-1]) * sum(map(len, codes))

    def __call__(self, obs: Observation) -> torch.Tensor:
        """Features of every observation, float32 `(B, features)`."""
        entries = obs if isinstance(obs, Mapping) else {"": obs}
        parts: list[torch.Tensor] = []
        for name in self._names:
            value = entries[name]
            if name in self._codes:
                parts += [(value[..., channel, None] == codes).flatten(1) for channel, codes in self._codes[name]]
            else:
                parts.append(value.flatten(1))
        features = torch.empty(len(parts[0]), self.features, device=parts[0].device)
        start = 0
        for part in parts:  # converted on the way, without a copy of each part
            features[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return features


class Reservoir:
    """A uniform sample of bounded size from a stream of rows (algorithm R, Vitter 1985), without waiting for a device.

    Args:
        size: rows kept at most.
        features: width of a row.
        generator: what chooses; it lives on the rows' device.
    """

    def __init__(self, size: int, features: int, generator: torch.Generator) -> None:
        self.size, self.seen, self._generator = size, 0, generator
        device = generator.device
        # Rows that are not kept go to one more row, so that shapes never depend on values.
        self._rows = torch.zeros(size + 1, features, device=device)
        self._filled = torch.zeros(size + 1, dtype=torch.bool, device=device)
        self._whole = True
        """Whether every row offered was valid, so that what is kept lies at the front."""

    def add(self, rows: torch.Tensor, valid: torch.Tensor | None = None) -> None:
        """Offer rows `(B, features)`, of which those that are not `valid` are left out."""
        if valid is None and self.seen + len(rows) <= self.size:
            self._rows[self.seen : self.seen + len(rows)] = rows
            self._filled[self.seen : self.seen + len(rows)] = True
            self.seen += len(rows)
            return
        self._whole = self._whole and valid is None
        index = torch.arange(self.seen, self.seen + len(rows), device=rows.device)
        draw = torch.rand(len(rows), generator=self._generator, device=rows.device, dtype=torch.float64)
        place = torch.where(index < self.size, index, (draw * (index + 1)).long()).clamp_(max=self.size)
        if valid is not None:
            place = torch.where(valid, place, self.size)
        self._rows[place] = rows
        self._filled[place] = True
        self.seen += len(rows)

    def rows(self) -> torch.Tensor:
        """What is kept, float32 `(K, features)`, K <= size; to be read before more is added."""
        if self._whole:
            return self._rows[: min(self.seen, self.size)]
        return self._rows[: self.size][self._filled[: self.size]]

    def clear(self) -> None:
        """Start a new stream."""
        self._filled.zero_()
        self.seen, self._whole = 0, True

    def get_state(self) -> dict[str, Any]:
        """Copy what is kept."""
        places = self._filled[: self.size].nonzero().squeeze(1)
        return {"places": places, "rows": self._rows[places], "seen": self.seen}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.clear()
        self._rows[snapshot["places"]] = snapshot["rows"]
        self._filled[snapshot["places"]] = True
        self.seen, self._whole = snapshot["seen"], len(snapshot["places"]) == min(snapshot["seen"], self.size)
