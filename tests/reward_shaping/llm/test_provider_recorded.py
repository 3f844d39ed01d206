"""Cassettes: written by a run with a model, replayed without; what is missing is told with the way to record it."""

import json
import pickle

import pytest
from server import Reply

import cairngym.reward_shaping.llm.recorded as recorded_module
from cairngym.envs.checks import UnknownNameError
from cairngym.reward_shaping.llm.endpoint import EndpointProvider
from cairngym.reward_shaping.llm.messages import ChatRequest, Usage
from cairngym.reward_shaping.llm.provider import MissingRecordingError, make_provider
from cairngym.reward_shaping.llm.recorded import RecordedProvider, read_cassette
from cairngym.reward_shaping.llm.recording import RecordingProvider, record_texts, remove_recordings

PUSH = ChatRequest.ask("Push the box.\nState: box (3,)\nAnswer in torch.", label="text2reward/FetchPush-v4")


@pytest.fixture
def cassette(tmp_path):
    path = tmp_path / "push.jsonl"
    record_texts(path, PUSH, ("first", "second"), source="written by hand", date="2026-01-31", note="unedited")
    record_texts(path, PUSH, ("third",), source="written by hand", date="2026-01-31")
    return path


def test_what_is_recorded_is_replayed(server, connect, tmp_path):
    path = tmp_path / "c.jsonl"
    server.script(Reply.chat("one", "two", finish="length", usage=(9, 8)))
    recording = RecordingProvider(connect(), path, date="2026-01-31", note="a test")
    asked = ChatRequest.ask("hello", n=2, temperature=0.5, label="Chain-N10-v0")
    live = recording.complete_sync(asked)
    replayed = make_provider(f"recorded:{path}").complete_sync(asked)
    assert replayed.texts == live.texts == ("one", "two")
    assert (replayed.finish_reasons, replayed.model) == (("length", "length"), "tiny")
    assert replayed.provenance.source == server.base_url
    assert (replayed.provenance.date, replayed.provenance.note) == ("2026-01-31", "a test")
    assert replayed.provenance.recording == "c.jsonl:1"
    assert replayed.usage == Usage()  # nothing was paid
    (line,) = map(json.loads, path.read_text().splitlines())
    assert line["request"]["temperature"] == 0.5
    assert line["completion"]["usage"] == {"prompt_tokens": 9, "completion_tokens": 8}


def test_candidates_are_served_in_order_across_lines(cassette):
    provider = RecordedProvider(cassette)
    assert provider.complete_sync(PUSH).text == "first"
    two = provider.complete_sync(ChatRequest.from_json({**PUSH.to_json(), "n": 2}))
    assert two.texts == ("second", "third")
    assert two.provenance.recording == "push.jsonl:1, push.jsonl:2"
    assert two.provenance.note == "unedited"
    with pytest.raises(MissingRecordingError, match="has 3 recorded candidates, of which 3 are served; 1 more"):
        provider.complete_sync(PUSH)
    provider.rewind()
    assert provider.complete_sync(PUSH).text == "first"


def test_candidates_repeat_where_that_is_asked_for(cassette):
    provider = make_provider(f"recorded:{cassette}", repeat=True)
    assert [provider.complete_sync(PUSH).text for _ in range(5)] == ["first", "second", "third", "first", "second"]


def test_a_run_goes_on_with_the_next_candidate(cassette):
    provider = RecordedProvider(cassette)
    provider.complete_sync(PUSH)
    resumed = RecordedProvider(cassette)
    resumed.set_state(provider.get_state())
    assert resumed.complete_sync(PUSH).text == "second"
    assert pickle.loads(pickle.dumps(provider)).complete_sync(PUSH).text == "second"


def test_a_missing_recording_says_which_prompt_and_how_to_record_it(cassette):
    asked = ChatRequest.ask("Push the box.\nState: box (4,)\nAnswer in torch.", label="text2reward/FetchPush-v4")
    with pytest.raises(MissingRecordingError) as caught:
        RecordedProvider(cassette).complete_sync(asked)
    message = str(caught.value)
    assert caught.value.hash == asked.hash
    assert asked.hash in message
    assert "    Push the box.\n    State: box (4,)\n" in message
    assert "push.jsonl:1, differs from line 3: it has 'State: box (3,)', not 'State: box (4,)'." in message
    assert "`cairn reward record --task FetchPush-v4 --system text2reward --after recorded:" in message


def test_other_settings_are_told_apart_from_other_prompts(cassette):
    asked = ChatRequest.from_json({**PUSH.to_json(), "temperature": 0.0})
    with pytest.raises(
        MissingRecordingError, match=r"same messages are recorded with temperature=1.0 \(push.jsonl:1\)"
    ):
        RecordedProvider(cassette).complete_sync(asked)


def test_prompts_that_go_on_differently(cassette):
    with pytest.raises(MissingRecordingError, match=r"line 4: it has 'Answer in torch.', not ''"):
        RecordedProvider(cassette).complete_sync(ChatRequest.ask("Push the box.\nState: box (3,)"))
    with pytest.raises(MissingRecordingError) as caught:
        RecordedProvider(cassette).complete_sync(ChatRequest.ask("x", system="y"))
    assert "nearest" not in str(caught.value)


def test_a_folder_is_read_in_order_of_names(tmp_path):
    for name, text in (("b", "later"), ("a", "earlier")):
        record_texts(tmp_path / f"{name}.jsonl", PUSH, (text,), source="hand", date="2026-01-31")
    (tmp_path / "notes.txt").write_text("no cassette")
    provider = make_provider(f"recorded:{tmp_path}")
    assert [provider.complete_sync(PUSH).text for _ in range(2)] == ["earlier", "later"]
    assert provider.hashes == (PUSH.hash,)


def test_packaged_cassettes_are_found_by_name(tmp_path, monkeypatch, cassette):
    monkeypatch.setattr(recorded_module, "files", lambda package: tmp_path)
    (tmp_path / "llm").mkdir()
    cassette.rename(tmp_path / "llm" / "push.jsonl")
    assert make_provider("recorded:").complete_sync(PUSH).text == "first"
    assert make_provider("recorded:push").complete_sync(PUSH).text == "first"
    with pytest.raises(UnknownNameError, match="Did you mean 'push'"):
        make_provider("recorded:pusch")


def test_a_folder_of_the_same_name_hides_no_packaged_cassette(tmp_path, monkeypatch):
    (tmp_path / "beacons").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(RecordedProvider("beacons").hashes) > 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"recordings \(\*\.jsonl\) in the folder empty"):
        RecordedProvider("empty")


def test_what_is_packaged_can_be_read():
    provider = make_provider("recorded:")
    assert len(set(provider.hashes)) == len(provider.hashes)
    with pytest.raises(MissingRecordingError, match="No recording in the packaged cassettes"):
        provider.complete_sync(ChatRequest.ask("a prompt that nobody ever asked"))


def test_a_prompt_edited_after_its_recording_is_found_out(cassette):
    cassette.write_text(cassette.read_text().replace("Push the box", "Pull the box", 1))
    told = r"push.jsonl:1, got .*edited after the recording.*FetchPush-v4 --system text2reward"
    with pytest.raises(ValueError, match=told):
        RecordedProvider(cassette)


@pytest.mark.parametrize("line", ['{"hash": "x"}', '{"hash": "x", "request": 3, "completion": {}}', "[]", "{"])
def test_a_broken_cassette_is_named_by_line(cassette, line):
    cassette.write_text(cassette.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"push.jsonl:3"):
        RecordedProvider(cassette)


def test_recording_adds_or_replaces(server, connect, cassette):
    other = ChatRequest.ask("Open the door.")
    record_texts(cassette, other, ("kept",), source="hand", date="2026-01-31")
    server.default = Reply.chat("model's")
    RecordingProvider(connect(), cassette, date="2026-02-01").complete_sync(PUSH)
    assert [len(found.completion.texts) for found in read_cassette(cassette)] == [2, 1, 1, 1]
    replacing = RecordingProvider(connect(), cassette, date="2026-02-02", overwrite=True)
    for _ in range(2):
        replacing.complete_sync(PUSH)
    lines = list(read_cassette(cassette))
    assert [found.completion.text for found in lines] == ["kept", "model's", "model's"]
    assert {found.completion.provenance.date for found in lines[1:]} == {"2026-02-02"}


def test_a_failed_recording_replaces_nothing(server, connect, cassette):
    server.default = Reply.failure(400)
    before = cassette.read_text()
    with pytest.raises(RuntimeError, match="HTTP 400"):
        RecordingProvider(connect(), cassette, date="2026-02-01", overwrite=True).complete_sync(PUSH)
    assert cassette.read_text() == before


def test_removing_what_is_not_there(tmp_path, cassette):
    assert remove_recordings(tmp_path / "none.jsonl", PUSH.hash) == 0
    assert remove_recordings(cassette, "0" * 16) == 0
    assert remove_recordings(cassette, PUSH.hash) == 2
    assert cassette.read_text() == ""


def test_recording_needs_a_date(connect, tmp_path):
    with pytest.raises(ValueError, match="date of the recording"):
        RecordingProvider(connect(), tmp_path / "c.jsonl", date="")


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("recorded", UnknownNameError, "Did you mean 'recorded:'"),
        ("recorded:nowhere.jsonl", UnknownNameError, "neither packaged nor a file nor a folder"),
        ("openai:", ValueError, "no model"),
        ("endpoint:http://localhost:8000/v1", ValueError, "no model"),
        ("endpoint:#tiny", ValueError, "no URL"),
        ("endpoint:localhost:8000#tiny", ValueError, "base_url such as 'http://localhost:8000/v1'"),
        ("endpoint:http://me:secret@host/v1#tiny", ValueError, "without a password"),
        ("endpoint:http://host/v1?key=secret#tiny", ValueError, "without a password or a query"),
        ("endpoint:http://host/v1/chat/completions#tiny", ValueError, "up to its version"),
        ("http://localhost:8000/v1#tiny", ValueError, "'endpoint:http://localhost:8000/v1#MODEL'"),
        ("gpt-5", ValueError, "'openai:gpt-5'"),
        ("opnai:gpt-5", UnknownNameError, "'openai:MODEL'"),
        ("", UnknownNameError, "Valid: 'endpoint:URL#MODEL'"),
    ],
)
def test_specifications_that_say_what_is_wrong(spec, error, says):
    with pytest.raises(error) as caught:
        make_provider(spec)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_specifications_of_endpoints(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0000")
    provider = make_provider(
        "endpoint:http://localhost:8000/v1/#org/model:7b", transcript=tmp_path / "t.jsonl", retries=2
    )
    assert isinstance(provider, EndpointProvider)
    config = provider.config
    assert (config.base_url, config.model, config.retries) == ("http://localhost:8000/v1", "org/model:7b", 2)
    assert (config.api_key_env, config.transcript) == ("", tmp_path / "t.jsonl")
    hosted = make_provider("openai:gpt-5", prices={"gpt-5": {"prompt": 1.0, "completion": 10.0}}, cost_budget=2.0)
    assert (hosted.config.base_url, hosted.config.api_key_env) == ("https://api.openai.com/v1", "OPENAI_API_KEY")
    assert hosted.config.prices["gpt-5"].completion == 10.0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"retrys": 2}, TypeError, "Did you mean 'retries'"),
        ({"timeout": 0}, ValueError, "timeout > 0"),
        ({"concurrency": float("nan")}, ValueError, "concurrency > 0"),
        ({"retries": -1}, ValueError, "retries >= 0"),
        ({"cost_budget": 1.0}, ValueError, "price of 'tiny' since cost_budget is set"),
        ({"limit_field": "tokens"}, ValueError, "limit_field"),
    ],
)
def test_options_out_of_their_range(options, error, says):
    with pytest.raises(error, match=says):
        make_provider("endpoint:http://localhost:8000/v1#tiny", **options)
    with pytest.raises(TypeError, match="has no option 'retries'"):
        make_provider("recorded:", retries=2)
