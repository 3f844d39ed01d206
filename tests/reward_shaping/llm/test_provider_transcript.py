"""Transcripts hold every exchange whole, and the key is nowhere but in the request's header."""

import copy
import json
import logging
import multiprocessing
import pickle
import threading
import traceback

import pytest
from server import Reply

from cairngym.reward_shaping.llm.messages import ChatRequest, Completion
from cairngym.reward_shaping.llm.provider import MissingKeyError, ProviderError, RefusedError, make_provider
from cairngym.reward_shaping.llm.recording import RecordingProvider
from cairngym.reward_shaping.llm.transcript import Secret, append_line, parse_lines, read_lines

HELLO = ChatRequest.ask("hello", label="Chain-N10-v0")
KEY = 'sk-"quoted\\and-long-0123456789'


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("TINY_KEY", f" {KEY}\n")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-another-key-of-its-maker")
    return KEY


def test_every_exchange_is_a_line(server, connect, tmp_path):
    path = tmp_path / "folder" / "transcript.jsonl"
    provider = connect(transcript=path, retries=1)
    server.script(Reply.failure(503), Reply.chat("good dåy", usage=(12, 3)), Reply.failure(400, "too long"))
    provider.complete_sync(HELLO)
    with pytest.raises(RefusedError):
        provider.complete_sync(HELLO)
    first, second = read_lines(path)
    assert first["hash"] == HELLO.hash
    assert ChatRequest.from_json(first["request"]) == HELLO
    assert Completion.from_json(first["completion"]).text == "good dåy"
    assert (first["retries"], first["failures"][0]["status"], first["error"]) == (1, 503, None)
    assert first["usage"] == {"total": 15, "cost": 0.0}
    assert first["latency_s"] > first["failures"][0]["wait_s"] > 0
    assert (first["endpoint"], first["model"]) == (server.base_url, "tiny")
    assert (second["completion"], second["retries"], second["error"]["type"]) == (None, 0, "RefusedError")
    assert "too long" in second["error"]["message"]


def test_candidates_paid_for_before_a_failure_are_kept(server, connect, tmp_path):
    one = json.dumps({"choices": [{"message": {"content": "first"}, "finish_reason": "stop"}]})
    server.script(Reply.raw(one), Reply.failure(400))
    with pytest.raises(RefusedError):
        connect(transcript=tmp_path / "t.jsonl").complete_sync(ChatRequest.ask("hello", n=2))
    (line,) = read_lines(tmp_path / "t.jsonl")
    assert line["completion"]["texts"] == ["first"]
    assert line["error"]["type"] == "RefusedError"


def test_a_cancelled_exchange_is_a_line(server, connect, tmp_path):
    server.script(Reply.chat("late", delay=0.4))
    provider = connect(transcript=tmp_path / "t.jsonl")
    asked = provider.submit(HELLO)
    while not server.requests:
        pass
    asked.cancel()
    provider.close()
    (line,) = read_lines(tmp_path / "t.jsonl")
    assert line["error"]["type"] == "CancelledError"


def test_a_transcript_that_can_not_be_written_is_told(connect, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ProviderError, match="Could not write to the transcript"):
        connect(transcript=tmp_path / "file" / "t.jsonl").complete_sync(HELLO)


@pytest.mark.parametrize("stream", [False, True])
def test_the_key_is_sent_and_appears_nowhere(server, connect, tmp_path, key, caplog, stream):
    caplog.set_level(logging.DEBUG)
    path, cassette = tmp_path / "t.jsonl", tmp_path / "c.jsonl"
    provider = connect(api_key_env="TINY_KEY", transcript=path, stream=stream, retries=4)
    server.script(
        Reply.failure(500, f"failed for {'x' * 280} {key}"),  # messages are cut, which must not leave half a key
        Reply.raw(json.dumps({"error": {"message": key}})),
        Reply.events(json.dumps({"choices": [key]})) if stream else Reply.raw(json.dumps({"choices": [key]})),
        Reply.failure(429, key) if not stream else Reply.events(json.dumps({"error": {"message": key}})),
        Reply.chat(f"your key is {key}"),
        Reply.failure(401, f"Incorrect API key provided: {key}"),
    )
    recording = RecordingProvider(provider, cassette, date="2026-01-31")
    told = recording.complete_sync(HELLO)
    with pytest.raises(RefusedError, match="variable TINY_KEY") as caught:
        provider.complete_sync(HELLO)
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"
    inner = caught.value.__traceback__.tb_next  # below this very function, whose own variables hold the key
    trace = traceback.TracebackException(type(caught.value), caught.value, inner, capture_locals=True)
    shown = [
        path.read_text(),
        cassette.read_text(),
        "".join(trace.format()),
        *map(repr, (provider, recording, provider.config, told, caught.value)),
        caplog.text,
        pickle.dumps(provider).decode("latin-1"),
    ]
    for text in shown:
        assert key not in text
        assert json.dumps(key)[1:-1] not in text
        assert key[:10] not in text
        assert "and-long" not in text
        assert "Bearer" not in text
    assert caught.value.__context__ is None
    assert told.text == "your key is [redacted]"
    recording.close()


def test_a_key_within_a_prompt_does_not_reach_the_transcript(server, connect, tmp_path, key):
    provider = connect(api_key_env="TINY_KEY", transcript=tmp_path / "t.jsonl")
    provider.complete_sync(ChatRequest.ask(f"config: {key}"))
    (line,) = read_lines(tmp_path / "t.jsonl")
    assert line["request"]["messages"][0]["content"] == "config: [redacted]"


def test_without_a_key_no_authorization_is_sent(server, connect, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"{name}-is-for-its-maker-only")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: for-its-maker-only\nX-Other: for-its-maker-only")
    connect().complete_sync(HELLO)
    assert "its-maker-only" not in str(server.requests[0].headers)
    assert "authorization" not in {name.lower() for name in server.requests[0].headers}


def test_a_missing_key_names_its_variable(connect, monkeypatch):
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(MissingKeyError, match=r"variable TINY_KEY, which is not set.*export TINY_KEY=.*recorded:"):
        connect(api_key_env="TINY_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        make_provider("openai:gpt-5")


def test_a_key_that_can_not_be_one_is_not_repeated(connect, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "sk-\x07secret")
    with pytest.raises(MissingKeyError, match="printable ASCII") as caught:
        connect(api_key_env="TINY_KEY")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="name of an environment variable") as caught:
        connect(api_key_env="sk-secret-1234")
    assert "secret" not in str(caught.value)


def test_pickles_and_copies_read_the_key_anew(server, connect, key):
    provider = connect(api_key_env="TINY_KEY")
    provider.complete_sync(HELLO)
    for twin in (pickle.loads(pickle.dumps(provider)), copy.deepcopy(provider)):
        assert twin.config == provider.config
        assert twin.complete_sync(HELLO).text == "HELLO"
        twin.close()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_told_rather_than_left_waiting(connect):
    provider = connect()
    provider.complete_sync(HELLO)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child():
        try:
            answers.put(provider.complete_sync(HELLO).text)
        except RuntimeError as error:
            answers.put(str(error))

    process = context.Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert "before the process forked" in answers.get()


def test_lines_of_many_writers_stay_whole(tmp_path):
    path = tmp_path / "lines.jsonl"

    def write(writer):
        for index in range(50):
            append_line(path, {"writer": writer, "index": index, "filler": "x" * 5000})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = read_lines(path)
    assert len(lines) == 200
    for writer in range(4):
        assert [line["index"] for line in lines if line["writer"] == writer] == list(range(50))


def test_a_last_line_without_its_end_is_not_written_into(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}')
    append_line(path, {"a": 3})
    assert [line["a"] for line in read_lines(path)] == [1, 2, 3]


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(ValueError, match=r"lines\.jsonl:3.*Delete or mend"):
        read_lines(path)
    with pytest.raises(ValueError, match="at name:1, got list"):
        list(parse_lines("[1]", "name"))


def test_line_separators_within_texts_do_not_split_lines(tmp_path):
    append_line(tmp_path / "lines.jsonl", {"text": "a\u2028b\x85c\x0cd\ne\r\nf"})
    assert read_lines(tmp_path / "lines.jsonl") == [{"text": "a\u2028b\x85c\x0cd\ne\r\nf"}]


def test_short_secrets_are_words():
    assert Secret("none").redact("none of the above") == "none of the above"
    assert Secret("long-enough").redact("") == ""
