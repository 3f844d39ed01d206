"""A model's judgements, had aside of the learner."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from cairngym.reward_shaping.llm.annotation import Annotation
from cairngym.reward_shaping.llm.calm.judges import ModelJudge, Question, read_verdict
from cairngym.reward_shaping.llm.messages import Completion
from cairngym.reward_shaping.llm.provider import MissingRecordingError, Provider, ProviderError


class BackgroundJudge:
    """Asks a model and never waits for it: a question is answered when it comes again after the model has spoken.

    An endpoint that dies costs the learner nothing but these answers; it is asked again, ever more rarely, until it is
    back (see `Annotation`).

    Args:
        provider: who answers.
        instruction: what the task is.
        label: of the requests, before the number.
        batch: questions that are asked at a time.
        capacity: questions that may wait; of more, those that have waited longest are dropped.
        backoff: seconds after the first failure; doubled at every further one, up to a minute.
    """

    def __init__(
        self,
        provider: Provider,
        instruction: str = "",
        label: str = "calm",
        *,
        batch: int = 32,
        capacity: int = 1000,
        backoff: float = 1.0,
    ) -> None:
        asking = _Asking(ModelJudge(provider, instruction, label))
        self._annotation = Annotation(
            asking.ask, asking.give_up, batch=batch, capacity=capacity, backoff=backoff, max_backoff=max(60.0, backoff)
        )
        self._answers: dict[Question, bool | None] = {}

    def judge(self, questions: Sequence[Question]) -> list[bool | None]:
        """What the model has said so far; what it has not been asked it is asked aside.

        Raises:
            RuntimeError: asking failed in a way that is no provider's.
        """
        self._answers.update(self._annotation.collect())
        self._annotation.offer([question for question in questions if question not in self._answers])
        return [self._answers.get(question) for question in questions]

    def close(self) -> None:
        """Give up what is under way."""
        self._annotation.close()


class _Asking:
    """What the thread aside does; it holds nothing of the learner's."""

    def __init__(self, judge: ModelJudge) -> None:
        self.judge = judge
        self._heard: dict[Question, bool | None] = {}
        self._under_way: set[Future[Completion]] = set()
        self._lock = threading.Lock()

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, bool | None]:
        """The model's verdicts; where some fail, those that came are kept for the next attempt.

        Raises:
            ProviderError: a question was not answered, and may be later.
        """
        missing = [question for question in questions if question not in self._heard]
        with self._lock:
            futures = [self.judge.ask(question, number) for number, question in enumerate(missing)]
            self._under_way.update(futures)
        try:
            errors = [self._hear(question, future) for question, future in zip(missing, futures, strict=True)]
        finally:
            with self._lock:
                self._under_way.difference_update(futures)
        for error in filter(None, errors):
            raise error
        return {question: self._heard.pop(question) for question in questions}

    def _hear(self, question: Question, future: Future[Completion]) -> ProviderError | None:
        try:
            self._heard[question] = read_verdict(future.result().text)
        except MissingRecordingError:
            self._heard[question] = None
        except ProviderError as error:
            return error
        return None

    def give_up(self) -> None:
        """Cancel what is under way."""
        with self._lock:
            for future in self._under_way:
                future.cancel()
