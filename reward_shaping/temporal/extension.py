"""Observations with further numbers: at the end of a flat Box, or under a name of their own in a Dict."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import Observation


def extended(space: spaces.Space, name: str, low: float, high: float, size: int) -> spaces.Space:
    """One env's observation space with `size` further numbers from `low` to `high`.

    Raises:
        TypeError: neither a flat Box of floats nor a Dict.
        ValueError: a Dict with an entry `name`.
    """
    if isinstance(space, spaces.Dict):
        if name in space.spaces:
            raise ValueError(f"Expected an observation without an entry {name!r}, got {sorted(space.spaces)}.")
        return spaces.Dict({**space.spaces, name: spaces.Box(low, high, (size,), np.float32)})
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating):
        ends = (np.concatenate((end, np.full(size, value))) for end, value in ((space.low, low), (space.high, high)))
        lowest, highest = (end.astype(space.dtype) for end in ends)
        return spaces.Box(lowest, highest, dtype=space.dtype.type)
    raise TypeError(f"Expected a flat Box of floats or a Dict to add {name!r} to, got {space}.")


def extend(obs: Observation, name: str, numbers: torch.Tensor) -> Observation:
    """`obs` with `numbers` `(B, size)`."""
    if isinstance(obs, dict):
        return {**obs, name: numbers}
    return torch.cat((obs, numbers.to(obs.dtype)), dim=1)


def replaced(obs: Observation, name: str, numbers: torch.Tensor) -> Observation:
    """`obs` `(..., D)` as `extend` made it, with other `numbers` `(..., size)`."""
    if isinstance(obs, dict):
        return {**obs, name: numbers}
    return torch.cat((obs[..., : -numbers.shape[-1]], numbers.to(obs.dtype)), dim=-1)
