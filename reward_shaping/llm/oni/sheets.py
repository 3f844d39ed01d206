"""How captions and pairs are gathered on sheets, one prompt each, so that a recording can answer a whole task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.abstraction import task_id
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.oni.annotators import Context, Pair
from cairngym.reward_shaping.llm.oni.captioner import Captioner, make_captioner
from cairngym.reward_shaping.llm.oni.prompts import label_request, pair_request

Item = TypeVar("Item", str, Pair)

PER_PROMPT = 20
"""Captions, or pairs, on a sheet."""
OPPONENTS = 4
"""Captions that each one is compared with."""
GOLDEN = 0.6180339887498949


def sheets(items: Sequence[Item], per_prompt: int = PER_PROMPT) -> list[tuple[Item, ...]]:
    """The items in order, so many on a sheet.

    Example:
        >>> sheets(["a", "b", "c"], 2)
        [('a', 'b'), ('c',)]
    """
    return [tuple(items[start : start + per_prompt]) for start in range(0, len(items), per_prompt)]


def opponents(index: int, count: int, amount: int, *, wrap: bool) -> Iterator[int]:
    """Whom entry `index` of `count` is compared with; each pair is met from one end only.

    A list that is known beforehand wraps round: entries are compared over 0.38, 0.24, 0.15, 0.09 … of its length
    (powers of the golden section), so that what stands side by side, the colours of one thing, is not all that is
    compared. A list that grows does not: entries are compared with those 1, 2, 4, 8 … places before.

    Args:
        index: of the entry.
        count: of all entries.
        amount: how many at most.
        wrap: whether the list is whole.

    Example:
        >>> list(opponents(5, 6, 3, wrap=False)), list(opponents(0, 100, 2, wrap=True))
        ([4, 3, 1], [62, 76])
    """
    for power in range(amount):
        if not wrap:
            if 1 << power <= index:
                yield index - (1 << power)
            continue
        distance = _distance(power, count)
        twice = distance in {_distance(less, count) for less in range(power)}
        twice |= 2 * distance == count and index < distance  # two entries half the way round would meet twice
        if 2 * distance <= count and not twice:
            yield (index - distance) % count


def _distance(power: int, count: int) -> int:
    return max(1, round(count * GOLDEN ** (power + 2)))


def ordered(first: str, second: str, index: int) -> Pair:
    """A pair whose order turns from entry to entry, so that a taste for the first one evens out."""
    return (first, second) if index % 2 else (second, first)


def closed_pairs(captions: Sequence[str], amount: int = OPPONENTS) -> list[Pair]:
    """Every pair that is compared where all captions are known beforehand."""
    return [
        ordered(caption, captions[other], index)
        for index, caption in enumerate(captions)
        for other in opponents(index, len(captions), amount, wrap=True)
    ]


def requests(
    env: TensorEnv,
    *,
    captioner: Captioner | None = None,
    preferences: bool = False,
    per_prompt: int = PER_PROMPT,
    amount: int = OPPONENTS,
) -> list[ChatRequest]:
    """Everything that ONI can ask about a task whose captions are finitely many, for recording.

    Args:
        env: an env of the task.
        captioner: what makes the captions; the packaged one by default.
        preferences: ask for comparisons, which the ranking model learns from, rather than for labels.
        per_prompt: captions, or pairs, in a prompt; what the annotator is made with.
        amount: captions that each one is compared with; the shaper's `opponents`.

    Raises:
        ValueError: no end of captions.
    """
    captioner = captioner or make_captioner(env)
    captioner.bind(env)
    context = make_context(env, captioner)
    if not context.captions:
        raise ValueError(f"Expected a captioner that lists its captions, got {type(captioner).__name__}.")
    if preferences:
        return [pair_request(context, sheet) for sheet in sheets(closed_pairs(context.captions, amount), per_prompt)]
    return [label_request(context, sheet) for sheet in sheets(context.captions, per_prompt)]


def make_context(env: TensorEnv, captioner: Captioner) -> Context:
    """What an annotator is told of an env's task; the captioner is bound already."""
    return Context(
        instruction=env.unwrapped.task.instruction,
        setting=captioner.setting,
        captions=captioner.captions,
        label=f"oni/{task_id(env) or 'task'}",
    )
