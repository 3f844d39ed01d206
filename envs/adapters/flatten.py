"""Observation spaces of foreign envs as a Box or a flat Dict of boxes, and their observations alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

MOST_CODES = 4096
"""Codes that an index may take and still be listed for one-hot encoding."""
LONE = "observation"
"""What an observation that is not a Dict is called."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One leaf of an observation space."""

    name: str
    path: tuple[Any, ...]
    """Keys that lead to it."""
    box: spaces.Box
    convert: Callable[[Any], np.ndarray]
    codes: tuple[tuple[int, ...], ...] = ()
    """The codes of each channel where it holds indices."""


class Flattener:
    """Reads the observations of a space as a Box or a flat Dict of boxes.

    Nested entries are named by their path ("arm/joints"). Discrete and MultiDiscrete become int64 indices, `(1,)` and
    `(k,)`, with their codes in `categories`; MultiBinary and floats become float32; entries without a numeric box
    (texts, missions, graphs) are left out with a warning. A lone index becomes the Dict entry "observation", so that
    its codes have a name.

    Args:
        space: the foreign observation space.

    Raises:
        TypeError: nothing numeric is left.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.entries = tuple(_leaves(space, ()))
        if not self.entries:
            raise TypeError(f"Expected an observation with at least one numeric entry, got {space}.")
        lone = self.entries[0]
        self.is_dict = bool(lone.path) or bool(lone.codes)
        self.space = spaces.Dict({entry.name: entry.box for entry in self.entries}) if self.is_dict else lone.box
        self.categories = {entry.name: entry.codes for entry in self.entries if entry.codes}

    def __call__(self, obs: Any) -> Any:
        """The observation as an element of `space`."""
        if not self.is_dict:
            return self.entries[0].convert(obs)
        return {entry.name: entry.convert(_follow(obs, entry.path)) for entry in self.entries}


def _follow(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _leaves(space: spaces.Space, path: tuple[Any, ...]) -> Iterator[Entry]:
    name = "/".join(map(str, path)) or LONE
    children = space.spaces if isinstance(space, spaces.Dict | spaces.Tuple) else None
    if children is not None:
        for key, child in children.items() if isinstance(children, dict) else enumerate(children):
            yield from _leaves(child, (*path, key))
    elif isinstance(space, spaces.Discrete):
        yield _indices(name, path, np.array([space.start]), np.array([space.n]))
    elif isinstance(space, spaces.MultiDiscrete):
        yield _indices(name, path, np.ravel(space.start), np.ravel(space.nvec))
    elif isinstance(space, spaces.MultiBinary):
        yield _numbers(name, path, spaces.Box(0, 1, space.shape, np.float32))
    elif isinstance(space, spaces.Box):
        yield _numbers(name, path, space)
    else:
        warnings.warn(f"The observation's entry {name!r} is left out: {space} holds no numbers.", stacklevel=2)


def _indices(name: str, path: tuple[Any, ...], start: np.ndarray, sizes: np.ndarray) -> Entry:
    box = spaces.Box(start.astype(np.int64), (start + sizes - 1).astype(np.int64), dtype=np.int64)
    codes = tuple(tuple(range(int(s), int(s + n))) for s, n in zip(start, sizes, strict=True))
    return Entry(
        name=name, path=path, box=box, codes=codes if sizes.sum() <= MOST_CODES else (),
        convert=lambda value: np.asarray(value, np.int64).reshape(box.shape),
    )  # fmt: skip


def _numbers(name: str, path: tuple[Any, ...], space: spaces.Box) -> Entry:
    kind = np.dtype(space.dtype).kind
    dtype: Any = np.uint8 if space.dtype in (np.uint8, np.bool_) else np.float32 if kind == "f" else np.int64
    box = spaces.Box(space.low.astype(dtype), space.high.astype(dtype), dtype=dtype)
    return Entry(
        name=name, path=path, box=box, convert=lambda value: np.asarray(value).astype(dtype).reshape(box.shape)
    )  # fmt: skip
