"""What is said about an endpoint: address, model, key variable, patience, and budget."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cairngym.reward_shaping.llm.budget import Price
from cairngym.reward_shaping.llm.provider import MissingKeyError
from cairngym.reward_shaping.llm.transcript import NO_SECRET, Secret

POSITIVE = ("timeout", "concurrency", "token_budget", "cost_budget")
NOT_NEGATIVE = ("retries", "backoff", "max_backoff", "max_retry_after")


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """An endpoint that speaks the OpenAI-compatible chat completions protocol.

    Raises:
        ValueError: a field out of its range, an address that holds a key, or a cost limit without a price.
    """

    base_url: str
    """Where it is, up to and with the version, e.g. "http://localhost:8000/v1"."""
    model: str
    """The model asked, unless a request names another."""
    api_key_env: str = ""
    """Name of the environment variable that holds the API key; empty for an endpoint that takes none."""
    timeout: float = 120.0
    """Seconds one attempt may take, until its last byte."""
    retries: int = 5
    """Further attempts after HTTP 429 and 5xx, lost connections, timeouts and malformed answers."""
    backoff: float = 1.0
    """Seconds before the first retry; doubled for each further one, times a random factor in [0.5, 1]."""
    max_backoff: float = 60.0
    """The longest wait in seconds, unless the endpoint's Retry-After asks for more."""
    max_retry_after: float = 300.0
    """The longest Retry-After in seconds that is waited for; a longer one ends the request."""
    concurrency: int = 8
    """Requests under way at a time; one that waits to be retried counts."""
    stream: bool = False
    """Have completions sent piece by piece, which keeps proxies from closing long silent connections."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls a candidate's limit; OpenAI's reasoning models know the latter name only."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of this endpoint, sent as they are, e.g. {"reasoning_effort": "low"}."""
    token_budget: int | None = None
    """The most tokens, read and written; None for no limit."""
    cost_budget: float | None = None
    """The most to spend, in US dollars; None for no limit."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """Prices by model."""
    transcript: Path | None = None
    """The JSONL file that every exchange is appended to; None for none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _check_url(self.base_url))
        object.__setattr__(self, "prices", {name: _price(item) for name, item in self.prices.items()})
        if not self.model:
            raise ValueError("Expected the name of a model, got none.")
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ValueError("Expected api_key_env as the name of an environment variable; it must not be the key.")
        try:
            json.dumps(dict(self.extra_body), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Expected extra_body as a mapping that JSON can hold: {error}.") from None
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"Expected a finite {name} > 0, got {value}.")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"Expected a finite {name} >= 0, got {getattr(self, name)}.")
        if self.limit_field not in ("max_tokens", "max_completion_tokens"):
            raise ValueError(f"Expected limit_field max_tokens or max_completion_tokens, got {self.limit_field!r}.")
        if self.cost_budget is not None and self.model not in self.prices:
            raise ValueError(
                f"Expected the price of {self.model!r} since cost_budget is set: "
                f"prices={{{self.model!r}: Price(prompt=…, completion=…)}}, in US dollars per million tokens."
            )

    def api_key(self) -> Secret:
        """The key, read from the environment; empty where the endpoint takes none.

        Raises:
            MissingKeyError: the variable is not set, or can't be a key.
        """
        if not self.api_key_env:
            return NO_SECRET
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise MissingKeyError(
                f"Expected an API key for {self.base_url} in the environment variable {self.api_key_env}, which is not "
                f"set. `export {self.api_key_env}=…`, or replay packaged completions with the provider 'recorded:'."
            )
        if not (key.isascii() and key.isprintable()):
            raise MissingKeyError(f"Expected printable ASCII in {self.api_key_env}; what it holds can't be a key.")
        return Secret(key)


def _price(item: Price | Mapping[str, float]) -> Price:
    return item if isinstance(item, Price) else Price(**item)


def _check_url(url: str) -> str:
    """The URL without a slash at its end. Errors do not repeat what may be a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"Expected base_url such as 'http://localhost:8000/v1', got {url.split('@')[-1]!r}.")
    if "@" in parts.netloc or parts.query:
        raise ValueError(
            f"Expected base_url without a password or a query, got one for {parts.hostname}: it is written to "
            "transcripts. Put the key into an environment variable and name that by api_key_env."
        )
    path = parts.path.rstrip("/")
    if path.endswith(("/chat/completions", "/completions")):
        raise ValueError(f"Expected base_url up to its version, such as '…/v1', got {url!r}: leave out the rest.")
    return f"{parts.scheme}://{parts.netloc}{path}"
