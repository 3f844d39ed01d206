"""Tensors to numpy and numpy to tensors, through dicts of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def to_numpy(value: Any) -> Any:
    """Copy tensors into numpy arrays, through (nested) dicts; other values stay as they are."""
    if isinstance(value, Mapping):
        return {name: to_numpy(item) for name, item in value.items()}
    return np.array(value.detach().cpu().numpy()) if isinstance(value, torch.Tensor) else value


def row(value: Any, index: int) -> Any:
    """One env's part of batched arrays, copied, through dicts."""
    if isinstance(value, Mapping):
        return {name: row(item, index) for name, item in value.items()}
    return np.array(value[index])


def to_tensors(value: Any, device: torch.device) -> Any:
    """Numeric numpy arrays as tensors on `device`, through dicts; arrays of objects stay as they are."""
    if isinstance(value, Mapping):
        return {name: to_tensors(item, device) for name, item in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.as_tensor(value, device=device)
    return value
