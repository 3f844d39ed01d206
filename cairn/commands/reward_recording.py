"""`cairn reward record`: answers become recordings, unedited, with where they come from."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.commands.reward_prompts import Prompt, labels, numbered
from cairngym.commands.reward_providers import GapProvider, NotingProvider, pasted, replayed
from cairngym.commands.reward_tables import print_outcomes
from cairngym.commands.reward_writing import WRITERS, candidates, method
from cairngym.reward_shaping.llm.provider import make_provider
from cairngym.reward_shaping.llm.recording import RecordingProvider, record_texts, remove_recordings

if TYPE_CHECKING:
    from cairngym.commands.reward import Record
    from cairngym.envs.core import TensorEnv

Options = Mapping[str, Any]
BY_HAND = "written by hand"


def check_record(options: Record) -> None:
    """Hold the options of a recording against each other.

    Raises:
        ValueError: no date, or not exactly one source of answers.
    """
    try:
        datetime.date.fromisoformat(options.date)
    except ValueError:
        raise ValueError(f"Expected --date YYYY-MM-DD, when the answers were given, got {options.date!r}.") from None
    if options.completion and options.provider:
        raise ValueError("Expected --provider or --completion, got both.")
    if not options.completion and not options.provider and options.prompts is None:
        raise ValueError(
            "Who answers? Give --provider openai:MODEL (or endpoint:URL#MODEL), --completion FILE for each candidate, "
            "or --prompts FILE with the answers in it."
        )
    if options.provider and options.source:
        raise ValueError("Expected --source with --completion or --prompts only: a provider says itself who it is.")


def cassette_for(options: Record, system: str) -> Path:
    """The file that is recorded to: the one given, or the packaged one of the system.

    Raises:
        ValueError: the packaged recordings can't be written.
    """
    if options.cassette is not None:
        return options.cassette
    import cairngym.configs

    folder = Path(str(cairngym.configs.__file__)).resolve().parent / "llm"
    path = folder / f"{system}.jsonl"
    place = path if path.exists() else folder if folder.exists() else folder.parent
    if not os.access(place, os.W_OK):
        raise ValueError(f"Expected --cassette PATH: the packaged recordings in {folder} can't be written.")
    return path


def record_files(options: Record, prompts: list[Prompt], cassette: Path) -> list[str]:
    """Record what files say, pasted for one prompt or beside the prompts of a file; returns what was done.

    Raises:
        ValueError: it is not clear which prompt is answered, or none is.
        OSError: a file can't be read or written.
    """
    chosen = numbered(prompts, options.number)
    if options.completion:
        if len(chosen) != 1:
            raise ValueError(f"Expected --number, which of the prompts is answered: {labels(chosen)}.")
        number, prompt = chosen[0]
        chosen = [(number, replace(prompt, completions=pasted(options.completion).texts))]
    answered = [(number, prompt) for number, prompt in chosen if prompt.completions]
    if not answered:
        raise ValueError(f"Expected answers under 'completions' in {options.prompts}, or --completion; got none.")
    lines = []
    for _, prompt in answered:
        if options.overwrite:
            remove_recordings(cassette, prompt.request.hash)
        record_texts(
            cassette, prompt.request, prompt.completions, source=options.source or BY_HAND, date=options.date,
            note=options.note,
        )  # fmt: skip
        lines.append(_done(len(prompt.completions), prompt.request.label, prompt.request.hash, cassette))
    return lines


def record_answers(options: Record, prompts: list[Prompt], cassette: Path, model: Options) -> list[str]:
    """Ask a provider the prompts, those that recordings answer left out; returns what was done.

    Raises:
        ProviderError: the provider's; what was answered before is recorded.
    """
    chosen = [prompt.request for _, prompt in numbered(prompts, options.number) if not prompt.answered]
    with _recorder(options, cassette, model) as recorder:
        asked = [replace(request, n=options.candidates or request.n) for request in chosen]
        recorder.complete_all_sync(asked)
    return [_done(request.n, request.label, request.hash, cassette) for request in asked]


def record_writing(
    options: Record, system: str, env: TensorEnv, chosen: Options, cassette: Path, model: Options
) -> list[str]:
    """Have a system's programs written by a provider, and record all of it: first answers, later stages and repairs.

    Raises:
        ProviderError: the provider's; what was answered before is recorded.
    """
    with ExitStack() as stack:
        heard = NotingProvider(stack.enter_context(_recorder(options, cassette, model)))
        asking = NotingProvider(GapProvider(replayed(options.after), heard) if options.after else heard)
        for provider in (heard, asking):
            stack.enter_context(provider)
        written = stack.enter_context(method(system, env, chosen, model=asking))
        request = written.begin(asking)
        completion = asking.complete_sync(replace(request, n=options.candidates or 1))
        outcomes = candidates(written, request, asking, completion, repairs=options.repairs)
    print_outcomes(outcomes)
    return [
        _done(len(one.completion.texts), one.request.label, one.request.hash, cassette)
        for one in heard.exchanges if one.completion is not None
    ]  # fmt: skip


def _recorder(options: Record, cassette: Path, model: Options) -> RecordingProvider:
    inner = make_provider(str(options.provider), **model)
    return RecordingProvider(inner, cassette, date=options.date, note=options.note, overwrite=options.overwrite)


def can_write(options: Record, system: str) -> bool:
    """Whether the whole writing of programs is recorded, rather than answers to single prompts."""
    return options.prompts is None and options.number is None and system in WRITERS


def _done(count: int, label: str, hash: str, cassette: Path) -> str:
    return f"Recorded {count} candidate{'s' * (count != 1)} for {label or 'a prompt'} ({hash}) in {cassette}"
