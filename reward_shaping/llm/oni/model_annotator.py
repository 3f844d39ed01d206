"""A language model as the judge of captions."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from cairngym.reward_shaping.llm.messages import ChatRequest, Completion
from cairngym.reward_shaping.llm.oni.annotators import Annotator, Context, Pair
from cairngym.reward_shaping.llm.oni.prompts import label_request, pair_request, read_answers
from cairngym.reward_shaping.llm.oni.sheets import OPPONENTS, PER_PROMPT, Item, closed_pairs, sheets
from cairngym.reward_shaping.llm.provider import MissingRecordingError, Provider, ProviderError

logger = logging.getLogger(__name__)

LABELS = {"FOO": 1.0, "BAR": 0.0}
PREFERENCES = {"FOO": 1.0, "BAR": 0.0, "SAME": 0.5}


class ModelAnnotator(Annotator):
    """Asks a provider, a sheet of captions to a prompt, and remembers what it said.

    Where all captions of a task are known beforehand, the sheets are the same in every run, whichever caption comes up
    first: a recording can answer them. Other captions are put on sheets as they come. What can't be read, or was
    answered about nothing, is labelled 0 and says nothing about a pair.

    Args:
        provider: who answers.
        per_prompt: captions, or pairs, in a prompt.
        opponents: captions that each one is compared with, as the shaper's.
        owned: whether the provider is closed with the annotator.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self, provider: Provider, *, per_prompt: int = PER_PROMPT, opponents: int = OPPONENTS, owned: bool = False
    ) -> None:
        if per_prompt < 1:
            raise ValueError(f"Expected per_prompt >= 1, got {per_prompt}.")
        self.provider, self.per_prompt, self.opponents, self.owned = provider, per_prompt, opponents, owned
        self.unparsable = self.unanswered = self.prompts = 0
        self._known: dict[str | Pair, float | None] = {}
        self._under_way: set[Future[Completion]] = set()
        self._lock = threading.Lock()
        self.bind(Context())

    def bind(self, context: Context) -> None:
        """Learn what the task is, and lay out its sheets."""
        self.context = context
        self._sheets: dict[str | Pair, tuple[Any, ...]] = {}
        for sheet in sheets(context.captions, self.per_prompt):
            self._sheets |= dict.fromkeys(sheet, sheet)
        for pairs in sheets(closed_pairs(context.captions, self.opponents), self.per_prompt):
            self._sheets |= dict.fromkeys(pairs, pairs)
        self._known.clear()

    def label(self, captions: Sequence[str]) -> list[int]:
        """Labels, 0 where the answer can't be read.

        Raises:
            ProviderError: a prompt was not answered; what others were answered is kept.
        """
        self._ask(captions, label_request, LABELS)
        return [int(self._known[caption] or 0) for caption in captions]

    def prefer(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Comparisons, None where the answer can't be read.

        Raises:
            ProviderError: a prompt was not answered; what others were answered is kept.
        """
        self._ask(pairs, pair_request, PREFERENCES)
        return [self._known[pair] for pair in pairs]

    def _ask(
        self,
        items: Sequence[Item],
        request: Callable[[Context, Sequence[Item]], ChatRequest],
        worths: dict[str, float],
    ) -> None:
        missing: list[Item] = [item for item in dict.fromkeys(items) if item not in self._known]
        asked: list[tuple[Item, ...]] = [*dict.fromkeys(self._sheets[item] for item in missing if item in self._sheets)]
        asked += sheets([item for item in missing if item not in self._sheets], self.per_prompt)
        with self._lock:
            futures = [self.provider.submit(request(self.context, sheet)) for sheet in asked]
            self._under_way.update(futures)
        try:
            errors = [self._take(sheet, future, worths) for sheet, future in zip(asked, futures, strict=True)]
        finally:
            with self._lock:
                self._under_way.difference_update(futures)
        for error in filter(None, errors):
            raise error

    def _take(
        self, sheet: Sequence[str | Pair], future: Future[Completion], worths: dict[str, float]
    ) -> ProviderError | None:
        """Wait for an answer and read it; returns why there is none, where a later one may come."""
        try:
            answers = read_answers(future.result().text, len(sheet), worths)
        except MissingRecordingError as error:
            logger.warning("These captions are labelled 0, since no recording answers for them: %s", error)
            self.unanswered += len(sheet)
            self._known |= dict.fromkeys(sheet)
            return None
        except ProviderError as error:
            return error
        self.prompts += 1
        self.unparsable += answers.count(None)
        self._known |= dict(zip(sheet, answers, strict=True))
        return None

    def close(self) -> None:
        """Cancel the prompts under way."""
        with self._lock:
            for future in tuple(self._under_way):
                future.cancel()
        if self.owned:
            with contextlib.suppress(RuntimeError):  # a forked child, which has not the provider's thread
                self.provider.close()

    def counts(self) -> dict[str, float]:
        """Prompts answered, and judgements that could not be read or had."""
        return {"prompts": self.prompts, "unparsable": self.unparsable, "unanswered": self.unanswered}

    def get_state(self) -> dict[str, Any]:
        """Copy every judgement so far, also of captions that nobody met yet."""
        return {"known": dict(self._known), **self.counts()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._known = dict(snapshot["known"])
        self.prompts, self.unparsable = snapshot["prompts"], snapshot["unparsable"]
        self.unanswered = snapshot["unanswered"]
