"""Writing cassettes: what a model answered, or a person, with where it comes from."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

from cairngym.envs.files import replacing
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Provenance
from cairngym.reward_shaping.llm.provider import Provider
from cairngym.reward_shaping.llm.transcript import append_line, parse_lines


class RecordingProvider(Provider):
    """Asks another provider and writes what it answers to a cassette.

    Args:
        inner: who answers.
        cassette: the JSONL file to append to.
        date: when this is, for the provenance, e.g. "2026-01-31".
        note: anything else that a reader of the cassette should know.
        overwrite: replace what the cassette holds for a prompt the first time it is asked; otherwise answers are added
            to it as further candidates.

    Raises:
        ValueError: no date.
    """

    def __init__(
        self, inner: Provider, cassette: str | Path, *, date: str, note: str = "", overwrite: bool = False
    ) -> None:
        super().__init__()
        if not date:
            raise ValueError("Expected the date of the recording, such as '2026-01-31', got none.")
        self.inner, self.cassette, self.date, self.note = inner, Path(cassette), date, note
        self.overwrite = overwrite
        self._fresh: set[str] = set()
        self._lock = threading.Lock()

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask, and write the answer down.

        Raises:
            ProviderError: the inner provider's.
            OSError: the cassette can't be written.
        """
        completion = await self.inner.complete(request)
        stated = replace(completion.provenance, date=self.date, note=self.note or completion.provenance.note)
        completion = replace(completion, provenance=stated)
        with self._lock:
            if self.overwrite and request.hash not in self._fresh:
                remove_recordings(self.cassette, request.hash)
            self._fresh.add(request.hash)
            record(self.cassette, request, completion)
        return completion

    def close(self) -> None:
        """Close both this and the inner provider."""
        super().close()
        self.inner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r}, {str(self.cassette)!r})"


def record(cassette: str | Path, request: ChatRequest, completion: Completion) -> None:
    """Append an exchange to a cassette.

    Raises:
        OSError: the cassette can't be written; it is as it was.
    """
    line = {"hash": request.hash, "request": request.to_json(), "completion": completion.to_json()}
    append_line(Path(cassette), line)


def record_texts(
    cassette: str | Path, request: ChatRequest, texts: tuple[str, ...], *, source: str, date: str, note: str = ""
) -> Completion:
    """Append candidates that came by another way than a provider, such as pasted from a chat, unedited.

    Args:
        cassette: the JSONL file.
        request: the prompt that they answer.
        texts: the candidates, in order.
        source: who or what wrote them; also taken as the model's name.
        date: when.
        note: anything else that a reader of the cassette should know.

    Raises:
        ValueError: no text.
        OSError: the cassette can't be written.
    """
    completion = Completion(
        texts=tuple(texts),
        finish_reasons=("stop",) * len(texts),
        model=request.model or source,
        provenance=Provenance(source=source, date=date, note=note),
    )
    record(cassette, request, completion)
    return completion


def remove_recordings(cassette: str | Path, hash: str) -> int:
    """Delete what a cassette holds for a prompt; the file is replaced whole. Returns how many lines went.

    Raises:
        ValueError: a line that is no JSON object.
    """
    path = Path(cassette)
    if not path.exists():
        return 0
    text = path.read_text(encoding="utf-8")
    gone = {number for number, found in parse_lines(text, str(path)) if found.get("hash") == hash}
    if gone:
        kept = [line for number, line in enumerate(text.split("\n"), start=1) if number not in gone]
        mode = path.stat().st_mode
        with replacing(path) as file:
            os.chmod(file.fileno(), mode)
            file.write("\n".join(kept).encode())
    return len(gone)
