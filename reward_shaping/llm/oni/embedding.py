"""Texts as vectors: hashed n-grams of characters."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch

LENGTHS = (2, 3, 4, 5)
"""Characters in an n-gram; spaces count, so that ends of words do."""


def embed(texts: Sequence[str], features: int = 512) -> torch.Tensor:
    """Vectors of unit length, float32 `(len(texts), features)`: signed counts of hashed n-grams.

    The sign of each n-gram is hashed too, so that n-grams that share an entry cancel on average (Weinberger et al.,
    "Feature hashing for large scale multitask learning", ICML 2009). Equal on every machine.

    Example:
        >>> one, other, third = embed(["you open the red door", "you open the blue door", "the ball falls"])
        >>> bool(one @ other > 0.5 > one @ third)
        True
    """
    rows = torch.zeros(len(texts), features)
    for row, text in zip(rows, texts, strict=True):
        hashes = torch.tensor([zlib.crc32(gram) for gram in _grams(text)], dtype=torch.int64)
        row.index_add_(0, hashes % features, 1.0 - 2.0 * (hashes >> 31 & 1))
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _grams(text: str) -> list[bytes]:
    framed = f" {text} "
    return [framed[i : i + n].encode() for n in LENGTHS for i in range(len(framed) - n + 1)]
