"""The prompts that `cairn reward` prints and records: those of a system, those that follow answers, those of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.commands.reward_providers import NotingProvider, read_text
from cairngym.commands.reward_writing import WRITERS, candidates, method
from cairngym.envs.checks import check_options, unknown_name
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import MissingRecordingError, ProviderError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.systems import list_systems, requests
from cairngym.reward_shaping.llm.transcript import parse_lines

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

Options = Mapping[str, Any]
SEARCH = "eureka"
"""The system whose prompts are those of a search for rewards (`cairngym.experiments.search`)."""
SEARCH_OPTIONS = ("candidates", "temperature", "max_tokens", "weight", "keep_task")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt, and what is known of its answers."""

    request: ChatRequest
    answered: bool | None = None
    """Whether recordings answer it; None where none were looked at."""
    completions: tuple[str, ...] = ()
    """Answers that came with it in a file."""

    @property
    def state(self) -> str:
        """What its headline says of that."""
        return "" if self.answered is None else ", answered" if self.answered else ", NOT ANSWERED"

    def to_json(self, number: int) -> str:
        """The line that `read_prompts` reads."""
        line = {"number": number, "hash": self.request.hash, "request": self.request.to_json()}
        return json.dumps(line, ensure_ascii=False)


def all_systems() -> list[str]:
    """The names of all systems that prompts can be printed of."""
    return sorted({*list_systems(), SEARCH})


def system_prompts(system: str, env: TensorEnv, options: Options) -> list[Prompt]:
    """What a system asks before anything is answered.

    Raises:
        UnknownNameError: no such system.
        TypeError: an option that it does not have.
        ValueError: a task or an option that it can't use.
    """
    if system == SEARCH:
        return [Prompt(request=_search_prompt(env, options))]
    if system not in list_systems():
        raise unknown_name("system", system, all_systems())
    options = {name: value for name, value in options.items() if (system, name) != ("auto_mc", "critic")}
    return [Prompt(request=request) for request in requests(system, env, **options)]


def _search_prompt(env: TensorEnv, options: Options) -> ChatRequest:
    from cairngym.envs.strict_yaml import build
    from cairngym.experiments.search.config import SearchConfig
    from cairngym.experiments.search.prompts import first_request
    from cairngym.reward_shaping.llm.abstraction import task_id

    check_options(f"The system {SEARCH!r}", options, SEARCH_OPTIONS)
    return first_request(env, build(SearchConfig, {"name": SEARCH, "task": task_id(env), **options}, source="--option"))


def following_prompts(
    system: str, env: TensorEnv, options: Options, recordings: RecordedProvider, repairs: int
) -> list[Prompt]:
    """What a system comes to ask with the answers that recordings give, in order; the unanswered ones among them.

    For a system that writes programs these are the first prompt, later stages, and the repairs of every recorded
    candidate. Of others they are what they ask anyway.

    Raises:
        UnknownNameError: no such system.
        TypeError: an option that it does not have.
        ValueError: a task or an option that it can't use.
    """
    if system not in WRITERS:
        return [
            replace(prompt, answered=prompt.request.hash in recordings.hashes)
            for prompt in system_prompts(system, env, options)
        ]
    noting = NotingProvider(recordings)
    with method(system, env, options, model=noting) as written, noting:
        try:
            request = written.begin(noting)
            count = recorded_candidates(recordings, request)
            recordings.rewind()
            completion = noting.complete_sync(replace(request, n=max(count, 1)))
            candidates(written, request, noting, completion, repairs=repairs)
        except MissingRecordingError:
            pass  # it is among what was noted
    asked = {exchange.request.hash: exchange for exchange in noting.exchanges}
    return [Prompt(request=one.request, answered=one.completion is not None) for one in asked.values()]


def recorded_candidates(recordings: RecordedProvider, request: ChatRequest) -> int:
    """How many candidates recordings hold for a prompt."""
    count = 0
    while True:
        recordings.rewind()
        try:
            recordings.complete_sync(replace(request, n=count + 1))
        except ProviderError:
            return count
        count += 1


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file of JSON lines, as `to_json` writes them; "completions" with each may hold their answers.

    Raises:
        ValueError: a line that is no prompt, or whose request is not the one that its hash was made of.
        OSError: the file can't be read.
    """
    return [_read_prompt(line, f"{path}:{number}") for number, line in parse_lines(read_text(path), str(path))]


def _read_prompt(line: Mapping[str, Any], place: str) -> Prompt:
    unknown = sorted(set(line) - {"number", "hash", "request", "completions"})
    if unknown or "request" not in line:
        what = f"the key {unknown[0]!r}" if unknown else "no request"
        raise ValueError(
            f"Expected a prompt as `cairn reward prompt --json` prints it, with its answers as a list of texts under "
            f"'completions' if it has any, at {place}; got {what}."
        )
    request = ChatRequest.from_json(line["request"])
    if line.get("hash", request.hash) != request.hash:
        raise ValueError(
            f"Expected the hash {request.hash} at {place}, got {line['hash']}: the prompt was edited after it was "
            "printed. Print it again, and leave it as it is."
        )
    answers = line.get("completions", [])
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"Expected 'completions' as a list of texts at {place}.")
    return Prompt(request=request, completions=tuple(answers))


def numbered(prompts: Sequence[Prompt], number: int | None) -> list[tuple[int, Prompt]]:
    """The prompts with their numbers; one of them where a number is given.

    Raises:
        ValueError: no prompt of that number.
    """
    pairs = list(enumerate(prompts))
    if number is None:
        return pairs
    if not 0 <= number < len(pairs):
        raise ValueError(f"Expected --number from 0 to {len(pairs) - 1}, got {number}.")
    return [pairs[number]]


def labels(prompts: Iterable[tuple[int, Prompt]]) -> str:
    """Numbers and labels, for a message."""
    shown = [f"{number} ({prompt.request.label}{prompt.state})" for number, prompt in prompts]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
