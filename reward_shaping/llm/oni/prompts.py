"""What a language model is asked about captions, and how its answers are read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.oni.annotators import Context, Pair

MAX_TOKENS = 1024
SYSTEM = (
    "You judge short messages about what happens to an agent while it works on a task. You know nothing but the "
    "messages and the description you are given. You answer in exactly the format that is asked for."
)
WORDS = "The words are only names and mean nothing else."
LABEL_RULE = (
    "FOO: the message tells of something that brings the task closer to done, or that must happen on the way.\n"
    "BAR: the message tells of anything else: chance, idling, mishaps, steps back, or things that do not matter here."
)
LABEL_EXAMPLE = """Example. The task: Water the plant in the attic.
1. you fill the can at the tap
2. you run into the banister
3. you climb the stairs to the attic
4. you look out of the window
Answer:
Reasons: The can has to be full and the agent has to be upstairs; the banister and the window do not matter.
1: FOO
2: BAR
3: FOO
4: BAR"""
PAIR_RULE = (
    "FOO: the first message of the pair tells of more progress on the task.\n"
    "BAR: the second message tells of more progress.\n"
    "SAME: they tell of as much, or of none."
)
PAIR_EXAMPLE = """Example. The task: Water the plant in the attic.
1. first: you fill the can at the tap / second: you look out of the window
2. first: you climb the stairs to the attic / second: you water the plant
3. first: you run into the banister / second: you sit down
Answer:
Reasons: A full can is needed; the plant watered is the task itself; the banister and sitting down are no progress.
1: FOO
2: BAR
3: SAME"""
ANSWER = re.compile(r"^[\s>*_`-]*(\d+)[\s*_`]*[:.)=-]+[\s*_`\"']*(FOO|BAR|SAME)\b[\s*_`\"'.]*$", re.MULTILINE)
BRACKETS = "Words in square brackets stand for something that differs from episode to episode."


def label_request(context: Context, captions: Sequence[str]) -> ChatRequest:
    """Ask which of some captions tell of help.

    Example:
        >>> request = label_request(Context(instruction="Open the door."), ["you open the door"])
        >>> request.messages[1].content.splitlines()[-5]
        '1. you open the door'
    """
    lines = "\n".join(f"{number}. {caption}" for number, caption in enumerate(captions, start=1))
    return _request(context, "Sort every message into FOO or BAR.", LABEL_RULE, LABEL_EXAMPLE, "FOO or BAR", lines)


def pair_request(context: Context, pairs: Sequence[Pair]) -> ChatRequest:
    """Ask which caption of each pair tells of more progress."""
    lines = "\n".join(
        f"{number}. first: {first} / second: {second}" for number, (first, second) in enumerate(pairs, start=1)
    )
    task = "Compare the two messages of every pair."
    return _request(context, task, PAIR_RULE, PAIR_EXAMPLE, "FOO, BAR or SAME", lines)


def read_answers(text: str, count: int, worths: dict[str, float]) -> list[float | None]:
    r"""The judgement of each of `count` numbered lines by the worth of its word; None where there is none.

    Of several judgements of one number the last counts, so that a model may think aloud first.

    Example:
        >>> read_answers("Reasons: 1 helps.\n1: FOO\n**2**: BAR.\n4: FOO", 3, {"FOO": 1.0, "BAR": 0.0})
        [1.0, 0.0, None]
    """
    found: list[float | None] = [None] * count
    for number, word in ANSWER.findall(text):
        if word in worths and len(number) < 6 and 1 <= int(number) <= count:
            found[int(number) - 1] = worths[word]
    return found


def _request(context: Context, task: str, rule: str, example: str, words: str, lines: str) -> ChatRequest:
    instruction = context.instruction or "(none given)"
    parts = (
        f"{task}\n{rule}\n{WORDS}",
        example,
        f"Now the real ones.\nThe world: {context.setting or '(not described)'}\nThe task: {instruction}",
        *([BRACKETS] if "[" in instruction else []),
        lines,
        f'Answer with one line that begins with "Reasons:" and gives them in two sentences at most, then with one line '
        f'for every number, in order, such as "1: FOO". Use no word but {words} there, and write nothing after them.',
        "Answer:",
    )
    content = "\n\n".join(parts)
    return ChatRequest.ask(content, system=SYSTEM, temperature=0.0, max_tokens=MAX_TOKENS, label=context.label)
