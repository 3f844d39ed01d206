"""Who says whether a transition ends a subgoal: a rule, a model, or what a model's recorded judgements teach."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid.cells import BYTE, COLOR
from cairngym.reward_shaping.llm.beacons.prompts import env_id
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.events import ACTED, MOVED, Event, decode
from cairngym.reward_shaping.llm.calm.terminations import rule
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion
from cairngym.reward_shaping.llm.provider import Provider, ProviderError

SYSTEM = "You judge what a step of an agent in MiniGrid, a world of rooms on a grid, has done. You are exact."
CLOSING = (
    "Was the subgoal reached by this very step, that is, does it hold after the step and did not before? Think first "
    "if you wish. The last line of your answer must be one word: yes or no."
)


@dataclass(frozen=True)
class Question:
    """Whether an event ends a subgoal."""

    subgoal: Subgoal
    """Without a place."""
    event: int
    """See `cairngym.reward_shaping.llm.calm.events`."""


class TransitionJudge(Protocol):
    """Answers questions."""

    def judge(self, questions: Sequence[Question]) -> list[bool | None]:
        """Yes, no, or None where no answer can be had now; one for each question."""


class RuleJudge:
    """Judges by rule, and wrongly in a share of the questions, always the same.

    Args:
        noise: share of the questions that are answered wrongly.
        seed: which they are.

    Raises:
        ValueError: a share outside of [0, 1].
    """

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        if not 0 <= noise <= 1:
            raise ValueError(f"Expected noise in [0, 1], got {noise}.")
        self.noise, self.seed = noise, seed

    def judge(self, questions: Sequence[Question]) -> list[bool | None]:
        """The rule's answers."""
        return [rule(question.subgoal, decode(question.event)) != self._errs(question) for question in questions]

    def _errs(self, question: Question) -> bool:
        if self.noise == 0:
            return False
        name = f"{self.seed}/{question.subgoal.sentence}/{question.event}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") < self.noise * 2**48


class ModelJudge:
    """Asks a model and waits for it; what it can't be asked now, it is asked again when the question comes again.

    `cairngym.reward_shaping.llm.calm.background.BackgroundJudge` does not wait.

    Args:
        provider: who answers.
        instruction: what the task is.
        label: of the requests, before the number.
    """

    def __init__(self, provider: Provider, instruction: str = "", label: str = "calm") -> None:
        self.provider, self.instruction, self.label = provider, instruction, label

    def judge(self, questions: Sequence[Question]) -> list[bool | None]:
        """The model's answers, all asked at once; waits for them."""
        waiting = [self.ask(question, number) for number, question in enumerate(questions)]
        answers: list[bool | None] = []
        for future in waiting:
            try:
                answers.append(read_verdict(future.result().text))
            except ProviderError:
                answers.append(None)
        return answers

    def ask(self, question: Question, number: int = 0) -> Future[Completion]:
        """Begin to ask the model."""
        return self.provider.submit(self.request(question, number))

    def request(self, question: Question, number: int) -> ChatRequest:
        """What the model is asked."""
        return verdict_request(question, self.instruction, f"{self.label}/{number}")


class RecordedJudge:
    """A rule learned from recorded judgements, offline: a question is answered as the most alike of those recorded.

    Alike are, in this order, questions about the same event, about the same event but for colours, and about what
    changes alike; among several the majority decides, and a tie is a no. A question like none of them gets no answer.

    Args:
        questions: what was asked.
        verdicts: what was answered; None where nothing was.
    """

    def __init__(self, questions: Sequence[Question], verdicts: Sequence[bool | None]) -> None:
        self.votes: list[dict[Hashable, Counter[bool]]] = [{} for _ in LIKENESSES]
        for question, verdict in zip(questions, verdicts, strict=True):
            for votes, likeness in zip(self.votes, LIKENESSES, strict=True):
                if verdict is not None:
                    votes.setdefault(likeness(question), Counter())[verdict] += 1

    @classmethod
    def learn(cls, env: TensorEnv, provider: Provider, subgoals: Sequence[Subgoal] | None = None) -> RecordedJudge:
        """Learn from the judgements that `requests(env, subgoals)` asks for.

        Raises:
            ProviderError: none of them can be had.
        """
        from cairngym.reward_shaping.llm.calm.prompts import sample

        questions = [asked.question for asked in sample(env, subgoals)]
        judge = ModelJudge(provider, env.task.instruction, f"calm/{env_id(env)}")
        verdicts = judge.judge(questions)
        if questions and not any(verdict is not None for verdict in verdicts):
            provider.complete_sync(judge.request(questions[0], 0))  # says what is missing
        return cls(questions, verdicts)

    def judge(self, questions: Sequence[Question]) -> list[bool | None]:
        """The learned rule's answers."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> bool | None:
        for votes, likeness in zip(self.votes, LIKENESSES, strict=True):
            found = votes.get(likeness(question))
            if found is not None:
                return found[True] > found[False]
        return None


def same_event(question: Question) -> Hashable:
    """What makes two questions the same."""
    return question


def same_but_for_colors(question: Question) -> Hashable:
    """What is left of a question without colours; of a thing of the subgoal's own colour, that it is."""
    event, goal = decode(question.event), question.subgoal
    return goal.sentence, event.deed, *(colorless(cell, goal) for cell in event[1:])


def same_change(question: Question) -> Hashable:
    """What is left of a question if only what changes counts: what is gone onto, or what hand and cell come to."""
    event, goal = decode(question.event), question.subgoal
    if event.deed == MOVED:
        return goal.sentence, event.deed, colorless(event.first, goal)
    if event.deed != ACTED:
        return goal.sentence, event.deed
    hand = None if event.held == event.holds else (colorless(event.held, goal), colorless(event.holds, goal))
    return goal.sentence, event.deed, hand, colorless(event.first, goal), colorless(event.second, goal)


def colorless(cell: int, goal: Subgoal) -> tuple[int, bool]:
    """A packed cell without its colour, and whether that is the subgoal's."""
    return cell & ~(BYTE << COLOR), goal.color is not None and cell >> COLOR & BYTE == goal.color


LIKENESSES: tuple[Callable[[Question], Hashable], ...] = (same_event, same_but_for_colors, same_change)


def verdict_request(question: Question, instruction: str, label: str) -> ChatRequest:
    """What a model is asked about a question."""
    event: Event = decode(question.event)
    told = f"The agent's task: {instruction}\n\n" if instruction else ""
    prompt = (
        f"{told}One of its subgoals: {question.subgoal.sentence}\n\nOne step of the agent:\n{event.text}\n\n{CLOSING}"
    )
    return ChatRequest.ask(prompt, system=SYSTEM, temperature=0.0, max_tokens=512, label=label)


def read_verdict(text: str) -> bool | None:
    """The last yes or no of an answer; None where there is neither.

    Example:
        >>> read_verdict("No door is touched, so: **Yes**, it holds."), read_verdict("Maybe.")
        (True, None)
    """
    found = re.findall(r"\b(yes|no)\b", text.lower())
    return found[-1] == "yes" if found else None
