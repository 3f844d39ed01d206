"""Requests, completions, and the hash that recordings are found by."""

import hashlib

import pytest

from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Message, Provenance, Usage, first_lines


def test_the_hash_by_hand():
    request = ChatRequest.ask("größe", system="s", temperature=1, stop=("END",), max_tokens=10)
    canonical = (
        '{"max_tokens":10,"messages":[{"content":"s","role":"system"},{"content":"gr\\u00f6\\u00dfe","role":"user"}],'
        '"stop":["END"],"temperature":1.0,"top_p":null}'
    )
    assert request.hash == hashlib.sha256(canonical.encode()).hexdigest()[:16]


@pytest.mark.parametrize("change", [{"model": "m"}, {"seed": 3}, {"n": 5}, {"label": "x"}, {"temperature": 1}])
def test_what_does_not_count_into_the_hash(change):
    assert ChatRequest.ask("hello", **change).hash == ChatRequest.ask("hello").hash


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.9}, {"temperature": None}, {"top_p": 0.9}, {"max_tokens": 9}, {"stop": "x"}, {"system": "s"}],
)
def test_what_counts_into_the_hash(change):
    assert ChatRequest.ask("hello", **change).hash != ChatRequest.ask("hello").hash
    assert ChatRequest.ask("hello ").hash != ChatRequest.ask("hello").hash


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"temperature": 2.1}, ValueError, r"temperature in \[0, 2\], got 2.1"),
        ({"temperature": float("nan")}, ValueError, "temperature"),
        ({"temperature": "hot"}, TypeError, "temperature as a number"),
        ({"top_p": 0.0}, ValueError, r"top_p in \(0, 1\]"),
        ({"n": 0}, ValueError, "n >= 1"),
        ({"n": 1.5}, TypeError, "n as an integer"),
        ({"max_tokens": True}, TypeError, "max_tokens as an integer"),
        ({"n": 10**9, "max_tokens": -1}, ValueError, "max_tokens >= 1"),
    ],
)
def test_settings_out_of_their_range(settings, error, says):
    with pytest.raises(error, match=says):
        ChatRequest.ask("hello", **settings)


def test_messages_are_checked():
    with pytest.raises(ValueError, match="at least one message"):
        ChatRequest(messages=())
    with pytest.raises(ValueError, match="a role of 'system', 'user', 'assistant', got 'tool'"):
        Message("tool", "x")
    with pytest.raises(TypeError, match="content as text, got NoneType"):
        Message("user", None)
    assert Message("user", "half \ud83d").content == "half ?"
    assert ChatRequest(messages=[{"role": "user", "content": "x"}]) == ChatRequest.ask("x")


def test_requests_and_completions_survive_json():
    request = ChatRequest.ask("hello", system="s", stop=("a", "b"), seed=1, n=2, label="x")
    assert ChatRequest.from_json(request.to_json()) == request
    completion = Completion(
        texts=("a", "b"),
        finish_reasons=("stop", "length"),
        model="m",
        provenance=Provenance(source="here", date="2026-01-31"),
        usage=Usage(prompt_tokens=3, completion_tokens=4),
    )
    assert Completion.from_json(completion.to_json()) == completion
    assert completion.truncated == (False, True)
    assert hash(request) == hash(ChatRequest.from_json(request.to_json()))


def test_json_with_other_keys_is_refused():
    with pytest.raises(ValueError, match="ChatRequest has no 'prompt'"):
        ChatRequest.from_json({"prompt": "x"})
    with pytest.raises(ValueError, match=r"whole Completion.*missing"):
        Completion.from_json({"texts": ["x"]})
    with pytest.raises(ValueError, match="Usage as a JSON object, got int"):
        Completion.from_json({"texts": ["x"], "usage": 3})


def test_a_completion_has_a_reason_for_each_text():
    for texts, reasons in (((), ()), (("a",), ())):
        with pytest.raises(ValueError, match="one finish reason for each text"):
            Completion(texts=texts, finish_reasons=reasons, model="m", provenance=Provenance(source="s"))


def test_first_lines_are_those_of_the_last_message():
    request = ChatRequest.ask("\n\nfirst\n\nsecond\n" + "x" * 200 + "\nfourth", system="hidden")
    assert first_lines(request) == "first\nsecond\n" + "x" * 99 + "…"
