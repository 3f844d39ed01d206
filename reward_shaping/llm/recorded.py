"""Completions replayed from cassettes, so that no model is needed to run what a model wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from cairngym.envs.checks import unknown_name
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Usage, first_lines
from cairngym.reward_shaping.llm.provider import MissingRecordingError, Provider
from cairngym.reward_shaping.llm.transcript import parse_lines


class Source(Protocol):
    """A file, on disk or in a wheel."""

    @property
    def name(self) -> str:
        """Its name, without folders."""

    def read_text(self, encoding: str | None = None) -> str:
        """What it holds."""


@dataclass(frozen=True)
class Recording:
    """One line of a cassette: a request, its candidates, and where they come from."""

    place: str
    """Cassette and line."""
    request: ChatRequest
    completion: Completion

    @classmethod
    def from_json(cls, record: Mapping[str, Any], place: str) -> Recording:
        """Read a line `{"hash", "request", "completion"}`.

        Raises:
            ValueError: it is malformed, or its prompt is not the one that the hash was made of.
        """
        try:
            request = ChatRequest.from_json(record["request"])
            completion = Completion.from_json(record["completion"])
            stored = record["hash"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"Expected a recording with hash, request and completion at {place}, got one with a fault: "
                f"{type(error).__name__}: {error}. Record it again with {record_command(None)}."
            ) from None
        if stored != request.hash:
            raise ValueError(
                f"Expected the hash {request.hash} for the prompt at {place}, got {stored}: the prompt or its settings "
                f"were edited after the recording. Record it again with {record_command(request)}."
            )
        return cls(place, request, completion)


class RecordedProvider(Provider):
    """Replays recordings by prompt hash; a prompt's candidates are served in their order in the cassettes.

    Candidates are not served twice: an answer asked for anew must not be the last one again, unseen. Where the same
    question means the same answer, `repeat=True` starts again from the first.

    Args:
        source: the name of a packaged cassette, a cassette of your own (JSONL), or a folder of some, read in order of
            their names; None for all that are packaged in `cairngym/configs/llm`.
        repeat: start again where all candidates have been served.

    Raises:
        UnknownNameError: no such file, folder or packaged cassette.
        FileNotFoundError: a folder without cassettes.
        ValueError: a cassette that can't be read, by file and line.
    """

    def __init__(self, source: str | Path | None = None, *, repeat: bool = False) -> None:
        super().__init__()
        self.source, self.repeat = source, repeat
        self._recordings: dict[str, list[Recording]] = {}
        for cassette in _cassettes(source):
            for recording in read_cassette(cassette):
                self._recordings.setdefault(recording.request.hash, []).append(recording)
        self._served: dict[str, int] = {}

    @property
    def hashes(self) -> tuple[str, ...]:
        """The prompts that can be answered."""
        return tuple(self._recordings)

    async def complete(self, request: ChatRequest) -> Completion:
        """The next `request.n` candidates for a prompt.

        Raises:
            MissingRecordingError: there are none, or fewer than that are left.
        """
        recordings = self._recordings.get(request.hash)
        if recordings is None:
            raise MissingRecordingError(self._missing(request), request.hash)
        places = [(found, index) for found in recordings for index in range(len(found.completion.texts))]
        begin = self._served.get(request.hash, 0)
        end = begin + request.n
        if end > len(places) and not self.repeat:
            more = record_command(request, self.source or "")
            raise MissingRecordingError(
                f"The prompt {request.hash} has {len(places)} recorded candidates, of which {begin} are served; "
                f"{request.n} more were asked for. Record more with {more}, start again with rewind(), or have them "
                f"repeated with repeat=True.\n{_quote(request)}",
                request.hash,
            )
        self._served[request.hash] = end
        return _joined([places[index % len(places)] for index in range(begin, end)])

    def rewind(self) -> None:
        """Serve every prompt's candidates from the first again."""
        self._served.clear()

    def get_state(self) -> dict[str, int]:
        """How many candidates of each prompt have been served."""
        return dict(self._served)

    def set_state(self, snapshot: Mapping[str, int]) -> None:
        """Go on from where `get_state` was taken."""
        self._served = dict(snapshot)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source or 'packaged'!r}: {len(self._recordings)} prompts)"

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "repeat": self.repeat, "served": self._served}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        RecordedProvider.__init__(self, state["source"], repeat=state["repeat"])
        self._served = dict(state["served"])

    def _missing(self, request: ChatRequest) -> str:
        where = "the packaged cassettes" if self.source is None else str(self.source)
        return (
            f"No recording in {where} answers the prompt {request.hash}, which begins\n{_quote(request)}\n"
            f"{self._nearest(request)}Record it with {record_command(request, self.source or '')}."
        )

    def _nearest(self, request: ChatRequest) -> str:
        """Where the recorded prompt that agrees longest with `request` begins to differ."""
        asked = _lines(request)
        agreed, found = 0, None
        for recordings in self._recordings.values():
            lines = _lines(recordings[0].request)
            if lines == asked:
                return _other_settings(request, recordings[0])
            same = _agreement(lines, asked)
            if same > agreed:
                agreed, found = same, recordings[0]
        if found is None:
            return ""
        ours, theirs = (lines[agreed] if agreed < len(lines) else "" for lines in (asked, _lines(found.request)))
        return f"The nearest one, {found.place}, differs from line {agreed + 1}: it has {theirs!r}, not {ours!r}.\n"


def read_cassette(cassette: Source) -> Iterator[Recording]:
    """The recordings of a cassette, in order.

    Raises:
        ValueError: a line that is no recording.
    """
    for number, record in parse_lines(cassette.read_text(encoding="utf-8"), str(cassette)):
        yield Recording.from_json(record, f"{cassette.name}:{number}")


def record_command(request: ChatRequest | None, source: str | Path | None = None) -> str:
    """The command that records what a request asks, and nothing that `source` answers already."""
    system, _, rest = (request.label if request else "").partition("/")
    task = rest.partition("/")[0]
    after = "" if source is None else f" --after recorded:{source}"
    return (
        f"`cairn reward record --task {task or 'TASK'} --system {system or 'SYSTEM'}{after} --provider openai:MODEL "
        "--date YYYY-MM-DD` (or --provider endpoint:URL#MODEL)"
    )


def _cassettes(source: str | Path | None) -> list[Source]:
    folder = files("cairngym.configs") / "llm"
    entries = folder.iterdir() if folder.is_dir() else ()
    packaged = {entry.name.removesuffix(".jsonl"): entry for entry in entries if entry.name.endswith(".jsonl")}
    if source is None:
        return [packaged[name] for name in sorted(packaged)]
    if str(source) in packaged:  # whatever else the working folder has of that name
        return [packaged[str(source)]]
    if Path(source).is_file():
        return [Path(source)]
    if not Path(source).is_dir():
        raise unknown_name("cassette, neither packaged nor a file nor a folder,", str(source), packaged)
    found = sorted(Path(source).glob("*.jsonl"))
    if not found:
        raise FileNotFoundError(f"Expected recordings (*.jsonl) in the folder {source}, got none.")
    return list(found)


def _joined(parts: list[tuple[Recording, int]]) -> Completion:
    """One completion of candidates from several recordings; its usage and provenance are those of the first."""
    first = parts[0][0]
    places = list(dict.fromkeys(recording.place for recording, _ in parts))
    return Completion(
        texts=tuple(recording.completion.texts[index] for recording, index in parts),
        finish_reasons=tuple(recording.completion.finish_reasons[index] for recording, index in parts),
        model=first.completion.model,
        provenance=replace(first.completion.provenance, recording=", ".join(places)),
        usage=Usage(),
    )


def _other_settings(request: ChatRequest, found: Recording) -> str:
    other = {name: value for name, value in found.request.settings.items() if value != request.settings[name]}
    theirs = ", ".join(f"{name}={value}" for name, value in other.items())
    ours = ", ".join(f"{name}={request.settings[name]}" for name in other)
    return f"The same messages are recorded with {theirs} ({found.place}); {ours} was asked for.\n"


def _lines(request: ChatRequest) -> list[str]:
    return [line for item in request.messages for line in (f"[{item.role}]", *item.content.split("\n"))]


def _agreement(first: list[str], second: list[str]) -> int:
    """How many lines agree before the first that does not."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def _quote(request: ChatRequest) -> str:
    return "\n".join(f"    {line}" for line in first_lines(request).split("\n"))
