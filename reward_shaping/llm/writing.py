"""Programs by a language model: ask, take the code out, compile, verify, and have it repaired until it is accepted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

from cairngym.reward_shaping.llm.extraction import extract_code
from cairngym.reward_shaping.llm.findings import Verdict
from cairngym.reward_shaping.llm.messages import ChatRequest, Message
from cairngym.reward_shaping.llm.program import ProgramFailed, ProgramRefused
from cairngym.reward_shaping.llm.provider import Provider, ProviderError

Program = TypeVar("Program")
Check = Callable[[str], Verdict]
MAX_QUOTED = 20_000
"""Characters of an answer that a repair prompt repeats."""
DECLINED = ("refusal", "content_filter")
"""Reasons for which a model ends an answer that it does not want to give."""
_FIGURE = re.compile(r"(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?(?=%|\b)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One answer of the model, and what came of it."""

    request: ChatRequest
    """What was asked, with the conversation that led to it."""
    answer: str
    """The completion, unedited."""
    source: str = ""
    """The code in it; empty where there is none."""
    problem: str = ""
    """Why it was not accepted, as the repair prompt says it; empty for the accepted one."""
    verdict: Verdict | None = None
    """What verification said; None where it came to none."""

    @property
    def accepted(self) -> bool:
        """Whether the code is a program that passed."""
        return not self.problem


@dataclass(frozen=True, kw_only=True)
class Written(Generic[Program]):
    """What became of a request for a program."""

    program: Program | None
    """The accepted program; None where the model gave none in as many rounds as it had."""
    attempts: tuple[Attempt, ...]
    """Every round, in order; the last one is the accepted one."""

    @property
    def source(self) -> str:
        """The accepted program's text; empty where there is none."""
        return self.attempts[-1].source if self.program is not None else ""

    @property
    def verdict(self) -> Verdict | None:
        """What verification said of the last attempt."""
        return self.attempts[-1].verdict

    def report(self) -> str:
        """What was wrong with each refused attempt, for a person."""
        lines = [
            f"{len(self.attempts)} attempts, {'the last accepted' if self.program is not None else 'none accepted'}"
        ]
        for number, attempt in enumerate(self.attempts, start=1):
            first, *rest = (attempt.problem or "accepted").splitlines()
            lines += [f"{number}. {first}", *(f"   {line}" for line in rest)]
        return "\n".join(lines)


def write_program(
    provider: Provider,
    request: ChatRequest,
    compile: Callable[[str], Program],
    *,
    check: Check | None = None,
    repairs: int = 3,
    candidate: int = 0,
    extract: Callable[[str], str] = extract_code,
    record: Callable[[Attempt], None] | None = None,
) -> Written[Program]:
    """Have a program written.

    Whatever the model answers becomes an attempt: an empty or declined answer, one that was cut off, another language,
    a wrong signature, names that do not exist, a program that verification refuses. The next round continues the
    conversation with the answer and with what was wrong, so that its prompt depends on nothing else. Figures measured
    in verification are rounded to one digit in it, for a recording made on one machine to be found on another.

    Args:
        provider: who writes.
        request: the first prompt; its `n` is ignored.
        compile: makes a program of code; raises `ProgramRefused` (or `ProgramFailed`) for what the model did wrong.
        check: verifies the code that compiled, such as `Sandbox.verify`.
        repairs: further rounds after the first answer.
        candidate: which of the first prompt's candidates to go on with, from 0; those before it are asked for as well.
        extract: takes the code out of an answer; raises `ProgramRefused` where there is none.
        record: called with each attempt as soon as it is judged, also of a conversation that a provider's failure ends.

    Raises:
        ProviderError: the provider's, as it is, with a note on how many attempts it ended; `record` has seen them.
        ValueError: `repairs` or `candidate` below zero.
    """
    if candidate < 0:
        raise ValueError(f"Expected candidate >= 0, the number of a completion counted from 0, got {candidate}.")
    completion = provider.complete_sync(replace(request, n=candidate + 1))
    judged = partial(judge, compile=compile, check=check, extract=extract)
    answer = completion.texts[candidate], completion.finish_reasons[candidate]
    return _refine(provider, request, answer, judged, repairs, record)


def write_candidates(
    provider: Provider,
    request: ChatRequest,
    compile: Callable[[str], Program],
    count: int,
    *,
    check: Check | None = None,
    repairs: int = 3,
    extract: Callable[[str], str] = extract_code,
    record: Callable[[Attempt], None] | None = None,
) -> tuple[Written[Program], ...]:
    """Have `count` programs written from one prompt, each with repairs of its own; arguments as for `write_program`.

    Equal first answers come to the same, so they are judged and repaired once.

    Raises:
        ProviderError: the provider's, as it is; `record` has seen what was reached.
        ValueError: `count` below one, or `repairs` below zero.
    """
    if count < 1:
        raise ValueError(f"Expected at least one candidate, got {count}.")
    completion = provider.complete_sync(replace(request, n=count))
    judged = partial(judge, compile=compile, check=check, extract=extract)
    answers = list(zip(completion.texts, completion.finish_reasons, strict=True))
    made: dict[tuple[str, str], Written[Program]] = {}
    for answer in answers:
        if answer not in made:
            made[answer] = _refine(provider, request, answer, judged, repairs, record)
    return tuple(made[answer] for answer in answers)


def _refine(
    provider: Provider,
    request: ChatRequest,
    answer: tuple[str, str],
    judged: Callable[[ChatRequest, str, str], tuple[Attempt, Program | None]],
    repairs: int,
    record: Callable[[Attempt], None] | None,
) -> Written[Program]:
    """Judge an answer (its text and why it ended), and ask for repairs until one is accepted or none is left."""
    if repairs < 0:
        raise ValueError(f"Expected repairs >= 0, got {repairs}.")
    attempts: list[Attempt] = []
    asked = replace(request, n=1)
    while True:
        attempt, program = judged(asked, *answer)
        attempts.append(attempt)
        if record is not None:
            record(attempt)
        if attempt.accepted or len(attempts) > repairs:
            return Written(program=program, attempts=tuple(attempts))
        asked = continued(asked, attempt.answer, repair_prompt(attempt))
        try:
            completion = provider.complete_sync(asked)
        except ProviderError as error:
            error.add_note(f"It ended the writing of a program after {len(attempts)} attempts, none accepted.")
            raise
        answer = completion.text, completion.finish_reasons[0]


def judge(
    request: ChatRequest,
    text: str,
    finish: str,
    compile: Callable[[str], Program],
    check: Check | None = None,
    extract: Callable[[str], str] = extract_code,
) -> tuple[Attempt, Program | None]:
    """What an answer is worth: the attempt, and its program if it is accepted.

    Args:
        request: what was asked.
        text: the answer.
        finish: why it ended, as `Completion.finish_reasons` has it.
        compile: as for `write_program`.
        check: as for `write_program`.
        extract: as for `write_program`.
    """
    attempt = Attempt(request=request, answer=text)
    if finish in DECLINED:
        return replace(
            attempt, problem="You declined to answer; only a reward for a simulated task is asked for."
        ), None
    source = ""
    try:
        source = extract(text)
        program = compile(source)
    except (ProgramRefused, ProgramFailed) as refusal:
        problem = str(refusal)
        if finish == "length":
            problem = f"{_cut(request)}\n{problem}"
        return replace(attempt, source=source, problem=problem), None
    if finish == "length":
        return replace(attempt, source=source, problem=_cut(request)), None
    verdict = check(source) if check is not None else None
    problem = "" if verdict is None or verdict.accepted else _findings(verdict)
    attempt = replace(attempt, source=source, problem=problem, verdict=verdict)
    return attempt, None if problem else program


def _cut(request: ChatRequest) -> str:
    return (
        f"The answer was cut off at {request.max_tokens} tokens. Write less text before the program, and a shorter "
        "program."
    )


def _findings(verdict: Verdict) -> str:
    """The errors of a verdict, their figures to one digit."""
    return "\n".join(f"- {finding.check}: {_FIGURE.sub(_rounded, finding.message)}" for finding in verdict.errors)


def _rounded(figure: re.Match[str]) -> str:
    whole = figure[1] is None and figure[2] is None
    if whole and not figure.string[figure.end() :].startswith("%"):
        return figure[0]
    return f"{float(f'{float(figure[0]):.1g}'):g}"


def repair_prompt(attempt: Attempt) -> str:
    """What is said to the model about an attempt that was not accepted.

    Example:
        >>> asked = ChatRequest.ask("Write a reward.")
        >>> text = repair_prompt(Attempt(request=asked, answer="", problem="The completion is empty."))
        >>> text.splitlines()[2]
        'The completion is empty.'
    """
    what = "The program is not accepted:" if attempt.source else "No program could be taken from your answer:"
    if attempt.verdict is not None:
        what = "The program compiles, but when it was tried on recorded transitions, this was found:"
    return (
        f"{what}\n\n{attempt.problem}\n\n"
        "Correct this and whatever else is of its kind. Answer with the whole corrected program in one ```python block."
    )


def continued(request: ChatRequest, answer: str, said: str) -> ChatRequest:
    """The conversation with the model's answer and the next thing said to it.

    An answer that is empty becomes "(no answer)", which endpoints require, and a long one is cut.
    """
    given = answer[:MAX_QUOTED] if answer.strip() else "(no answer)"
    return replace(request, n=1, messages=(*request.messages, Message("assistant", given), Message("user", said)))
