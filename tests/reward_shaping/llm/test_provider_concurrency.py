"""Many requests at once, from any thread and loop, and how a provider ends."""

import asyncio
import gc
import pickle
import subprocess
import sys
import threading
import time

import pytest
from server import Reply

from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import EndpointError, ProviderError, RefusedError

HELLO = ChatRequest.ask("hello", system="be brief", max_tokens=50)


@pytest.mark.parametrize("bound", [1, 3])
def test_concurrency_is_bounded_and_used(server, connect, bound):
    server.default = Reply.echo(delay=0.03)
    requests = [ChatRequest.ask(f"prompt {index}") for index in range(9)]
    completions = connect(concurrency=bound).complete_all_sync(requests)
    assert [completion.text for completion in completions] == [f"PROMPT {index}" for index in range(9)]
    assert server.most_at_once == bound


def test_the_bound_holds_for_all_threads_together(server, connect):
    server.default = Reply.echo(delay=0.03)
    provider = connect(concurrency=2)
    threads = [threading.Thread(target=provider.complete_sync, args=(HELLO,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 6
    assert server.most_at_once == 2


def test_one_failure_among_many(server, connect):
    requests = [ChatRequest.ask(f"prompt {index}") for index in range(4)]
    server.script(Reply.failure(400))
    answers = asyncio.run(connect(concurrency=1).complete_all(requests, return_errors=True))
    assert isinstance(answers[0], RefusedError)
    assert [answer.text for answer in answers[1:]] == ["PROMPT 1", "PROMPT 2", "PROMPT 3"]


def test_the_first_failure_ends_the_others(server, connect):
    server.script(Reply.failure(400))
    server.default = Reply.echo(delay=0.2)
    with pytest.raises(RefusedError):
        connect(concurrency=1).complete_all_sync([HELLO] * 50)
    assert len(server.requests) <= 2


def test_within_a_running_loop_and_in_several(server, connect):
    provider = connect()

    async def both():
        return provider.complete_sync(HELLO).text, (await provider.complete(HELLO)).text

    assert asyncio.run(both()) == ("HELLO", "HELLO")
    assert asyncio.run(both()) == ("HELLO", "HELLO")
    assert provider.complete_sync(HELLO).text == "HELLO"


def test_a_cancelled_request_frees_its_slot(server, connect):
    server.script(Reply.chat("late", delay=0.5))
    provider = connect(concurrency=1)

    async def give_up():
        asked = asyncio.ensure_future(provider.complete(HELLO))
        while not server.requests:
            await asyncio.sleep(0.01)
        asked.cancel()
        await asked

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(give_up())
    assert provider.complete_sync(HELLO).text == "HELLO"


def test_closing_ends_the_thread_and_a_later_request_starts_anew(server, connect):
    before = threading.active_count()
    provider = connect(concurrency=1)
    pending = [provider.submit(request) for request in [HELLO] * 3]
    pending[0].result(timeout=5)
    provider.close()
    assert all(asked.done() for asked in pending)
    time.sleep(0.05)
    assert [thread.name for thread in threading.enumerate()].count("EndpointProvider") == 0
    assert threading.active_count() <= before + 1
    assert provider.complete_sync(HELLO).text == "HELLO"


def test_waiting_on_its_own_thread_is_told(connect):
    class Impatient(type(connect())):
        async def complete(self, request):
            return self.complete_sync(request)

    provider = Impatient(connect().config)
    with pytest.raises(RuntimeError, match=r"await complete\(…\)"):
        provider.submit(HELLO).result(timeout=5)
    provider.close()


def test_errors_of_endpoints_are_provider_errors():
    assert issubclass(EndpointError, ProviderError)
    assert issubclass(ProviderError, RuntimeError)


def test_closing_gives_up_what_is_under_way(server, connect):
    server.default = Reply.echo(delay=0.5)
    provider = connect(backoff=0.0, retries=50)
    asked = provider.submit(HELLO)
    while not server.requests:
        time.sleep(0.01)
    provider.close()
    assert asked.cancelled()
    assert len(server.requests) == 1


def test_a_provider_that_nobody_holds_ends_its_thread(server, connect):
    provider = connect()
    provider.complete_sync(HELLO)
    twin = pickle.loads(pickle.dumps(provider))
    twin.complete_sync(HELLO)
    count = [thread.name for thread in threading.enumerate()].count("EndpointProvider")
    del twin
    gc.collect()
    assert [thread.name for thread in threading.enumerate()].count("EndpointProvider") == count - 1


def test_a_process_ends_quietly_with_requests_under_way(server):
    server.default = Reply.echo(delay=5.0)
    code = f"""
import os, time
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import make_provider
provider = make_provider("endpoint:{server.base_url}#tiny")
future = provider.submit(ChatRequest.ask("hello"))
time.sleep(0.3)
if hasattr(os, "fork"):  # the child has the provider, but not its thread
    child = os.fork()
    if child == 0:
        raise SystemExit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("done")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


def test_importing_the_interface_needs_no_client():
    code = """
import sys
sys.modules["openai"] = None  # as where it is not installed
from cairngym.reward_shaping.llm import config, endpoint, provider, recorded, recording
provider.make_provider("recorded:")
try:
    provider.make_provider("endpoint:http://localhost:8000/v1#tiny")
except ImportError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'cairngym[llm]'" in ended.stdout
