"""Missions as word tokens, so that batches of them are tensors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

WORDS = tuple(
    (
        "a and at avoid ball blue box door doors end fetch find from get go goal green grey hallway in key lava locked "
        "matching maze must near next object of open opening pick purple put reach red room rooms square that the "
        "then to traverse unlock up use with yellow you"
    ).split()
)
PAD, UNKNOWN = 0, 1
TOKENS = {word: index + 2 for index, word in enumerate(WORDS)}
VOCABULARY_SIZE = len(WORDS) + 2


def encode(mission: str, length: int) -> np.ndarray:
    """Turn a mission into int64 `(length,)` word tokens, padded with zeros; unknown words become 1.

    Example:
        >>> decode(encode("Get the red key, then go", 8))
        'get the red key then go'
    """
    words = mission.lower().replace(",", " ").split()
    if len(words) > length:
        raise ValueError(f"Expected a mission of at most {length} words, got {len(words)}: {mission!r}.")
    tokens = np.full(length, PAD, dtype=np.int64)
    tokens[: len(words)] = [TOKENS.get(word, UNKNOWN) for word in words]
    return tokens


def decode(tokens: Any) -> str:
    """Turn tokens back into words."""
    return " ".join("?" if t == UNKNOWN else WORDS[int(t) - 2] for t in tokens if t != PAD)


def longest(space: Any) -> tuple[int, bool]:
    """Most words a mission of a minigrid `MissionSpace` can have, and whether there is only one mission."""
    placeholders = space.ordered_placeholders or []
    chosen = [max(options, key=lambda text: len(text.split())) for options in placeholders]
    constant = all(len(options) == 1 for options in placeholders)
    return max(1, len(space.mission_func(*chosen).split())), constant


def pattern(space: Any) -> str:
    """The text of a minigrid `MissionSpace`, with what differs from level to level in brackets."""
    return space.mission_func(*map(_placeholder, space.ordered_placeholders or []))


def _placeholder(options: list[str]) -> str:
    if len(options) == 1:
        return options[0]
    kind = "colour" if "blue" in options else "object" if "key" in options else "verb"
    return f"[{kind}]"


def codes(space: Any) -> tuple[tuple[int, ...], ...]:
    """The tokens that can stand at each word of the missions of a minigrid `MissionSpace`."""
    length = longest(space)[0]
    texts = [space.mission_func(*chosen) for chosen in itertools.product(*(space.ordered_placeholders or []))]
    columns = zip(*(encode(text, length).tolist() for text in texts), strict=True)
    return tuple(tuple(sorted(set(column))) for column in columns)
