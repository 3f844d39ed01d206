"""What is asked about the captions of a vocabulary, and how an annotator answers it."""

from __future__ import annotations

from collections.abc import Sequence

from cairngym.reward_shaping.llm.annotation import Answers, Ask
from cairngym.reward_shaping.llm.oni.annotators import Annotator, Pair, Question
from cairngym.reward_shaping.llm.oni.sheets import opponents, ordered


def labels(texts: Sequence[str], recent: Sequence[int]) -> list[Question]:
    """The captions to be labelled, the one met first at last sight first, so that the newest ends last.

    Args:
        texts: the vocabulary in order of first sight; entry 0 stands for no caption.
        recent: the entries to ask about, ascending.
    """
    return list(dict.fromkeys(texts[index] for index in recent))


def pairs(texts: Sequence[str], recent: Sequence[int], listed: Sequence[Pair], amount: int) -> list[Question]:
    """The pairs to be compared.

    Args:
        texts: the vocabulary in order of first sight; entry 0 stands for no caption.
        recent: the entries to ask about, ascending.
        listed: the pairs of captions that are known beforehand, the same ones in every run; one is asked about when
            either of its captions was met. Other captions are compared with some that were met before them.
        amount: captions that each of those is compared with.
    """
    met, known = {texts[index] for index in recent}, {text for pair in listed for text in pair}
    asked = [pair for pair in listed if pair[0] in met or pair[1] in met]
    asked += [
        ordered(texts[index], texts[other + 1], index)
        for index in recent
        if texts[index] not in known
        for other in opponents(index - 1, len(texts) - 1, amount, wrap=False)
    ]
    return list(dict.fromkeys(asked))


def ask(annotator: Annotator) -> Ask:
    """A function that has an annotator answer captions and pairs alike; it holds nothing but the annotator."""

    def answer(asked: Sequence[Question]) -> Answers:
        captions = [question for question in asked if isinstance(question, str)]
        pairs = [question for question in asked if not isinstance(question, str)]
        answers: dict[Question, float | None] = {}
        if captions:
            answers.update(zip(captions, map(float, annotator.label(captions)), strict=True))
        if pairs:
            answers.update(zip(pairs, annotator.prefer(pairs), strict=True))
        return answers

    return answer
