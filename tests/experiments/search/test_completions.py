"""Completions are asked once and kept."""

import pytest
from searching import Model

from cairngym.experiments.search.completions import KeepingProvider, ask, read_completions, usage
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import MissingRecordingError, ProviderError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record_texts

ASKED = ChatRequest.ask("Write a reward.", n=2)
OTHER = ChatRequest.ask("Write another.", n=2)


def test_what_was_answered_is_not_asked_again(tmp_path):
    path, model = tmp_path / "c.jsonl", Model(["a", "b"], ["c", "d"], ["e", "f"])
    with KeepingProvider(model, path) as first:
        assert [first.complete_sync(request).texts for request in (ASKED, OTHER, ASKED)] == [
            ("a", "b"), ("c", "d"), ("e", "f"),
        ]  # fmt: skip
    silent = Model()
    with KeepingProvider(silent, path) as again:
        assert again.complete_sync(OTHER).texts == ("c", "d")
        assert [again.complete_sync(ASKED).texts for _ in range(2)] == [("a", "b"), ("e", "f")]
        with pytest.raises(ProviderError, match="nothing left"):
            again.complete_sync(ASKED)
    assert len(silent.asked) == 1
    with KeepingProvider(silent, path, used=1) as later:  # the first exchange is over and done with
        assert later.complete_sync(ASKED).texts == ("e", "f")
    assert (usage(read_completions(path)).prompt_tokens, usage(read_completions(path)).completion_tokens) == (300, 30)


def test_what_is_kept_can_be_replayed_as_a_cassette(tmp_path):
    with KeepingProvider(Model(["a", "b"]), tmp_path / "c.jsonl") as provider:
        provider.complete_sync(ASKED)
    assert RecordedProvider(tmp_path / "c.jsonl").complete_sync(ASKED).texts == ("a", "b")


def test_a_line_cut_short_by_a_crash_is_asked_again(tmp_path):
    path = tmp_path / "c.jsonl"
    with KeepingProvider(Model(["a", "b"], ["c", "d"]), path) as provider:
        provider.complete_sync(ASKED)
        provider.complete_sync(OTHER)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with KeepingProvider(Model(["c", "d"]), path) as provider:
        assert provider.complete_sync(ASKED).texts == ("a", "b")
        assert provider.complete_sync(OTHER).texts == ("c", "d")
    assert path.read_bytes() == whole


def test_recordings_go_on_after_those_that_were_served(tmp_path):
    cassette = tmp_path / "recorded.jsonl"
    record_texts(cassette, ASKED, ("a", "b", "c", "d"), source="by hand", date="2026-01-31")
    with KeepingProvider(RecordedProvider(cassette), tmp_path / "c.jsonl") as provider:
        provider.complete_sync(ASKED)
    with KeepingProvider(RecordedProvider(cassette), tmp_path / "c.jsonl", used=1) as provider:
        assert provider.complete_sync(ASKED).texts == ("c", "d")


def test_a_generic_prompt_stands_in_where_the_exact_one_is_not_recorded(tmp_path):
    cassette, kept = tmp_path / "recorded.jsonl", tmp_path / "c.jsonl"
    record_texts(cassette, OTHER, ("c", "d"), source="by hand", date="2026-01-31")
    with KeepingProvider(RecordedProvider(cassette), kept) as provider:
        found = ask(provider, ASKED, OTHER)
        assert (found.request, found.generic, found.completion.texts) == (OTHER, True, ("c", "d"))
        with pytest.raises(MissingRecordingError):
            ask(provider, ASKED, OTHER)
        with pytest.raises(MissingRecordingError):
            ask(provider, ASKED)
    record_texts(cassette, ASKED, ("a", "b"), source="by hand", date="2026-01-31")
    with KeepingProvider(RecordedProvider(cassette), kept) as provider:  # as it was decided before
        assert ask(provider, ASKED, OTHER).generic
    with KeepingProvider(RecordedProvider(cassette), tmp_path / "other.jsonl") as provider:
        found = ask(provider, ASKED, OTHER)
        assert (found.request, found.generic) == (ASKED, False)


def test_a_model_is_asked_the_exact_prompt(tmp_path):
    with KeepingProvider(Model(["a", "b"]), tmp_path / "c.jsonl") as provider:
        assert ask(provider, ASKED, OTHER).request == ASKED
    with KeepingProvider(Model(ProviderError("down")), tmp_path / "d.jsonl") as provider, pytest.raises(ProviderError):
        ask(provider, ASKED, OTHER)
    assert not (tmp_path / "d.jsonl").exists()
