"""Who judges captions: the protocol, and rules that stand for a model with its errors and its slowness."""

from __future__ import annotations

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Pair = tuple[str, str]
Question = str | Pair
"""A caption to be labelled, or two to be compared."""

DEFAULT_RULES: Mapping[str, float] = {
    r"^you (unlock|reach) ": 3.0,
    r"^you (pick up|open) ": 2.0,
    r"^you walk through ": 1.0,
    r"^the .* comes near the goal$": 3.0,
    r"^the .* comes near ": 1.0,
}
"""Patterns of the packaged captioners' captions and what they are worth; the first that fits counts, else zero."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an annotator is told of the task."""

    instruction: str = ""
    """What is wanted."""
    setting: str = ""
    """What the world is like."""
    captions: tuple[str, ...] = ()
    """Every caption there can be, in a fixed order; empty where they are too many."""
    label: str = "oni"
    """What asks, for errors and transcripts."""


class Annotator(ABC):
    """Judges captions of events by whether they help the task.

    Both methods run on a thread of their own, one call at a time, and may take as long as they like.
    """

    def bind(self, context: Context) -> None:
        """Learn what the task is."""
        del context

    @abstractmethod
    def label(self, captions: Sequence[str]) -> list[int]:
        """1 for every caption that tells of help, else 0.

        Raises:
            ProviderError: no judgement can be had now.
        """

    def prefer(self, pairs: Sequence[Pair]) -> list[float | None]:
        """For every pair 1.0 where the first caption is the better one, 0.0 where the second is, 0.5 where neither.

        None says nothing about a pair. By default the labels are compared.

        Raises:
            ProviderError: no judgement can be had now.
        """
        labels = self.label([caption for pair in pairs for caption in pair])
        return [0.5 * (1 + first - second) for first, second in zip(labels[::2], labels[1::2], strict=True)]

    def close(self) -> None:
        """Give up what is under way, from any thread; a later call works again."""
        return

    def counts(self) -> dict[str, float]:
        """What is worth a metric, by name."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Copy what decides later answers."""
        return {}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        del snapshot


class RuleAnnotator(Annotator):
    """An oracle of patterns that errs and dawdles as a model does.

    Whether a judgement is wrong depends on the caption and the seed alone, so that it does not matter when, or how
    often, or in which order captions are judged.

    Args:
        rules: regular expressions to worths; the first that is found in a caption counts, else zero. A caption is
            labelled 1 where its worth is positive, and preferred where it is greater.
        noise: share of judgements that are turned round.
        latency: seconds that a call takes.
        seed: of the errors.

    Raises:
        ValueError: an option out of its range, or a pattern that is no regular expression.

    Example:
        >>> RuleAnnotator({"door": 1.0}).label(["you open the red door", "you see a ball"])
        [1, 0]
    """

    def __init__(
        self,
        rules: Mapping[str, float] = DEFAULT_RULES,
        *,
        noise: float = 0.0,
        latency: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= noise <= 1:
            raise ValueError(f"Expected noise in [0, 1], got {noise}.")
        if not 0 <= latency < float("inf"):
            raise ValueError(f"Expected a finite latency >= 0 in seconds, got {latency}.")
        try:
            self._rules = [(re.compile(pattern), float(worth)) for pattern, worth in rules.items()]
        except re.error as error:
            raise ValueError(f"Expected rules by regular expression, got {error.pattern!r}: {error}.") from None
        self.noise, self.latency, self.seed = noise, latency, seed
        self._given_up = threading.Event()

    def worth(self, caption: str) -> float:
        """What a caption is worth, without errors."""
        return next((worth for pattern, worth in self._rules if pattern.search(caption)), 0.0)

    def label(self, captions: Sequence[str]) -> list[int]:
        """Labels, some of them wrong."""
        self._wait()
        return [int((self.worth(caption) > 0) != self._errs(caption)) for caption in captions]

    def prefer(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Comparisons of worth, some of them wrong; a tie is never wrong."""
        self._wait()
        return [self._compare(*pair) for pair in pairs]

    def close(self) -> None:
        """End the wait of a call under way."""
        self._given_up.set()

    def _compare(self, first: str, second: str) -> float:
        difference = self.worth(first) - self.worth(second)
        if difference == 0:
            return 0.5
        return float((difference > 0) != self._errs(*sorted((first, second))))

    def _errs(self, *texts: str) -> bool:
        digest = hashlib.sha256("\0".join((str(self.seed), *texts)).encode()).digest()
        return int.from_bytes(digest[:6], "big") < self.noise * 2**48

    def _wait(self) -> None:
        if self.latency:
            self._given_up.wait(self.latency)
            self._given_up.clear()
