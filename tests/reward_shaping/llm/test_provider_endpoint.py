"""An endpoint asked over real HTTP: what comes back, and what happens where nothing good does."""

import json
import time
from email.utils import formatdate
from itertools import pairwise

import pytest
from server import ChatServer, Reply

from cairngym.reward_shaping.llm.messages import ChatRequest, Usage
from cairngym.reward_shaping.llm.provider import (
    BadResponseError,
    RefusedError,
    UnreachableError,
)
from cairngym.reward_shaping.llm.transcript import read_lines

HELLO = ChatRequest.ask("hello", system="be brief", max_tokens=50)


def test_a_completion_and_what_was_sent(server, connect):
    server.script(Reply.chat("good day", finish="stop", usage=(12, 3)))
    completion = connect().complete_sync(ChatRequest.ask("hello", system="be brief", max_tokens=50, seed=7, stop="END"))
    assert completion.text == "good day"
    assert completion.finish_reasons == ("stop",)
    assert completion.usage == Usage(prompt_tokens=12, completion_tokens=3)
    assert completion.model == "tiny"
    assert completion.provenance.source == server.base_url
    assert server.requests[0].body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "max_tokens": 50,
        "temperature": 1.0,
        "seed": 7,
        "stop": ["END"],
    }


def test_what_is_left_to_the_model_is_not_sent(server, connect):
    provider = connect(limit_field="max_completion_tokens", extra_body={"reasoning_effort": "low"})
    provider.complete_sync(ChatRequest.ask("hello", temperature=None, model="other"))
    body = server.requests[0].body
    assert set(body) == {"model", "messages", "max_completion_tokens", "reasoning_effort"}
    assert body["model"] == "other"


@pytest.mark.parametrize("stream", [False, True])
def test_several_candidates(server, connect, stream):
    server.script(Reply.chat("one", "two, longer", "three", usage=(9, 6)))
    completion = connect(stream=stream).complete_sync(ChatRequest.ask("hello", n=3))
    assert completion.texts == ("one", "two, longer", "three")
    assert completion.finish_reasons == ("stop",) * 3
    assert completion.usage.total == 15
    assert len(server.requests) == 1


def test_a_server_that_knows_no_n_is_asked_for_the_rest(server, connect):
    one = [json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}) for text in "abc"]
    server.script(*map(Reply.raw, one))
    completion = connect().complete_sync(ChatRequest.ask("hello", n=3, seed=10))
    assert completion.texts == ("a", "b", "c")
    assert [(request.body.get("n", 1), request.body["seed"]) for request in server.requests] == [
        (3, 10),
        (2, 11),
        (1, 12),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_candidate_cut_off_is_marked(server, connect, stream):
    server.script(Reply.chat("def reward(state, act", finish="length"))
    completion = connect(stream=stream).complete_sync(HELLO)
    assert completion.truncated == (True,)
    assert completion.text == "def reward(state, act"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_and_an_empty_answer_are_completions(server, connect, stream):
    server.script(Reply.chat(None, refusal="I can't help."), Reply.chat(None, finish="content_filter"))
    provider = connect(stream=stream)
    refused, empty = provider.complete_sync(HELLO), provider.complete_sync(HELLO)
    assert refused.text == "I can't help."
    assert refused.finish_reasons == ("refusal",)
    assert (empty.text, empty.finish_reasons) == ("", ("content_filter",))


def test_content_in_parts_and_half_an_emoji(server, connect):
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "cairn \ud83d"}]
    server.script(Reply.chat(parts))
    assert connect().complete_sync(HELLO).text == "a cairn ?"


def test_a_server_that_does_not_stream_when_asked_to(server, connect):
    server.script(Reply.raw(json.dumps({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]})))
    assert connect(stream=True).complete_sync(HELLO).text == "whole"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_errors_that_pass_are_retried(server, connect, status):
    server.script(Reply.failure(status), Reply.failure(status), Reply.chat("at last"))
    assert connect().complete_sync(HELLO).text == "at last"
    assert len(server.requests) == 3


@pytest.mark.parametrize("header", ["Retry_After", "Retry_After_Ms"])
def test_retry_after_is_waited_for(server, connect, header):
    value = "1" if header == "Retry_After" else "300"
    server.script(Reply.failure(429, **{header: value}))
    connect().complete_sync(HELLO)
    first, second = (request.time for request in server.requests)
    assert second - first >= {"1": 1.0, "300": 0.3}[value]


def test_a_retry_after_by_date_or_beyond_patience_ends_the_request(server, connect):
    for value in ("3600", formatdate(time.time() + 3600, usegmt=True)):
        server.script(Reply.failure(503, Retry_After=value))
        with pytest.raises(RefusedError, match="HTTP 503") as caught:
            connect(max_retry_after=60.0).complete_sync(HELLO)
        assert caught.value.retry_after == pytest.approx(3600, abs=2)
    assert len(server.requests) == 2


@pytest.mark.parametrize("value", ["soon", "nan", "-5", ""])
def test_a_senseless_retry_after_means_backoff(server, connect, value):
    server.script(Reply.failure(429, Retry_After=value))
    assert connect().complete_sync(HELLO).text == "HELLO"


def test_backoff_doubles_up_to_its_bound(server, connect, tmp_path, caplog):
    server.default = Reply.failure(500)
    provider = connect(backoff=0.01, max_backoff=0.04, retries=4, transcript=tmp_path / "t.jsonl")
    with pytest.raises(RefusedError, match="HTTP 500"):
        provider.complete_sync(HELLO)
    (line,) = read_lines(tmp_path / "t.jsonl")
    *waits, last = (failure["wait_s"] for failure in line["failures"])
    assert last is None
    for wait, most in zip(waits, (0.01, 0.02, 0.04, 0.04), strict=True):
        assert most / 2 <= wait <= most
    gaps = [later.time - earlier.time for earlier, later in pairwise(server.requests)]
    assert all(gap >= wait for gap, wait in zip(gaps, waits, strict=True))
    assert "Attempt 4 failed" in caplog.text


@pytest.mark.parametrize(
    ("status", "hint"),
    [(400, "try again"), (401, "api_key_env"), (403, "api_key_env"), (404, "usually ends in /v1"), (422, "try again")],
)
def test_other_errors_of_the_request_are_not_retried(server, connect, status, hint):
    server.default = Reply.failure(status)
    with pytest.raises(RefusedError, match=hint) as caught:
        connect().complete_sync(HELLO)
    assert caught.value.status == status
    assert len(server.requests) == 1


def test_a_quota_used_up_is_not_retried(server, connect):
    server.default = Reply.failure(429, "You exceeded your current quota", code="insufficient_quota")
    with pytest.raises(RefusedError, match="current quota"):
        connect().complete_sync(HELLO)
    assert len(server.requests) == 1


MALFORMED = {
    "half an object": '{"choices": [{"mess',
    "nothing": "",
    "too deep": "[" * 100_000,
    "a list": "[]",
    "no choices": "{}",
    "empty choices": '{"choices": []}',
    "choices that are no list": '{"choices": "none"}',
    "a choice without a message": '{"choices": [{"finish_reason": "stop"}]}',
    "content that is a number": '{"choices": [{"message": {"content": 3}}]}',
    "an error in a success": '{"error": {"message": "overloaded", "code": 502}}',
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_answers_are_retried_and_then_told(server, connect, content):
    server.script(Reply.raw(content))
    provider = connect(retries=1)
    assert provider.complete_sync(HELLO).text == "HELLO"
    server.default = Reply.raw(content)
    with pytest.raises(BadResponseError, match="Expected a chat completion, got"):
        provider.complete_sync(HELLO)
    assert len(server.requests) == 4


STREAMS = {
    "half an object": ['{"choices": [{'],
    "no choices": ["[DONE]"],
    "only usage": ['{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}', "[DONE]"],
    "broken off": ['{"choices": [{"index": 0, "delta": {"content": "def rew"}, "finish_reason": null}]}'],
    "an error in the middle": ['{"error": {"message": "overloaded"}}'],
    "a list": ["[1]"],
    "too deep": ["[" * 100_000],
    "choices that are a number": ['{"choices": 3}'],
    "a choice that is no object": ['{"choices": [3]}'],
}


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS.keys())
def test_malformed_streams_are_retried_and_then_told(server, connect, events):
    server.script(Reply.events(*events))
    provider = connect(retries=1, stream=True)
    assert provider.complete_sync(HELLO).text == "HELLO"
    server.default = Reply.events(*events)
    with pytest.raises(BadResponseError, match="Expected a chat completion, got"):
        provider.complete_sync(HELLO)


@pytest.mark.parametrize("stream", [False, True])
def test_a_page_instead_of_an_answer_is_told_at_once(server, connect, stream):
    server.default = Reply.raw("<html>Log in, please</html>", content_type="text/html; charset=utf-8")
    with pytest.raises(BadResponseError, match=r"got text/html.*Log in, please.*base_url right"):
        connect(stream=stream).complete_sync(HELLO)
    assert len(server.requests) == 1


def test_json_under_a_wrong_content_type_is_read(server, connect):
    content = json.dumps({"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]})
    server.script(Reply.raw(content, content_type="text/plain"))
    assert connect().complete_sync(HELLO).text == "fine"


@pytest.mark.parametrize("reply", [Reply.chat("late", delay=0.6), Reply.trickle(0.6)], ids=["silent", "trickling"])
def test_time_out(server, connect, reply):
    server.script(reply, Reply.chat("in time"))
    assert connect(timeout=0.2).complete_sync(HELLO).text == "in time"
    server.script(reply)
    with pytest.raises(UnreachableError, match=r"within 0.2 s.*recorded:"):
        connect(timeout=0.2, retries=0).complete_sync(HELLO)


@pytest.mark.parametrize("part", [b"", b'{"choices": [{"message'], ids=["at once", "within the body"])
def test_a_broken_connection_is_retried(server, connect, part):
    server.script(Reply.drop(part), Reply.chat("whole"))
    assert connect().complete_sync(HELLO).text == "whole"
    assert len(server.requests) == 2


def test_nobody_listens(connect):
    with ChatServer() as gone:
        url = gone.base_url
    provider = connect(base_url=url, retries=1)
    with pytest.raises(UnreachableError, match="Could not reach") as caught:
        provider.complete_sync(HELLO)
    assert url in str(caught.value)
    assert "recorded:" in str(caught.value)
    assert provider.spent == Usage()


def test_a_server_killed_and_restarted(server, connect):
    server.default = Reply.echo(delay=0.3)
    provider = connect(retries=0)
    asked = provider.submit(HELLO)
    time.sleep(0.1)
    server.kill()
    with pytest.raises(UnreachableError):
        asked.result(timeout=5)
    with pytest.raises(UnreachableError):
        provider.complete_sync(HELLO)
    server.default = Reply.echo()
    server.restart()
    assert provider.complete_sync(HELLO).text == "HELLO"


def test_retries_last_through_a_restart(server, connect):
    server.kill()
    asked = connect(backoff=0.1, max_backoff=0.1, retries=20).submit(HELLO)
    time.sleep(0.2)
    assert not asked.done()
    server.restart()
    assert asked.result(timeout=5).text == "HELLO"
