"""The one interface to a language model, and `make_provider`, which makes one from a line of text."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, overload
from urllib.parse import urlsplit

from cairngym.envs.checks import check_options, unknown_name
from cairngym.reward_shaping.llm.event_loop import EventLoopThread
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion

OPENAI_URL = "https://api.openai.com/v1"
FORMS = ("recorded:", "recorded:PATH", "openai:MODEL", "endpoint:URL#MODEL")


class ProviderError(RuntimeError):
    """A completion that can't be had; whoever asked can go on without it."""


class MissingKeyError(ProviderError):
    """The environment variable that holds the API key is not set."""


class BudgetExhausted(ProviderError):  # noqa: N818 (a state, not a mistake)
    """A request that could cost more than is left was not sent."""


class MissingRecordingError(ProviderError):
    """No recording, or none that is left, answers a prompt.

    Args:
        message: what is missing and how to record it.
        hash: the prompt's.
    """

    def __init__(self, message: str, hash: str) -> None:
        super().__init__(message)
        self.hash = hash


class EndpointError(ProviderError):
    """An endpoint that gave no completion.

    Args:
        message: what happened and what to do.
        status: of the HTTP response, None where there was none.
        retryable: whether the same request may succeed later.
        retry_after: seconds to wait that the endpoint asked for.
        billed: whether the endpoint may have written tokens that the caller pays for.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.retryable, self.retry_after, self.billed = status, retryable, retry_after, billed


class UnreachableError(EndpointError):
    """No answer: the connection failed or broke, or time ran out."""


class RefusedError(EndpointError):
    """The endpoint answered with an HTTP error."""


class BadResponseError(EndpointError):
    """The endpoint answered with something that is no chat completion."""


class Provider(ABC):
    """Answers chat requests, from a model or from recordings.

    Requests run on the provider's own thread, so that it serves coroutines of any event loop and plain code alike, from
    several threads at once. `close` it, or use it in a `with` block, to end the thread before the process does.
    """

    def __init__(self) -> None:
        self._thread = EventLoopThread(type(self).__name__)

    @abstractmethod
    async def complete(self, request: ChatRequest) -> Completion:
        """Answer a request; `request.n` candidates.

        Raises:
            ProviderError: no completion can be had.
        """

    @overload
    async def complete_all(self, requests: Iterable[ChatRequest]) -> list[Completion]: ...

    @overload
    async def complete_all(
        self, requests: Iterable[ChatRequest], *, return_errors: Literal[False]
    ) -> list[Completion]: ...

    @overload
    async def complete_all(
        self, requests: Iterable[ChatRequest], *, return_errors: bool
    ) -> list[Completion | ProviderError]: ...

    async def complete_all(
        self, requests: Iterable[ChatRequest], *, return_errors: bool = False
    ) -> list[Completion] | list[Completion | ProviderError]:
        """Answer requests, as many at a time as the provider allows; answers come in the requests' order.

        Args:
            requests: what to ask.
            return_errors: give a `ProviderError` in the place of a completion, rather than raise it.

        Raises:
            ProviderError: the first to occur, unless they are returned; what was still under way is cancelled.
        """
        tasks = [asyncio.ensure_future(self.complete(request)) for request in requests]
        try:
            if not return_errors:
                return list(await asyncio.gather(*tasks))
            return [await _answer_or_error(task) for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def submit(self, request: ChatRequest) -> Future[Completion]:
        """Ask, and come back at once; `.result()` of what is returned waits, `.cancel()` gives up."""
        return self._thread.submit(self.complete(request))

    def complete_sync(self, request: ChatRequest) -> Completion:
        """`complete` for plain code, also within a running event loop (a notebook's), which waits meanwhile.

        Raises:
            ProviderError: no completion can be had.
        """
        return self._thread.run(self.complete(request))

    def complete_all_sync(self, requests: Iterable[ChatRequest]) -> list[Completion]:
        """`complete_all` for plain code.

        Raises:
            ProviderError: the first to occur.
        """
        return self._thread.run(self.complete_all(list(requests)))

    def close(self) -> None:
        """Give up what is under way, and end the provider's thread; a later request starts another."""
        self._thread.close()

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def make_provider(spec: str, *, transcript: str | Path | None = None, **options: Any) -> Provider:
    """Make a provider.

    Args:
        spec: "recorded:" (the packaged cassettes), "recorded:PATH" (a cassette or a folder of them), "openai:MODEL"
            (hosted by OpenAI, key in OPENAI_API_KEY) or "endpoint:URL#MODEL" (anything that speaks the protocol: vLLM,
            Ollama, llama.cpp, a proxy; `api_key_env` names the variable that holds its key, if it takes one).
        transcript: the JSONL file that every exchange with an endpoint is appended to.
        options: the fields of `EndpointConfig`, or `RecordedProvider`'s options.

    Raises:
        UnknownNameError: another kind of provider, or no cassette of that name.
        ValueError: a part of `spec` is missing, or an option out of its range.
        TypeError: an option that the provider does not have.
        MissingKeyError: the variable that should hold the key is not set.

    Example:
        >>> make_provider("endpoint:http://localhost:11434/v1#qwen3", token_budget=100_000)
        EndpointProvider('http://localhost:11434/v1', model='qwen3')
    """
    kind, colon, rest = spec.partition(":")
    if kind == "recorded" and colon:
        from cairngym.reward_shaping.llm.recorded import RecordedProvider

        check_options("The provider 'recorded:'", options, ("repeat",))
        return RecordedProvider(rest or None, **options)
    if kind == "openai" and rest:
        defaults = {"api_key_env": "OPENAI_API_KEY", "limit_field": "max_completion_tokens"}
        return _endpoint(OPENAI_URL, rest, transcript, {**defaults, **options})
    if kind == "endpoint":
        url, _, model = rest.partition("#")
        if not url or not model:
            raise ValueError(
                f"Expected 'endpoint:URL#MODEL', such as 'endpoint:http://localhost:8000/v1#qwen3', got {spec!r}: "
                f"no {'model' if url else 'URL'}."
            )
        return _endpoint(url, model, transcript, options)
    raise _unknown(spec)


def opened(provider: str | Provider) -> contextlib.AbstractContextManager[Provider]:
    """A provider made from a line of text, closed when the `with` block ends; one that is given stays open."""
    return make_provider(provider) if isinstance(provider, str) else contextlib.nullcontext(provider)


def _endpoint(url: str, model: str, transcript: str | Path | None, options: dict[str, Any]) -> Provider:
    from cairngym.reward_shaping.llm.config import EndpointConfig
    from cairngym.reward_shaping.llm.endpoint import EndpointProvider

    valid = sorted(set(EndpointConfig.__dataclass_fields__) - {"base_url", "model", "transcript"})
    check_options("An endpoint", options, valid)
    path = None if transcript is None else Path(transcript)
    return EndpointProvider(EndpointConfig(base_url=url, model=model, transcript=path, **options))


def _unknown(spec: str) -> Exception:
    if spec == "openai:":
        return ValueError("Expected 'openai:MODEL', got 'openai:': no model.")
    if urlsplit(spec).scheme in ("http", "https"):
        return ValueError(f"Expected a kind of provider before the URL: 'endpoint:{spec.split('#')[0]}#MODEL'.")
    if spec.startswith(("gpt-", "o1", "o3", "o4")):
        return ValueError(f"Expected a kind of provider before the model: 'openai:{spec}'.")
    with contextlib.suppress(OSError, ValueError):
        if spec and Path(spec).exists():
            return ValueError(f"Expected a kind of provider before the path: 'recorded:{spec}'.")
    return unknown_name("provider", spec, FORMS)


async def _answer_or_error(task: asyncio.Future[Completion]) -> Completion | ProviderError:
    try:
        return await task
    except ProviderError as error:
        return error
