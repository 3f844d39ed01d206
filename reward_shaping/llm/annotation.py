"""Annotation aside of the learner: a bounded line of questions, newest first, and a thread that has them answered."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from cairngym.reward_shaping.llm.provider import BudgetExhausted, ProviderError

logger = logging.getLogger(__name__)

Answers = Mapping[Any, Any]
"""What was answered to questions."""
Ask = Callable[[Sequence[Any]], Answers]
"""Answers questions; raises `ProviderError` where that can't be had now."""
PATIENCE = 5.0
"""Seconds that the thread is waited for when it ends."""


class Line:
    """Questions that wait, and answers that came; shared by the learner's thread and the annotator's.

    Args:
        capacity: questions that may wait; of more, those that have waited longest are dropped.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"Expected a capacity >= 1, got {capacity}.")
        self.capacity = capacity
        self.dropped = self.failures = 0
        self.stopped = ""
        """Why nothing is asked any more; empty while it is."""
        self.fault: BaseException | None = None
        self.closed = False
        self.changed = threading.Condition()
        self._waiting: deque[Hashable] = deque()
        self._pending: set[Hashable] = set()
        self._answers: dict[Any, Any] = {}

    def offer(self, questions: Sequence[Hashable]) -> None:
        """Add questions that are not waiting or under way yet, the newest last; never waits for an answer."""
        with self.changed:
            if self.stopped or self.closed:
                return
            for question in questions:
                if question not in self._pending:
                    self._pending.add(question)
                    self._waiting.append(question)
            self._drop()
            self.changed.notify_all()

    def take(self, count: int, wait: bool = True) -> list[Hashable]:
        """Up to `count` questions, the newest first; none when the line is closed, or empty where one does not wait."""
        with self.changed:
            while wait and not (self._waiting or self.closed):
                self.changed.wait()
            if self.closed:
                return []
            return [self._waiting.pop() for _ in range(min(count, len(self._waiting)))]

    def answer(self, questions: Sequence[Hashable], answers: Answers) -> None:
        """Hand in the answers to questions that were taken."""
        with self.changed:
            self._pending.difference_update(questions)
            self._answers.update(answers)

    def give_back(self, questions: Sequence[Hashable]) -> None:
        """Return questions that were taken and not answered; they wait as the oldest."""
        with self.changed:
            self.failures += 1
            self._waiting.extendleft(questions)
            self._drop()

    def stop(self, reason: str, fault: BaseException | None = None) -> None:
        """Ask nothing any more."""
        with self.changed:
            self.stopped, self.fault = reason, fault
            self._waiting.clear()
            self._pending.clear()

    def collect(self) -> dict[Any, Any]:
        """The answers that came since the last call.

        Raises:
            RuntimeError: the annotator failed in a way that is no provider's.
        """
        with self.changed:
            answers, self._answers = self._answers, {}
            fault, self.fault = self.fault, None
        if fault is not None:
            raise RuntimeError(f"The annotator failed: {fault!r}.") from fault
        return answers

    def __len__(self) -> int:
        with self.changed:
            return len(self._pending)

    def _drop(self) -> None:
        while len(self._waiting) > self.capacity:
            self._pending.discard(self._waiting.popleft())
            self.dropped += 1


class Annotation:
    """Has questions answered, on a thread aside or, for reproducible runs, when the learner says so.

    A provider that fails is asked again after `backoff` seconds, doubled at every further failure up to `max_backoff`,
    with the one question that is newest then, so that little is spent on a dead one; a budget that is used up ends the
    asking.

    Args:
        ask: answers questions; takes as long as it likes.
        give_up: makes `ask` return soon, whatever it has.
        batch: questions that are asked at a time.
        capacity: questions that may wait.
        backoff: seconds after the first failure.
        max_backoff: the longest wait in seconds.
        synchronous: answer in `run`, on the caller's thread.
    """

    def __init__(
        self,
        ask: Ask,
        give_up: Callable[[], None],
        *,
        batch: int = 100,
        capacity: int = 1000,
        backoff: float = 1.0,
        max_backoff: float = 60.0,
        synchronous: bool = False,
    ) -> None:
        if batch < 1 or not 0 < backoff <= max_backoff:
            raise ValueError(
                f"Expected batch >= 1 and 0 < backoff <= max_backoff, got {batch}, {backoff} and {max_backoff}."
            )
        self.line, self.synchronous = Line(capacity), synchronous
        self._ask, self._give_up, self._batch = ask, give_up, batch
        self._backoff = backoff, max_backoff
        self._end: weakref.finalize[..., Annotation] | None = None

    def offer(self, questions: Sequence[Hashable]) -> None:
        """Add questions, the newest last; the thread starts at the first."""
        if not questions:
            return
        self.line.offer(questions)
        if self._end is None and not self.synchronous:
            arguments: tuple[Any, ...] = (self.line, self._ask, self._batch, *self._backoff)
            thread = threading.Thread(target=_serve, args=arguments, name="annotation", daemon=True)
            thread.start()
            self._end = weakref.finalize(self, _finish, self.line, thread, self._give_up)

    def collect(self) -> dict[Any, Any]:
        """The answers that came since the last call; a synchronous one asks what waits first.

        Raises:
            RuntimeError: the annotator failed in a way that is no provider's.
        """
        while self.synchronous and (questions := self.line.take(self._batch, wait=False)):
            if not _answer(self.line, self._ask, questions):
                break
        return self.line.collect()

    def close(self) -> None:
        """Give up what is under way and end the thread."""
        self.line.stop("closed")
        if self._end is not None:
            self._end()


def _answer(line: Line, ask: Ask, questions: Sequence[Hashable]) -> bool:
    """Ask once; whether that worked."""
    try:
        line.answer(questions, ask(questions))
    except BudgetExhausted as error:
        logger.warning("Annotation ends, the learner goes on with the labels it has: %s", error)
        _salvage(line, ask, questions)
        line.stop("budget exhausted")
    except (ProviderError, CancelledError) as error:
        if not line.failures and not line.closed:
            logger.warning("Annotation failed and will be tried again, the learner goes on meanwhile: %s", error)
        line.give_back(questions)
        return False
    except Exception as error:  # a fault of the annotator's, raised where the learner collects
        line.stop("fault", error)
    return True


def _salvage(line: Line, ask: Ask, questions: Sequence[Hashable]) -> None:
    """Hand in what was answered, and paid for, before the budget ended, and what still fits into it."""
    for question in questions if len(questions) > 1 else ():
        with contextlib.suppress(ProviderError, CancelledError):
            line.answer([question], ask([question]))


def _serve(line: Line, ask: Ask, batch: int, backoff: float, max_backoff: float) -> None:
    """Answer until the line is closed or stopped; holds nothing of the learner's."""
    wait, count = backoff, batch
    while not line.stopped and (questions := line.take(count)):
        if _answer(line, ask, questions):
            wait, count = backoff, batch
            continue
        count = 1
        with line.changed:
            line.changed.wait_for(lambda: line.closed, wait)
        wait = min(2 * wait, max_backoff)


def _finish(line: Line, thread: threading.Thread, give_up: Callable[[], None]) -> None:
    with line.changed:
        line.closed = True
        line.changed.notify_all()
    give_up()
    if thread is not threading.current_thread():
        thread.join(PATIENCE)
