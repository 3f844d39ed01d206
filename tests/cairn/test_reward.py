"""`cairn reward`: prompts against their systems, programs against compiler and sandbox, and errors in one line."""

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import pytest
from reward_toys import BAD, EXPLODING, GOOD, PROGRAM, TASK, Scribe, answer

import cairngym
from cairngym import cli
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.program import compile_program
from cairngym.reward_shaping.llm.program_term import compile_for
from cairngym.reward_shaping.llm.provider import make_provider
from cairngym.reward_shaping.llm.systems import requests
from cairngym.reward_shaping.llm.text2reward.prompt import feedback_request, first_request
from cairngym.reward_shaping.llm.writing import Attempt, judge, repair_prompt


@pytest.fixture(autouse=True)
def registered(monkeypatch, tmp_path):
    monkeypatch.setitem(cli.COMMANDS, "reward", "rewards written by language models")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def unverified(monkeypatch):
    """Programs are compiled only, which spares a sandbox."""

    @contextmanager
    def verifier(env, verify=True, *, score=False):
        yield None, ""

    monkeypatch.setattr("cairngym.reward_shaping.llm.text2reward.shaper.verifier", verifier)


@pytest.fixture
def model(monkeypatch):
    """Makes a model that gives these texts the provider, whatever provider is named."""

    def make(*texts):
        scribe = Scribe(*texts)
        monkeypatch.setattr("cairngym.commands.reward_actions.make_provider", lambda spec, **options: scribe)
        return scribe

    return make


def run(*arguments):
    return cli.main(["reward", *map(str, arguments)])


def write(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
    return name


# Prompts --------------------------------------------------------------------------------------------------------------


def test_prompts_are_those_of_the_system(capsys):
    assert run("prompt", "--task", TASK) == 0
    shown = capsys.readouterr().out
    (request,) = requests("text2reward", cairngym.make(TASK))
    assert shown.startswith(f"text2reward/{TASK}: hash {request.hash}\ntemperature 0.7, at most 4096 tokens, 1 cand")
    assert shown.endswith(f"----- user -----\n{request.messages[1].content}\n")
    assert request.messages[0].content in shown


def test_prompts_as_lines(capsys):
    assert run("prompt", "--task", TASK, "--system", "lare", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    (request,) = requests("lare", cairngym.make(TASK))
    assert ChatRequest.from_json(found["request"]) == request
    assert (found["number"], found["hash"]) == (0, request.hash)


def test_options_reach_the_system(capsys):
    assert run("prompt", "--task", TASK, "--option", "potential=true", "--option", "hints=Go right.") == 0
    shown = capsys.readouterr().out
    expected = first_request(cairngym.make(TASK), potential=True, hints="Go right.")
    assert expected.hash in shown
    assert "Go right." in shown


def test_the_search_is_a_system_too(capsys):
    assert run("prompt", "--task", TASK, "--system", "eureka", "--option", "candidates=5") == 0
    assert f"eureka/{TASK}: hash " in capsys.readouterr().out


# Programs -------------------------------------------------------------------------------------------------------------


def test_pasted_completions_are_judged(capsys):
    files = [write("a.md", GOOD), write("b.md", BAD), write("c.md", answer(EXPLODING)), write("d.md", "No.")]
    pasted = [part for name in files for part in ("--completion", name)]
    assert run("generate", "--task", TASK, *pasted) == 0
    shown = capsys.readouterr().out
    rows = [line.split()[:3] for line in shown.splitlines() if line[:1].isdigit() and line[1:2] == " "]
    assert [row[2] for row in rows[:4]] == ["accepted", "refused", "refused", "refused"]
    assert "Did you mean 'node'" in " ".join(shown.split())
    assert "scale:" in shown
    assert "1 of 4 candidates accepted." in shown
    assert repair_prompt(Attempt(request=first_request(cairngym.make(TASK)), answer="", problem=_no_code())) in shown
    with open(f"rewards/{TASK}/text2reward/candidate_0.py", encoding="utf-8") as file:
        text = file.read()
    assert text.endswith(PROGRAM)
    assert "# source: pasted from a.md\n" in text
    assert compile_program(text, cairngym.make(TASK).state_spec).components == ("near",)


def _no_code():
    return "The completion has no code; expected a ```python block that defines reward()."


def test_nothing_accepted_is_an_exit_code(unverified, capsys):
    assert run("generate", "--task", TASK, "--completion", write("b.md", BAD), "--out", "out") == 1
    shown = capsys.readouterr()
    assert "No program was written." in shown.out
    assert shown.err == ""


def test_a_model_is_asked_for_repairs_and_its_transcript_replays(unverified, model, capsys, tmp_path):
    scribe = model(BAD, GOOD)
    out = tmp_path / "out"
    assert run("generate", "--task", TASK, "--provider", "openai:x", "--out", out) == 0
    assert "1 of 1 candidates accepted." in capsys.readouterr().out
    program = (out / "candidate_0.py").read_text(encoding="utf-8")
    assert "# system: text2reward, after 1 repair\n" in program
    assert "# model: scribe-1\n# source: http://scribe\n" in program
    assert [len(request.messages) for request in scribe.asked] == [2, 4]


def test_a_transcript_is_a_cassette(unverified, model, monkeypatch, tmp_path):
    model(BAD, GOOD)
    assert run("generate", "--task", TASK, "--provider", "openai:x", "--out", "out") == 0
    monkeypatch.setattr("cairngym.commands.reward_actions.make_provider", make_provider)
    provider = f"recorded:{tmp_path / 'out' / 'transcript.jsonl'}"
    assert run("generate", "--task", TASK, "--provider", provider, "--out", "again") == 0
    text = (tmp_path / "again" / "candidate_0.py").read_text(encoding="utf-8")
    assert "# recording: transcript.jsonl:2\n" in text
    assert text.endswith(PROGRAM)


def test_a_model_that_leaves_ends_one_candidate(unverified, model, capsys):
    model(GOOD, BAD)
    assert run("generate", "--task", TASK, "--provider", "openai:x", "--candidates", 2, "--out", "out") == 0
    shown = capsys.readouterr()
    assert "1 of 2 candidates accepted." in shown.out
    assert "no answer" in shown.out
    assert shown.err == "cairn reward: the model has left\n"
    model(BAD)
    assert run("generate", "--task", TASK, "--provider", "openai:x", "--out", "other") == 2


def test_lare_makes_one_program_of_proposals(model, capsys):
    scribe = model("first", "second", GOOD)
    lare = ("--system", "lare", "--option", "candidates=2")
    assert run("generate", "--task", TASK, *lare, "--provider", "openai:x", "--out", "out") == 0
    assert [request.label for request in scribe.asked] == [f"lare/{TASK}/proposals", f"lare/{TASK}/summary"]
    assert "1 of 1 candidates accepted." in capsys.readouterr().out


def test_a_critic_is_asked_where_one_is_wanted(model, capsys):
    design = PROGRAM.replace(
        "return near, {'near': near}",
        "done = (next_state.node == 9).float() * near\n    return near, {'sparse': done, 'dense': near}",
    )
    scribe = model(answer(design), "FAIL: it pays for nothing.", answer(design), "PASS")
    critic = ("--system", "auto_mc", "--option", "critic=true")
    assert run("generate", "--task", TASK, *critic, "--provider", "openai:x", "--out", "out") == 0
    labels = [request.label.removeprefix(f"auto_mc/{TASK}") for request in scribe.asked]
    assert labels == ["", "/critic", "", "/critic"]
    assert "critic: it pays for nothing." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [(PROGRAM, 0, "accepted: 0 errors"), (answer(EXPLODING), 1, "scale"), ("x = 1", 1, "refused: ")],
)
def test_check(source, code, said, capsys):
    assert run("check", write("program.py", source), "--task", TASK) == code
    assert said in capsys.readouterr().out


def test_check_as_other_systems(capsys):
    design = PROGRAM.replace("{'near': near}", "{'sparse': 0.0 * near, 'dense': near}")
    assert run("check", write("design.py", design), "--task", TASK, "--system", "auto_mc") == 1
    assert "events" in capsys.readouterr().out
    assert run("check", write("factors.py", PROGRAM), "--task", TASK, "--system", "lare") == 0


def test_check_prints_nothing_that_moves_a_cursor(capsys):
    assert run("check", write("bell.py", 'def reward(state):\n    return "\x1b[2J"\n'), "--task", TASK) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_show_draws_a_picture(capsys, tmp_path):
    assert run("show", write("program.py", PROGRAM), "--task", TASK, "--episodes", 4) == 0
    shown = capsys.readouterr().out
    assert "of 4 episodes succeeded." in shown
    assert f"Picture: {tmp_path / 'program.png'}" in shown
    assert cv2.imread("program.png").shape[0] > 300


# Feedback -------------------------------------------------------------------------------------------------------------


def test_refine_prints_the_prompt(capsys):
    file = write("program.py", PROGRAM)
    assert run("refine", file, "--task", TASK, "--feedback", "It turns back.", "--json") == 0
    found = ChatRequest.from_json(json.loads(capsys.readouterr().out)["request"])
    assert found == feedback_request(first_request(cairngym.make(TASK)), PROGRAM, feedback="It turns back.")


def test_refine_judges_the_answer(unverified, model, capsys):
    file = write("program.py", PROGRAM)
    scribe = model(GOOD)
    assert run("refine", file, "--task", TASK, "--feedback", "No.", "--provider", "openai:x", "--out", "out") == 0
    assert len(scribe.asked[0].messages) == 4
    assert "1 of 1 candidates accepted." in capsys.readouterr().out


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prompt"], "Which task? Give --task"),
        (["prompt", "--task", "Chain-N11-v0"], "Did you mean 'Chain-N10-v0'"),
        (["prompt", "--task", TASK, "--system", "text2rewards"], "Did you mean 'text2reward'?"),
        (["prompt", "--task", TASK, "--option", "example=1"], "Did you mean 'examples'?"),
        (["prompt", "--task", TASK, "--option", "examples"], "Expected key=value"),
        (["prompt", "--task", TASK, "--number", "3"], "Expected --number from 0 to 0, got 3."),
        (["prompt", "--task", TASK, "--system", "beacons"], "Expected a MiniGrid env"),
        (["prompt", "--task", TASK, "--after", "openai:x"], "Expected --after as recorded:"),
        (["generate", "--task", TASK, "--system", "oni"], "Unknown system that writes programs 'oni'"),
        (["generate", "--task", TASK, "--system", "lare", "--option", "x=1"], "has no option 'x'"),
        (["generate", "--task", TASK, "--completion", "a.md", "--option", "examples=-1"], "Expected examples"),
        (["generate", "--task", TASK, "--provider", "openai"], "Unknown provider 'openai'"),
        (["generate", "--task", TASK, "--provider", "openai:x", "--model-options", "patience=3"], "has no option"),
        (["check", "nowhere.py", "--task", TASK], "found none at nowhere.py"),
        (["show", "nowhere.py", "--run", "nowhere"], "Expected a run's folder"),
        (["refine", "nowhere.py", "--task", TASK], "Expected --run, a policy that learned"),
        (["chek"], "Available subcommands"),
    ],
)
def test_errors_take_a_line_and_say_what_to_do(arguments, message, capsys):
    assert run(*arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert "Traceback" not in text


def test_a_missing_recording_says_which_and_how(capsys, tmp_path):
    write("empty.jsonl", "")
    assert run("generate", "--task", TASK, "--provider", f"recorded:{tmp_path / 'empty.jsonl'}") == 2
    (text,) = capsys.readouterr().err.splitlines()
    assert first_request(cairngym.make(TASK)).hash in text
    assert "cairn reward record" in text


def test_help_has_examples(capsys):
    for name, example in (("prompt", "--after recorded:"), ("record", "--completion a.md"), ("show", "--run runs/")):
        assert run(name, "--help") == 0
        assert example in capsys.readouterr().out


def test_a_repair_that_nobody_was_asked_for_is_the_one_that_would_be(unverified, capsys):
    assert run("generate", "--task", TASK, "--completion", write("b.md", BAD), "--out", "out") == 1
    shown = capsys.readouterr().out
    said = shown.split("comes from with:\n\n")[1].rstrip("\n")
    env = cairngym.make(TASK)
    attempt, program = judge(first_request(env), BAD, "stop", partial(compile_for, env))
    assert program is None
    assert said == repair_prompt(attempt)


def test_an_endpoint_is_asked_within_its_budget(unverified, monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "reward_shaping" / "llm")
    from server import ChatServer, Reply

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer() as server:
        provider = ("--provider", f"endpoint:{server.base_url}#tiny", "--out", "out")
        options = ("--model-options", "timeout=20", "--model-options")
        assert run("generate", "--task", TASK, *provider, *options, "token_budget=100") == 2
        assert "The budget is exhausted" in capsys.readouterr().err
        assert not server.requests
        server.script(Reply.chat(GOOD))
        assert run("generate", "--task", TASK, *provider, *options, "token_budget=100000") == 0
        assert len(server.requests) == 1
    text = (tmp_path / "out" / "candidate_0.py").read_text(encoding="utf-8")
    assert f"# source: {server.base_url}\n" in text
