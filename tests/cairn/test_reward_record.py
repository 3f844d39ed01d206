"""`cairn reward record`: what is recorded is what is replayed, unedited, with where it comes from."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from reward_toys import BAD, GOOD, TASK, Scribe

import cairngym
from cairngym import cli
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record_texts
from cairngym.reward_shaping.llm.systems import requests
from cairngym.reward_shaping.llm.transcript import read_lines

DATE = ("--date", "2026-01-31")


@pytest.fixture(autouse=True)
def registered(monkeypatch, tmp_path):
    @contextmanager
    def verifier(env, verify=True, *, score=False):
        yield None, ""

    monkeypatch.setitem(cli.COMMANDS, "reward", "rewards written by language models")
    monkeypatch.setattr("cairngym.reward_shaping.llm.text2reward.shaper.verifier", verifier)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.md").write_text(BAD, encoding="utf-8")


@pytest.fixture
def model(monkeypatch):
    def make(*texts):
        scribe = Scribe(*texts)
        monkeypatch.setattr("cairngym.commands.reward_recording.make_provider", lambda spec, **options: scribe)
        return scribe

    return make


@pytest.fixture
def cassette(tmp_path):
    return tmp_path / "new" / "toy.jsonl"


@pytest.fixture
def first():
    return requests("text2reward", cairngym.make(TASK))[0]


def run(*arguments):
    return cli.main(["reward", *map(str, arguments)])


def texts(cassette, request, n):
    return RecordedProvider(cassette).complete_sync(replace(request, n=n)).texts


def test_pasted_completions_answer_the_exact_prompt(cassette, first, capsys):
    given = ("--completion", "a.md", "--completion", "b.md", "--source", "A. Person", "--note", "unseen")
    assert run("record", "--task", TASK, *given, *DATE, "--cassette", cassette) == 0
    said = f"Recorded 2 candidates for text2reward/{TASK} ({first.hash}) in {cassette}\n"
    assert capsys.readouterr().out == said
    completion = RecordedProvider(cassette).complete_sync(replace(first, n=2))
    assert completion.texts == (GOOD, BAD)
    origin = completion.provenance
    assert (origin.source, origin.date, origin.note) == ("A. Person", "2026-01-31", "unseen")


def test_further_candidates_are_added_or_replace(cassette, first):
    for name in ("a.md", "b.md"):
        assert run("record", "--task", TASK, "--completion", name, *DATE, "--cassette", cassette) == 0
    assert texts(cassette, first, 2) == (GOOD, BAD)
    assert run("record", "--task", TASK, "--completion", "b.md", *DATE, "--cassette", cassette, "--overwrite") == 0
    assert texts(cassette, first, 1) == (BAD,)
    assert len(read_lines(cassette)) == 1


def test_a_repair_is_printed_and_recorded_by_its_number(cassette, first, capsys):
    after = ("--after", f"recorded:{cassette}")
    both = ("--completion", "b.md", "--completion", "a.md")
    assert run("record", "--task", TASK, *both, *DATE, "--cassette", cassette) == 0
    capsys.readouterr()
    assert run("prompt", "--task", TASK, *after, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["number"] for line in lines] == [0, 1]
    assert lines[0]["hash"] == first.hash
    repair = ChatRequest.from_json(lines[1]["request"])
    assert [message.content for message in repair.messages[:3]] == [*(m.content for m in first.messages), BAD]
    assert run("record", "--task", TASK, *after, "--completion", "a.md", *DATE, "--cassette", cassette) == 2
    assert (
        "0 (text2reward/Chain-N10-v0, answered), 1 (text2reward/Chain-N10-v0, NOT ANSWERED)" in capsys.readouterr().err
    )
    number = ("--number", 1, "--completion", "a.md")
    assert run("record", "--task", TASK, *after, *number, *DATE, "--cassette", cassette) == 0
    assert texts(cassette, repair, 1) == (GOOD,)
    capsys.readouterr()
    provider = ("--provider", f"recorded:{cassette}", "--candidates", 2, "--out", "out")
    assert run("generate", "--task", TASK, *provider) == 0
    assert "2 of 2 candidates accepted." in capsys.readouterr().out
    assert run("prompt", "--task", TASK, *after) == 0
    assert "NOT ANSWERED" not in capsys.readouterr().out


def test_many_prompts_are_answered_in_a_file(cassette, capsys, tmp_path):
    task = "MiniGrid-Empty-5x5-v0"
    assert run("prompt", "--task", task, "--system", "oni", "--option", "per_prompt=1", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines[:-1]:
        line["completions"] = [f"answer {line['number']}", "another"]
    answered = tmp_path / "answered.jsonl"
    answered.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert run("record", "--prompts", answered, "--system", "oni", *DATE, "--cassette", cassette) == 0
    asked = requests("oni", cairngym.make(task), per_prompt=1)
    assert len(asked) == len(lines) > 1
    for number, request in enumerate(asked[:-1]):
        assert texts(cassette, request, 2) == (f"answer {number}", "another")
    assert len(read_lines(cassette)) == len(lines) - 1


def test_lines_that_are_no_prompts_are_refused(cassette, first, capsys, tmp_path):
    path = tmp_path / "prompts.jsonl"
    whole = {"hash": first.hash, "request": first.to_json(), "completions": ["a"]}
    cases = (
        ({**whole, "hash": "0" * 16}, "the prompt was edited"),
        ({**whole, "completions": "a"}, "Expected 'completions' as a list of texts"),
        ({**whole, "completion": "a"}, "got the key 'completion'"),
        ({"hash": first.hash}, "got no request"),
        ({**whole, "completions": []}, "Expected answers under 'completions'"),
    )
    for line, message in cases:
        path.write_text(json.dumps(line) + "\n", encoding="utf-8")
        assert run("record", "--prompts", path, *DATE, "--cassette", cassette) == 2
        assert message in capsys.readouterr().err
    assert not cassette.exists()


def test_a_provider_is_recorded_with_its_repairs(cassette, first, model, capsys):
    scribe = model(BAD, GOOD)
    assert run("record", "--task", TASK, "--provider", "openai:x", *DATE, "--cassette", cassette) == 0
    assert "accepted" in capsys.readouterr().out
    assert [line["hash"] for line in read_lines(cassette)] == [request.hash for request in scribe.asked]
    assert texts(cassette, first, 1) == (BAD,)
    assert texts(cassette, scribe.asked[1], 1) == (GOOD,)


def test_a_provider_fills_gaps_only(cassette, first, model):
    record_texts(cassette, first, (BAD,), source="A. Person", date="2026-01-01")
    scribe = model(GOOD)
    gaps = ("--after", f"recorded:{cassette}", "--cassette", cassette)
    assert run("record", "--task", TASK, "--provider", "openai:x", *DATE, *gaps) == 0
    assert [len(request.messages) for request in scribe.asked] == [4]
    assert [line["completion"]["model"] for line in read_lines(cassette)] == ["A. Person", "scribe-1"]


def test_a_provider_answers_single_prompts(cassette, first, model):
    scribe = model("one", "two")
    choice = ("--number", 0, "--candidates", 2)
    assert run("record", "--task", TASK, "--provider", "openai:x", *choice, *DATE, "--cassette", cassette) == 0
    assert [request.hash for request in scribe.asked] == [first.hash]
    assert texts(cassette, first, 2) == ("one", "two")


def test_packaged_recordings_that_cannot_be_written(monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert run("record", "--task", TASK, "--completion", "a.md", *DATE) == 2
    assert "Expected --cassette PATH: the packaged recordings in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--completion", "a.md", "--date", "31.1.2026"], "Expected --date YYYY-MM-DD"),
        (["--completion", "a.md", "--provider", "openai:x", *DATE], "Expected --provider or --completion, got both."),
        ([*DATE], "Who answers?"),
        (["--provider", "openai:x", "--source", "me", *DATE], "a provider says itself who it is"),
        (["--completion", "nowhere.md", *DATE], "found none at nowhere.md"),
        (["--completion", "a.md", "--number", "2", *DATE], "Expected --number from 0 to 0, got 2."),
    ],
)
def test_errors(arguments, message, cassette, capsys):
    assert run("record", "--task", TASK, *arguments, "--cassette", cassette) == 2
    assert message in capsys.readouterr().err
    assert not cassette.exists()
