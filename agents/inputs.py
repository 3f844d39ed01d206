"""From observations to network inputs: codes become symbols (one-hot, kept as indices), numbers become features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import Observation, TensorEnv

Categories = Mapping[str, tuple[tuple[int, ...], ...]]


class Inputs(NamedTuple):
    """What a network is given for B observations."""

    symbols: torch.Tensor
    """int16 or int32 `(B, S)`: for each site the index of its symbol among `num_symbols`; `num_symbols` is "none"."""
    features: torch.Tensor
    """float32 `(B, F)`."""

    def rows(self, index: torch.Tensor) -> Inputs:
        """The rows at `index`, int64 `(K,)`."""
        return Inputs(self.symbols.index_select(0, index), self.features.index_select(0, index))

    def flatten(self) -> Inputs:
        """Join the two leading axes."""
        return Inputs(self.symbols.flatten(0, 1), self.features.flatten(0, 1))


class SymbolTable:
    """Looks up the symbols of one or several entries of codes.

    A *site* is one position of one channel, for instance the colour seen in one cell. Sites with a single possible
    code say nothing and are left out; a code that is not listed has no symbol.

    Args:
        entries: `(name, shape, codes per channel of the last axis)` of each entry.
        device: where the tables live.
    """

    def __init__(
        self, entries: list[tuple[str, tuple[int, ...], tuple[tuple[int, ...], ...]]], device: torch.device
    ) -> None:
        self.columns: list[tuple[str, slice]] = []
        listed: list[tuple[int, ...]] = []
        for name, shape, channels in entries:
            width = int(np.prod(shape))
            kept = [
                list(range(channel, width, len(channels))) for channel, codes in enumerate(channels) if len(codes) > 1
            ]
            sites = [site for run in kept for site in run]
            self.columns += [(name, run) for run in runs(sites)]
            listed += [channels[site % len(channels)] for site in sites]
        self.num_sites, self.num_symbols = len(listed), sum(map(len, listed))
        self.dtype = torch.int16 if self.num_symbols < 2**15 else torch.int32
        self.largest = max((max(options) for options in listed), default=0)
        # One row a site; its first and last columns catch the codes below zero and above the largest.
        table = np.full((len(listed), self.largest + 3), self.num_symbols, dtype=np.int64)
        symbol = 0
        for row, options in zip(table, listed, strict=True):
            row[np.array(options) + 1] = np.arange(symbol, symbol + len(options))
            symbol += len(options)
        self.table = torch.as_tensor(table.ravel(), dtype=self.dtype, device=device)
        self.first = (torch.arange(len(listed), device=device) * (self.largest + 3) + 1).to(torch.int32)

    def __call__(self, obs: Mapping[str, torch.Tensor], batch: int) -> torch.Tensor:
        """Symbols of `batch` observations, `(B, S)`."""
        codes = torch.empty(batch, self.num_sites, dtype=torch.int32, device=self.table.device)
        site = 0
        for name, run in self.columns:
            entry = obs[name].flatten(1)[:, run]
            codes[:, site : site + entry.shape[1]] = entry
            site += entry.shape[1]
        index = codes.clamp_(-1, self.largest + 1).add_(self.first)
        return self.table.index_select(0, index.view(-1)).view(batch, self.num_sites)


def runs(sites: list[int]) -> list[slice]:
    """Cut a list of indices into slices, as few as a greedy pass finds.

    Example:
        >>> runs([0, 3, 6, 7, 8, 9])
        [slice(0, 7, 3), slice(7, 10, 1)]
    """
    cut: list[slice] = []
    start = 0
    while start < len(sites):
        end = start + 1
        step = max(1, sites[end] - sites[start]) if end < len(sites) else 1
        while end < len(sites) and sites[end] - sites[end - 1] == step:
            end += 1
        cut.append(slice(sites[start], sites[end - 1] + 1, step))
        start = end
    return cut


class InputEncoder:
    """Splits the observations of an env into symbols and features.

    - Entries named in `categories` (see `Task.categories`) become symbols.
    - Integer entries without categories whose bounds are finite are scaled from their bounds to [-1, 1].
    - Everything else is taken as it is and marked in `normalized`, for a running normaliser to follow.
    - Entries whose lower and upper bounds are equal say nothing and are left out.

    Args:
        space: one env's observation space, a Box or a flat Dict of boxes.
        categories: as the task declares them; an entry the space does not have is ignored.
        device: where observations live.

    Raises:
        TypeError: a space that is neither.
        ValueError: categories that do not fit the entry's last axis.
    """

    def __init__(self, space: spaces.Space, categories: Categories, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        boxes = _boxes(space)
        codes = {name: channels for name, channels in categories.items() if name in boxes}
        for name, channels in codes.items():
            _check_channels(name, tuple(boxes[name].shape), channels)
        self.table = SymbolTable([(name, tuple(boxes[name].shape), codes[name]) for name in codes], self.device)
        self.numbers = {
            name: box for name, box in boxes.items() if name not in codes and not np.array_equal(box.low, box.high)
        }
        self.num_symbols, self.num_sites = self.table.num_symbols, self.table.num_sites
        self.num_features = sum(box.low.size for box in self.numbers.values())
        self.scaling = {name: _scaling(box, self.device) for name, box in self.numbers.items() if _is_scaled(box)}
        flags = [np.full(box.low.size, not _is_scaled(box)) for box in self.numbers.values()]
        self.normalized = torch.as_tensor(np.concatenate([np.zeros(0, dtype=bool), *flags]), device=self.device)

    def __call__(self, obs: Observation) -> Inputs:
        """Encode `(B, ...)` observations."""
        entries = obs if isinstance(obs, Mapping) else {"": obs}
        batch = len(next(iter(entries.values())))
        parts = [self._number(name, entries[name]) for name in self.numbers]
        if not parts:
            features = torch.empty(batch, 0, device=self.device)
        else:
            features = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return Inputs(self.table(entries, batch), features)

    def _number(self, name: str, value: torch.Tensor) -> torch.Tensor:
        number = value.flatten(1).to(torch.float32)
        if name in self.scaling:
            factor, offset = self.scaling[name]
            number = number * factor + offset
        return number


def make_encoder(env: TensorEnv) -> InputEncoder:
    """The encoder for an env's observations, with the categories its task declares."""
    categories = getattr(getattr(env, "task", None), "categories", {})  # a wrapper's own, where it shows other codes
    return InputEncoder(env.single_observation_space, categories, env.device)


def _boxes(space: spaces.Space) -> dict[str, spaces.Box]:
    entries = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    boxes = {name: entry for name, entry in entries.items() if isinstance(entry, spaces.Box)}
    for name in entries.keys() - boxes.keys():
        raise TypeError(
            f"Expected a Box or a flat Dict of boxes as observation space, got {entries[name]} at "
            f"{name or 'the top'!r}. Flatten it with a wrapper first."
        )
    return boxes


def _check_channels(name: str, shape: tuple[int, ...], channels: tuple[tuple[int, ...], ...]) -> None:
    if not shape or shape[-1] != len(channels):
        raise ValueError(
            f"Expected categories of {name!r} for the {shape[-1] if shape else 0} channels of its last axis "
            f"(shape {shape}), got {len(channels)}. Give one tuple of codes a channel, () to drop it."
        )
    if any(code < 0 for codes in channels for code in codes):
        raise ValueError(f"Expected categories of {name!r} >= 0, got {channels}.")


def _is_scaled(box: spaces.Box) -> bool:
    # An index without real bounds declares those of its dtype; scaling by them would flatten it to zero.
    return bool(np.issubdtype(box.dtype, np.integer) and np.all(np.abs(box.high.astype(np.float64)) < 2**31 - 1))


def _scaling(box: spaces.Box, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = (bound.astype(np.float64).ravel() for bound in (box.low, box.high))
    factor = 2.0 / np.maximum(high - low, 1e-12)
    offset = np.where(high > low, -1.0 - low * factor, -low * factor)
    return tuple(torch.as_tensor(v, dtype=torch.float32, device=device) for v in (factor, offset))  # type: ignore[return-value]
