"""What goes to a language model and what comes back: chat requests, completions, and the hash of a prompt."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

Role = Literal["system", "user", "assistant"]
Record = TypeVar("Record")

HASHED = ("temperature", "top_p", "max_tokens", "stop")
"""Settings that count into a prompt's hash, beside its messages."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Raises:
        ValueError: an unknown role.
        TypeError: content that is not text.
    """

    role: Role
    """Who speaks."""
    content: str
    """What is said; surrogates that UTF-8 can't carry become "?"."""

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ValueError(f"Expected a role of {', '.join(map(repr, get_args(Role)))}, got {self.role!r}.")
        if not isinstance(self.content, str):
            raise TypeError(f"Expected a message's content as text, got {type(self.content).__name__}.")
        object.__setattr__(self, "content", clean(self.content))


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A conversation to be continued, and how to sample the continuation.

    Raises:
        ValueError: no message, or a setting out of its range.
        TypeError: a setting of another type.

    Example:
        >>> request = ChatRequest.ask("Write a reward.", system="You write torch.", temperature=0.5, n=4)
        >>> [message.role for message in request.messages], request.n
        (['system', 'user'], 4)
    """

    messages: tuple[Message, ...]
    """The conversation, oldest first."""
    model: str = ""
    """The model to ask; empty for the provider's own."""
    temperature: float | None = 1.0
    """Sampling temperature in [0, 2]; None leaves it to the model, as some reasoning models demand."""
    top_p: float | None = None
    """Nucleus in (0, 1]; None leaves it to the model."""
    max_tokens: int = 4096
    """The most tokens one candidate may have, hidden reasoning included."""
    stop: tuple[str, ...] = ()
    """Texts that end a candidate."""
    seed: int | None = None
    """For servers that sample reproducibly; candidate i of a server without `n` uses seed + i."""
    n: int = 1
    """Candidates."""
    label: str = ""
    """What asks, as `cairn reward record` takes it, e.g. a task's id; for errors and transcripts, never sent."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(_message(item) for item in self.messages))
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if not self.messages:
            raise ValueError('Expected at least one message, got none: ChatRequest.ask("…") makes a request from text.')
        _check_number("temperature", self.temperature, 0.0, 2.0)
        _check_number("top_p", self.top_p, 0.0, 1.0)
        for name in ("max_tokens", "n"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Expected {name} as an integer, got {value!r}.")
            if value < 1:
                raise ValueError(f"Expected {name} >= 1, got {value}.")

    @classmethod
    def ask(cls, prompt: str, *, system: str = "", **settings: Any) -> ChatRequest:
        """A request of one user message, after a system message where `system` is given."""
        opening = (Message("system", system),) if system else ()
        return cls(messages=(*opening, Message("user", prompt)), **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that count into the hash, as JSON has them: 1 and 1.0 are one temperature."""
        numbers = {name: None if (value := getattr(self, name)) is None else float(value) for name in HASHED[:2]}
        return {**numbers, "max_tokens": self.max_tokens, "stop": list(self.stop)}

    @property
    def hash(self) -> str:
        """The prompt's hash; see `prompt_hash`."""
        return prompt_hash(self)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {**asdict(self), "messages": [asdict(message) for message in self.messages], "stop": list(self.stop)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChatRequest:
        """The request that `to_json` gave; unknown keys are an error.

        Raises:
            ValueError: keys missing or unknown.
        """
        return _build(cls, data)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens that were paid for."""

    prompt_tokens: int = 0
    """Tokens read."""
    completion_tokens: int = 0
    """Tokens written, hidden reasoning included."""

    @property
    def total(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a completion comes from."""

    source: str
    """What answered: an endpoint's base URL, "written by hand", …"""
    date: str = ""
    """When, as whoever recorded it said, e.g. "2026-01-31"."""
    note: str = ""
    """Anything a reader should know."""
    recording: str = ""
    """Cassette and line it was replayed from; empty where the model answered just then."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The candidates that answer one request."""

    texts: tuple[str, ...]
    """One text a candidate; empty where the model said nothing."""
    finish_reasons: tuple[str, ...]
    """Why each ended: "stop", "length" (cut off at `max_tokens`), "content_filter", "refusal", …"""
    model: str
    """The model that answered, as it names itself."""
    provenance: Provenance
    """Where the completion comes from."""
    usage: Usage = field(default_factory=Usage)
    """Tokens paid for all candidates together."""

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.finish_reasons) or not self.texts:
            raise ValueError(
                f"Expected one finish reason for each text, and a text at least, got {len(self.texts)} texts and "
                f"{len(self.finish_reasons)} finish reasons."
            )
        object.__setattr__(self, "texts", tuple(map(clean, self.texts)))
        object.__setattr__(self, "finish_reasons", tuple(self.finish_reasons))

    @property
    def text(self) -> str:
        """The first candidate."""
        return self.texts[0]

    @property
    def truncated(self) -> tuple[bool, ...]:
        """Which candidates were cut off at `max_tokens`."""
        return tuple(reason == "length" for reason in self.finish_reasons)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {**asdict(self), "texts": list(self.texts), "finish_reasons": list(self.finish_reasons)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Completion:
        """The completion that `to_json` gave; unknown keys are an error.

        Raises:
            ValueError: keys missing or unknown.
        """
        parts = {"usage": Usage, "provenance": Provenance}
        return _build(cls, {key: _build(parts[key], item) if key in parts else item for key, item in data.items()})


def prompt_hash(request: ChatRequest) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a prompt's canonical JSON.

    That is the object `{"max_tokens", "messages", "stop", "temperature", "top_p"}` with keys sorted at every level, no
    spaces, ASCII only, numbers as floats except `max_tokens`, and null for what is left to the model. The model, the
    seed, the number of candidates and the label do not count: another model's answer may replace a recording, and more
    candidates are more answers to one prompt.

    Example:
        >>> prompt_hash(ChatRequest.ask("Hello")) == prompt_hash(ChatRequest.ask("Hello", model="other", n=3, seed=1))
        True
    """
    content = {**request.settings, "messages": [asdict(message) for message in request.messages]}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def clean(text: str) -> str:
    """`text` without lone surrogates, which a model that stops within an emoji leaves and UTF-8 can't carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def first_lines(request: ChatRequest, lines: int = 3, width: int = 100) -> str:
    """The first non-empty lines of the last message, cut to `width`, to tell a person which prompt is meant."""
    filled = [line.strip() for line in request.messages[-1].content.splitlines() if line.strip()]
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in filled[:lines])


def _message(item: Message | Mapping[str, Any]) -> Message:
    return item if isinstance(item, Message) else _build(Message, item)


def _build(record: type[Record], data: Mapping[str, Any]) -> Record:
    if not isinstance(data, Mapping):
        raise ValueError(f"Expected a {record.__name__} as a JSON object, got {type(data).__name__}.")
    names: Iterable[str] = [item.name for item in fields(record)]  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(names))
    if unknown:
        raise ValueError(f"A {record.__name__} has no {unknown[0]!r}. Valid: {', '.join(names)}.")
    try:
        return record(**data)
    except TypeError as error:
        raise ValueError(f"Expected a whole {record.__name__}: {error}.") from None


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Expected {name} as a number or None, got {value!r}.")
    if not low <= value <= high or (name == "top_p" and value == 0) or not math.isfinite(value):
        raise ValueError(f"Expected {name} in {'(' if name == 'top_p' else '['}{low:g}, {high:g}], got {value}.")
