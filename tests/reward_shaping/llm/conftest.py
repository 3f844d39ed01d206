"""Lets the tests of this folder import their own helpers, and gives them a server and providers that ask it."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]


@pytest.fixture
def server(monkeypatch):
    from server import ChatServer

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ChatServer() as running:
        yield running


@pytest.fixture
def connect(server):
    """Makes providers that ask the server, with waits of milliseconds, and closes them."""
    from cairngym.reward_shaping.llm.config import EndpointConfig
    from cairngym.reward_shaping.llm.endpoint import EndpointProvider

    made = []

    def make(**options):
        defaults = {"base_url": server.base_url, "model": "tiny", "backoff": 0.002, "retries": 3, "timeout": 5.0}
        made.append(EndpointProvider(EndpointConfig(**{**defaults, **options})))
        return made[-1]

    yield make
    for provider in made:
        provider.close()
