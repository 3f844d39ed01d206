"""Reading what an endpoint sends: chat completions, whole or streamed, and its errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Literal

from cairngym.reward_shaping.llm.config import EndpointConfig
from cairngym.reward_shaping.llm.messages import ChatRequest, Usage
from cairngym.reward_shaping.llm.provider import BadResponseError, EndpointError, RefusedError, UnreachableError
from cairngym.reward_shaping.llm.transcript import NO_SECRET, Secret

Json = Mapping[str, Any]
UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
"""Failures of the HTTP client before anything of the request was sent."""


@dataclass(frozen=True)
class Answer:
    """The candidates of one HTTP response."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    usage: Usage | None
    model: str


@dataclass
class Candidate:
    """One candidate, as it comes."""

    text: str = ""
    refusal: str = ""
    """What the model says in its stead."""
    finish_reason: str = ""

    def add(self, choice: Any, part: Literal["message", "delta"]) -> None:
        """Take in a choice of a response ("message") or a piece of one ("delta").

        Raises:
            BadResponseError: it is malformed.
        """
        message = choice.get(part) if isinstance(choice, dict) else None
        if message is None and part == "delta" and isinstance(choice, dict):
            message = {}
        if not isinstance(message, dict):
            raise _malformed(f"a choice without a {part}: {_short(str(choice))}")
        content = message.get("content") or ""
        if isinstance(content, list):  # the protocol also allows a list of parts
            content = "".join(str(item.get("text") or "") for item in content if isinstance(item, dict))
        if not isinstance(content, str):
            raise _malformed(f"content that is no text: {_short(str(content))}")
        self.text += content
        self.refusal += str(message.get("refusal") or "")
        self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)

    def end(self) -> tuple[str, str]:
        """The text and why it ended."""
        if self.refusal and not self.text:
            return self.refusal, "refusal"
        return self.text, self.finish_reason or "unknown"


def payload(request: ChatRequest, model: str, config: EndpointConfig) -> dict[str, Any]:
    """The arguments of the client's `create`; what is left to the model is left out."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        config.limit_field: request.max_tokens,
    }
    optional = {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
    body |= {name: value for name, value in optional.items() if value is not None}
    if request.n > 1:
        body["n"] = request.n
    if request.stop:
        body["stop"] = list(request.stop)
    if config.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return {**body, "extra_body": dict(config.extra_body) or None}


def read_answer(body: str, content_type: str) -> Answer:
    """Read a whole response.

    Raises:
        BadResponseError: it is no chat completion.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        if "json" not in content_type:
            raise BadResponseError(
                f"Expected a chat completion in JSON, got {content_type or 'no content type'}: {_short(body)}. Is the "
                "base_url right? It usually ends in /v1.",
            ) from None
        raise _malformed(f"malformed JSON: {_short(body)}") from None
    if not isinstance(data, dict):
        raise _malformed(f"JSON that is no object: {_short(body)}")
    _check_error(data)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _malformed(f"one without choices: {_short(body)}")
    candidates = [Candidate() for _ in choices]
    for candidate, choice in zip(candidates, choices, strict=True):
        candidate.add(choice, "message")
    return _answer(candidates, _usage(data), str(data.get("model") or ""))


async def read_stream(chunks: AsyncIterator[Any], secret: Secret = NO_SECRET) -> Answer:
    """Put a streamed response together, without `secret` in errors.

    Raises:
        BadResponseError: a chunk is malformed, none has a choice, or the stream ended within a candidate.
    """
    candidates: dict[int, Candidate] = {}
    usage, model = None, ""
    async for chunk in chunks:
        data = chunk.to_dict(warnings=False) if hasattr(chunk, "to_dict") else chunk
        data = json.loads(secret.redact(json.dumps(data)))
        if not isinstance(data, dict):
            raise _malformed(f"a chunk that is no JSON object: {_short(str(data))}")
        _check_error(data)
        usage, model = _usage(data) or usage, str(data.get("model") or model)
        choices = data.get("choices") or []
        if not isinstance(choices, list):
            raise _malformed(f"choices that are no list: {_short(str(choices))}")
        for choice in choices:
            index = choice.get("index") if isinstance(choice, dict) else None
            candidates.setdefault(index if isinstance(index, int) else 0, Candidate()).add(choice, "delta")
    if not candidates:
        raise _malformed("a stream without choices")
    if not all(candidate.finish_reason for candidate in candidates.values()):
        raise _malformed("a stream that broke off within a candidate")
    return _answer([candidates[index] for index in sorted(candidates)], usage, model)


def read_error(error: Exception, config: EndpointConfig, secret: Secret = NO_SECRET) -> EndpointError:
    """Say what an exception of the client means, whether to try again, and what to do about it, without `secret`.

    Raises:
        Exception: `error` itself, where it is no failure of the exchange.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        return _refused(error, config, secret)
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return UnreachableError(
            f"No answer from {config.base_url} within {config.timeout:g} s. Raise timeout, lower max_tokens, or replay "
            "packaged completions with the provider 'recorded:'.",
            retryable=True,
            billed=type(error.__cause__).__name__ not in UNSENT,
        )
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__
        return UnreachableError(
            f"Could not reach {config.base_url} ({cause}: {_short(str(error.__cause__))}). Is the server running, and "
            "the base_url right? Without an endpoint, replay packaged completions with the provider 'recorded:'.",
            retryable=True,
            billed=cause not in UNSENT,
        )
    if isinstance(error, EndpointError):
        return error
    if isinstance(error, (openai.APIError, json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
        return _malformed(f"{type(error).__name__}: {_short(secret.redact(str(error)))}")
    raise error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response's `Retry-After-Ms` or `Retry-After` asks to wait, by number or date; None if neither."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time()
            except (ValueError, OverflowError):
                continue
        if seconds == seconds:  # NaN asks for nothing
            return max(0.0, seconds)
    return None


def _refused(error: Any, config: EndpointConfig, secret: Secret) -> RefusedError:
    status = error.status_code
    said = error.body.get("message") if isinstance(error.body, dict) else None
    quota = error.code == "insufficient_quota"
    return RefusedError(
        f"{config.base_url} refused with HTTP {status}: {_short(secret.redact(str(said or error.message)))}."
        f"{_advice(status, config)}",
        status=status,
        retryable=(status == 429 and not quota) or status >= 500,
        retry_after=retry_after(error.response.headers),
    )


def _advice(status: int, config: EndpointConfig) -> str:
    if status in (401, 403) and not config.api_key_env:
        return " No key was sent: name the environment variable that holds it by api_key_env."
    if status in (401, 403):
        return f" Check the key in the environment variable {config.api_key_env}."
    if status == 404:
        return f" Check the model's name, {config.model!r}, and the base_url, which usually ends in /v1."
    return ""


def _answer(candidates: list[Candidate], usage: Usage | None, model: str) -> Answer:
    ends = [candidate.end() for candidate in candidates]
    return Answer(tuple(text for text, _ in ends), tuple(reason for _, reason in ends), usage, model)


def _usage(data: Json) -> Usage | None:
    found = data.get("usage")
    if not isinstance(found, dict):
        return None
    read, written = found.get("prompt_tokens"), found.get("completion_tokens")
    if not isinstance(read, int) or not isinstance(written, int) or min(read, written) < 0:
        return None
    return Usage(prompt_tokens=read, completion_tokens=written)


def _check_error(data: Json) -> None:
    error = data.get("error")
    if error:
        raise _malformed(f"an error: {_short(str(error.get('message') if isinstance(error, dict) else error))}")


def _malformed(what: str) -> BadResponseError:
    """The endpoint's fault, which may pass; it may have written tokens all the same."""
    return BadResponseError(f"Expected a chat completion, got {what}.", retryable=True, billed=True)


def _short(text: str, width: int = 300) -> str:
    line = " ".join(text.split())
    return repr(line) if len(line) <= width else repr(line[:width]) + "…"
