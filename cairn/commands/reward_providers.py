"""Providers that `cairn reward` puts around others: one keeps a transcript, one begins, one fills gaps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Provenance
from cairngym.reward_shaping.llm.provider import MissingRecordingError, Provider, ProviderError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record


class NotAskedError(ProviderError):
    """There is nobody to ask.

    Args:
        request: what would have been asked.
    """

    def __init__(self, request: ChatRequest) -> None:
        super().__init__("nobody was asked for a repair, since a pasted completion comes without a provider")
        self.request = request


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What was asked, and what came back."""

    request: ChatRequest
    completion: Completion | None
    """None where there was no answer."""


class NotingProvider(Provider):
    """Notes what is asked of another provider, and what it answers.

    Args:
        inner: who answers; None knows no answer.
        transcript: a cassette that answers are appended to; None writes none.
    """

    def __init__(self, inner: Provider | None, transcript: Path | None = None) -> None:
        super().__init__()
        self.inner, self.transcript = inner, transcript
        self.exchanges: list[Exchange] = []
        self._lock = threading.Lock()

    async def complete(self, request: ChatRequest) -> Completion:
        """Pass a request on.

        Raises:
            ProviderError: the inner provider's, or there is none.
        """
        try:
            if self.inner is None:
                raise NotAskedError(request)
            completion = await self.inner.complete(request)
        except ProviderError:
            self.exchanges.append(Exchange(request=request, completion=None))
            raise
        with self._lock:
            self.exchanges.append(Exchange(request=request, completion=completion))
            if self.transcript is not None:
                record(self.transcript, request, completion)
        return completion

    def provenance(self, request: ChatRequest, text: str) -> tuple[str, Provenance] | None:
        """The model that gave this answer to a request, and where it comes from; None where it was not asked here."""
        for exchange in self.exchanges:
            completion = exchange.completion
            if completion is not None and exchange.request.hash == request.hash and text in completion.texts:
                return completion.model, completion.provenance
        return None


class BegunProvider(Provider):
    """Gives one answer to a first prompt, and passes what is asked afterwards on.

    Args:
        inner: who is asked afterwards.
        request: the first prompt.
        completion: of which one candidate is given.
        candidate: which.
    """

    def __init__(self, inner: Provider, request: ChatRequest, completion: Completion, candidate: int) -> None:
        super().__init__()
        self.inner, self.hash = inner, request.hash
        text, reason = completion.texts[candidate], completion.finish_reasons[candidate]
        self.completion = replace(completion, texts=(text,), finish_reasons=(reason,))

    async def complete(self, request: ChatRequest) -> Completion:
        """The answer, or the inner provider's to another request.

        Raises:
            ProviderError: the inner provider's.
        """
        return self.completion if request.hash == self.hash else await self.inner.complete(request)


class GapProvider(Provider):
    """Replays recordings, and asks another provider what they do not answer.

    Args:
        recordings: asked first.
        inner: who answers the rest.
    """

    def __init__(self, recordings: RecordedProvider, inner: Provider) -> None:
        super().__init__()
        self.recordings, self.inner = recordings, inner

    async def complete(self, request: ChatRequest) -> Completion:
        """The recorded answer where there is one.

        Raises:
            ProviderError: the other provider's.
        """
        try:
            return await self.recordings.complete(request)
        except MissingRecordingError:
            return await self.inner.complete(request)

    def close(self) -> None:
        """Close both others as well."""
        super().close()
        self.recordings.close()
        self.inner.close()


def pasted(files: Sequence[Path]) -> Completion:
    """The texts of files as candidates, unedited.

    Raises:
        ValueError: a file that is no text.
        OSError: a file that can't be read.
    """
    texts = tuple(read_text(path) for path in files)
    return Completion(
        texts=texts, finish_reasons=("stop",) * len(texts), model="", provenance=Provenance(source="pasted"),
    )  # fmt: skip


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        ValueError: it is no text.
        OSError: it can't be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of text, found none at {path}.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected text in UTF-8 in {path}: {error}.") from None


def replayed(spec: str) -> RecordedProvider:
    """Recordings, from "recorded:" or "recorded:PATH".

    Raises:
        ValueError: another kind of provider.
        UnknownNameError: no such cassette.
    """
    kind, colon, rest = spec.partition(":")
    if kind != "recorded" or not colon:
        raise ValueError(f"Expected --after as recorded: or recorded:PATH, got {spec!r}; answers come from recordings.")
    return RecordedProvider(rest or None)
