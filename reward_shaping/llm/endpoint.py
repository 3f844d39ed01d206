"""Models behind an OpenAI-compatible endpoint: hosted ones, vLLM, Ollama, llama.cpp, any proxy."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cairngym.reward_shaping.llm.budget import Budget
from cairngym.reward_shaping.llm.config import EndpointConfig
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Provenance, Usage
from cairngym.reward_shaping.llm.provider import OPENAI_URL, EndpointError, Provider, ProviderError
from cairngym.reward_shaping.llm.transcript import append_line
from cairngym.reward_shaping.llm.wire import Answer, payload, read_answer, read_error, read_stream

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Exchange:
    """One request and what has come of it so far."""

    request: ChatRequest
    model: str
    answers: list[Answer] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Attempts that failed: the error, its HTTP status, and the seconds waited after it."""
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0

    @property
    def missing(self) -> int:
        """Candidates still to come."""
        return max(0, self.request.n - sum(len(answer.texts) for answer in self.answers))

    def completion(self, source: str) -> Completion:
        """What has come, cut to the number of candidates asked for."""
        return Completion(
            texts=tuple(text for answer in self.answers for text in answer.texts)[: self.request.n],
            finish_reasons=tuple(reason for answer in self.answers for reason in answer.finish_reasons)[
                : self.request.n
            ],
            model=self.answers[-1].model or self.model,
            provenance=Provenance(source=source),
            usage=self.usage,
        )


class EndpointProvider(Provider):
    """Asks a model over HTTP, with retries, bounded concurrency, a budget, and a transcript.

    Servers that know no `n` are asked again for the candidates still missing. The key stays in the client alone: it is
    neither in reprs and pickles (another process reads its own environment) nor in errors, logs or transcripts, also
    where the endpoint repeats it.

    Args:
        config: the endpoint.

    Raises:
        MissingKeyError: the variable that should hold the key is not set.
        ImportError: the package `openai` is not installed.
    """

    def __init__(self, config: EndpointConfig) -> None:
        super().__init__()
        _openai()
        self.config = config
        self._key = config.api_key()
        self._client: AsyncOpenAI | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._budget = Budget(token_budget=config.token_budget, cost_budget=config.cost_budget, prices=config.prices)

    @property
    def spent(self) -> Usage:
        """Tokens paid for so far, by all requests; answers that were lost count at their most."""
        return self._budget.spent

    @property
    def cost(self) -> float:
        """US dollars paid so far, where the model's price is known."""
        return self._budget.cost

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer a request.

        Raises:
            BudgetExhausted: it could cost more than is left, and was not sent.
            UnreachableError: no answer after all retries.
            RefusedError: an HTTP error, after all retries where it may pass.
            BadResponseError: an answer that is no chat completion.
            ProviderError: the transcript can't be written.
        """
        return await self._thread.call(self._complete(request))

    def close(self) -> None:
        """Give up what is under way, close connections, and end the thread; a later request starts anew."""
        self._thread.close(self._client.close if self._client is not None else None)
        self._client, self._slots = None, asyncio.Semaphore(self.config.concurrency)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.base_url!r}, model={self.config.model!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)

    async def _complete(self, request: ChatRequest) -> Completion:
        async with self._slots:
            exchange, begin = Exchange(request, request.model or self.config.model), perf_counter()
            error: BaseException | None = None
            try:
                while exchange.missing:
                    exchange.answers.append(await self._persist(exchange))
                return exchange.completion(self.config.base_url)
            except BaseException as caught:
                error = caught
                raise
            finally:
                self._write(exchange, error, perf_counter() - begin)

    async def _persist(self, exchange: Exchange) -> Answer:
        """Ask for the candidates that are missing, again while that may help."""
        got = exchange.request.n - exchange.missing
        seed = exchange.request.seed
        request = replace(exchange.request, n=exchange.missing, seed=None if seed is None else seed + got)
        attempt = 0
        while True:
            try:
                return await self._attempt(request, exchange)
            except EndpointError as error:
                wait = self._wait(error, attempt)
                failure = {"error": type(error).__name__, "message": str(error), "status": error.status, "wait_s": wait}
                exchange.failures.append(failure)
                if wait is None:
                    raise
                attempt += 1
                logger.warning("Attempt %d failed, the next in %.3g s: %s", attempt, wait, error)
                await asyncio.sleep(wait)

    def _wait(self, error: EndpointError, attempt: int) -> float | None:
        """Seconds until the next attempt: exponential with jitter, not before Retry-After; None to give up."""
        asked = error.retry_after or 0.0
        if not error.retryable or attempt >= self.config.retries or asked > self.config.max_retry_after:
            return None
        backoff = min(self.config.backoff * 2.0**attempt, self.config.max_backoff)
        jitter = backoff * random.uniform(0.5, 1.0)
        return asked + 0.1 * jitter if asked else jitter

    async def _attempt(self, request: ChatRequest, exchange: Exchange) -> Answer:
        reservation = await self._budget.reserve(request, exchange.model)
        usage: Usage | None = None
        try:
            answer = await self._send(request, exchange.model)
            usage = answer.usage
            return answer
        except EndpointError as error:
            usage = None if error.billed else Usage()
            raise
        finally:
            exchange.cost += self._budget.settle(reservation, usage)
            exchange.usage += reservation.usage if usage is None else usage

    async def _send(self, request: ChatRequest, model: str) -> Answer:
        try:
            async with asyncio.timeout(self.config.timeout):
                answer = await self._ask(payload(request, model, self.config))
            return replace(answer, texts=tuple(self._key.redact(text) for text in answer.texts))
        except (EndpointError, TimeoutError, ValueError, RecursionError, _openai().OpenAIError) as error:
            failure = read_error(error, self.config, self._key)
        raise failure  # out here, since the client's own error, which holds the request's headers, would be its context

    async def _ask(self, body: dict[str, Any]) -> Answer:
        create = self._connected().chat.completions
        headers = self._headers()
        if not self.config.stream:
            raw = await create.with_raw_response.create(**body, extra_headers=headers)
            return read_answer(self._key.redact(raw.http_response.text), raw.headers.get("content-type", ""))
        stream = await create.create(**body, extra_headers=headers)
        kind = stream.response.headers.get("content-type", "")
        async with stream:
            if "event-stream" in kind:
                return await read_stream(stream, self._key)
            await stream.response.aread()
            return read_answer(self._key.redact(stream.response.text), kind)

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            self._client = _openai().AsyncOpenAI(
                api_key=self._key.reveal() or "none",
                base_url=self.config.base_url,
                timeout=self.config.timeout,
                max_retries=0,
            )
        return self._client

    def _headers(self) -> dict[str, Any]:
        """Leave out what the client takes from the environment and only its maker should see."""
        names = [] if self._key else ["Authorization"]
        if self.config.base_url != OPENAI_URL:
            custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
            names += ["OpenAI-Organization", "OpenAI-Project", *(line.partition(":")[0].strip() for line in custom)]
        return {name: _openai().Omit() for name in names if name}

    def _write(self, exchange: Exchange, error: BaseException | None, seconds: float) -> None:
        if self.config.transcript is None:
            return
        came = exchange.completion(self.config.base_url).to_json() if exchange.answers else None
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "endpoint": self.config.base_url,
            "model": exchange.model,
            "hash": exchange.request.hash,
            "request": exchange.request.to_json(),
            "extra_body": dict(self.config.extra_body),
            "completion": came,
            "usage": {"total": exchange.usage.total, "cost": exchange.cost},
            "latency_s": round(seconds, 4),
            "retries": len(exchange.failures) - (bool(exchange.failures) and exchange.failures[-1]["wait_s"] is None),
            "failures": exchange.failures,
            "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        }
        try:
            append_line(self.config.transcript, record, secret=self._key)
        except OSError as failure:
            raise ProviderError(f"Could not write to the transcript {self.config.transcript}: {failure}.") from error


def _openai() -> Any:
    """The client's package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import openai
    except ImportError as error:
        raise ImportError(
            "Endpoints need the package `openai`: pip install 'cairngym[llm]'. Packaged completions need none: "
            "use the provider 'recorded:'."
        ) from error
    return openai
