"""The examples whose instructions are nearest to a task's, by TF-IDF."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

COMMON = """a an and are as at be by for from has in into is it its no not of off on one or out so that the then there
this to until up where which while with within without"""
STOP_WORDS = frozenset(COMMON.split())
ENDINGS = ("ings", "ing", "es", "ed", "s")
"""Cut off words that keep four letters, so that "doors" meets "door"."""


def words(text: str) -> list[str]:
    """The words of a text that tell tasks apart, without endings.

    Example:
        >>> words("Pushing the blocks_on the table")
        ['push', 'block', 'table']
    """
    found = re.findall(r"[a-z]+", text.lower())
    return [_stem(word) for word in found if word not in STOP_WORDS and len(word) > 1]


def _stem(word: str) -> str:
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


def nearest(query: str, documents: Sequence[str], count: int) -> list[int]:
    """The indices of the `count` documents most like `query`, the most alike first.

    Likeness is the cosine between vectors of (1 + log tf) x idf with idf = log((1 + n) / (1 + df)) + 1 over the
    documents (Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988). Of equally alike
    documents the earlier comes first.

    Example:
        >>> nearest("open the door", ["push a block", "a door that opens", "doors"], 2)
        [1, 2]
    """
    counts = [Counter(words(document)) for document in documents]
    known = Counter(word for count_ in counts for word in count_)
    weight = {word: math.log((1 + len(documents)) / (1 + number)) + 1 for word, number in known.items()}
    asked = _vector(Counter(word for word in words(query) if word in weight), weight)
    scores = [_dot(asked, _vector(count_, weight)) for count_ in counts]
    order = sorted(range(len(documents)), key=lambda index: (-round(scores[index], 9), index))
    return order[: max(count, 0)]


def _vector(counts: Counter[str], weight: dict[str, float]) -> dict[str, float]:
    """Unit length, or empty."""
    raw = {word: (1 + math.log(number)) * weight[word] for word, number in counts.items()}
    length = math.sqrt(math.fsum(value * value for value in raw.values()))
    return {word: value / length for word, value in raw.items()}


def _dot(left: dict[str, float], right: dict[str, float]) -> float:
    return math.fsum(value * right.get(word, 0.0) for word, value in left.items())
