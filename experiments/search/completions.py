"""Completions that are kept as they come, so that a search that goes on asks nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cairngym.experiments.overlay import write_text
from cairngym.experiments.runfolder import disk_full
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Usage
from cairngym.reward_shaping.llm.provider import MissingRecordingError, Provider
from cairngym.reward_shaping.llm.recorded import RecordedProvider, Recording
from cairngym.reward_shaping.llm.recording import record
from cairngym.reward_shaping.llm.transcript import parse_lines


class KeepingProvider(Provider):
    """Asks another provider what is not in a cassette yet, and keeps every answer there before it is used.

    The k-th time a prompt is asked gives the k-th answer kept for it, so that whoever asks the same questions in the
    same order again gets the same answers. The cassette can be replayed with "recorded:PATH".

    Args:
        inner: who answers; left open.
        cassette: the JSONL file; a last line that a crash left unfinished is dropped.
        used: how many of the exchanges in the cassette, from the first, will not be asked again.

    Raises:
        ValueError: a line of the cassette is no recording.
    """

    def __init__(self, inner: Provider, cassette: Path, *, used: int = 0) -> None:
        super().__init__()
        self.inner, self.cassette = inner, cassette
        self._kept: dict[str, list[Completion]] = {}
        recordings = read_completions(cassette)
        for kept in recordings:
            self._kept.setdefault(kept.request.hash, []).append(kept.completion)
        self._given = Counter(kept.request.hash for kept in recordings[:used])
        if isinstance(inner, RecordedProvider):  # go on after the candidates that were served before
            served = {hash: sum(len(one.texts) for one in kept) for hash, kept in self._kept.items()}
            inner.set_state({**inner.get_state(), **served})

    def keeps(self, request: ChatRequest) -> bool:
        """Whether the prompt was answered before, in this process or an earlier one."""
        return request.hash in self._kept

    async def complete(self, request: ChatRequest) -> Completion:
        """The kept answer, or a new one.

        Raises:
            ProviderError: the inner provider's.
            DiskFullError: the answer can't be kept.
        """
        given = self._given[request.hash]
        kept = self._kept.get(request.hash, [])
        if given < len(kept):
            completion = kept[given]
        else:
            completion = await self.inner.complete(request)
            with disk_full(self.cassette):
                record(self.cassette, request, completion)
            self._kept.setdefault(request.hash, []).append(completion)
        self._given[request.hash] = given + 1
        return completion


@dataclass(frozen=True)
class Answered:
    """A prompt with its candidates."""

    request: ChatRequest
    completion: Completion
    generic: bool
    """Whether the prompt without figures was answered, since there is no recording for the one with them."""


def ask(provider: KeepingProvider, exact: ChatRequest, generic: ChatRequest | None = None) -> Answered:
    """Ask a prompt, or in its place a generic one where a provider of recordings has no answer to it.

    Figures of training differ between machines, so that a prompt which quotes them may be recorded on one machine and
    be unknown on another.

    Args:
        provider: who answers.
        exact: the prompt.
        generic: the same request without figures; None if there is none.

    Raises:
        MissingRecordingError: neither is recorded.
        ProviderError: the provider's.
    """
    if generic is None or not isinstance(provider.inner, RecordedProvider):
        return Answered(exact, provider.complete_sync(exact), generic=False)
    if provider.keeps(generic) and not provider.keeps(exact):  # as it was decided before
        return Answered(generic, provider.complete_sync(generic), generic=True)
    try:
        return Answered(exact, provider.complete_sync(exact), generic=False)
    except MissingRecordingError:
        return Answered(generic, provider.complete_sync(generic), generic=True)


def read_completions(cassette: Path) -> list[Recording]:
    """The exchanges in a cassette, in order; none where there is no file. An unfinished last line is cut off.

    Raises:
        ValueError: another line that is no recording.
    """
    if not cassette.exists():
        return []
    text = cassette.read_text(encoding="utf-8", errors="replace")
    *whole, last = text.split("\n")
    if last and not _is_json(last):
        text = "".join(f"{line}\n" for line in whole)
        with disk_full(cassette):
            write_text(cassette, text)
    return [Recording.from_json(found, f"{cassette.name}:{n}") for n, found in parse_lines(text, str(cassette))]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def usage(recordings: list[Recording]) -> Usage:
    """Tokens that were paid for answers; recordings that were replayed cost none."""
    return sum((one.completion.usage for one in recordings), Usage())
