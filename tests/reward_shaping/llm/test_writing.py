import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scribe import GOOD, Scribe, answer, program

import cairngym
from cairngym.reward_shaping.llm.findings import Verdict, error, warning
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.program_term import compile_for
from cairngym.reward_shaping.llm.provider import BudgetExhausted, MissingRecordingError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record_texts
from cairngym.reward_shaping.llm.writing import (
    Attempt,
    continued,
    judge,
    repair_prompt,
    write_candidates,
    write_program,
)

ASKED = ChatRequest.ask("Write a reward.", system="You write rewards.", max_tokens=900, label="test/chain")


@pytest.fixture(scope="module")
def compiled():
    env = cairngym.make("Chain-N10-v0")
    return lambda source: compile_for(env, source)


def test_a_good_answer_is_taken_at_once(compiled):
    scribe = Scribe(GOOD)
    written = write_program(scribe, ASKED, compiled)
    assert isinstance(written.program, RewardProgram)
    assert written.source == program().strip("\n")
    assert [attempt.accepted for attempt in written.attempts] == [True]
    assert scribe.asked == [ASKED]


BAD = {
    "empty": ("", "completion is empty"),
    "spaces": ("  \n ", "completion is empty"),
    "declined in words": ("I'm sorry, but I can't help with that.", "no code"),
    "declined": (("No.", "refusal"), "declined"),
    "filtered": (("", "content_filter"), "declined"),
    "other language": ("```cpp\nfloat reward(State s) { return 0; }\n```", "cpp"),
    "javascript in a python block": ("```python\nfunction reward(state) { return 1; }\n```", "not Python"),
    "wrong signature": (answer("def reward(obs, action):\n    return obs, {'a': obs}\n"), "parameters"),
    "wrong name": (answer("def compute_dense_reward(state):\n    return state\n"), "def reward"),
    "hallucinated attribute": (answer(program("next_state.nod / 9")), "Did you mean 'node'"),
    "hallucinated function": (answer(program("torch.linalg.nrm(next_state.node)")), "linalg.norm"),
    "branch on a tensor": (answer(program("1.0 if next_state.node else 0.0")), "torch.where"),
    "import": (answer("import os\n" + program()), "Imports"),
    "cut off": ((answer(program())[:80], "length"), "cut off at 900 tokens"),
    "cut off after whole code": ((GOOD, "length"), "cut off at 900 tokens"),
    "no components": (answer("def reward(state, action, next_state, memory):\n    return state.node / 9\n"), "return"),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_is_wrong_with_an_answer_leads_to_a_repair(compiled, name):
    bad, reason = BAD[name]
    scribe = Scribe(bad, GOOD)
    written = write_program(scribe, ASKED, compiled)
    assert written.program is not None
    first, second = written.attempts
    assert reason in first.problem
    assert second.accepted
    text = bad[0] if isinstance(bad, tuple) else bad
    messages = scribe.asked[1].messages
    assert messages[:2] == ASKED.messages
    assert [message.role for message in messages[2:]] == ["assistant", "user"]
    assert messages[2].content == (text if text.strip() else "(no answer)")
    assert first.problem in messages[3].content
    assert reason in written.report()


def test_a_refusal_says_the_line_and_shows_it(compiled):
    scribe = Scribe(answer(program("next_state.nod / 9")), GOOD)
    write_program(scribe, ASKED, compiled)
    said = scribe.asked[1].messages[-1].content
    assert "line 2, column 9" in said
    assert "    r = next_state.nod / 9\n" in said


def test_it_gives_up_after_the_repairs_and_says_why(compiled):
    scribe = Scribe("", answer(program("state.x")), "```rust\nfn main() {}\n```", GOOD)
    written = write_program(scribe, ASKED, compiled, repairs=2)
    assert written.program is None
    assert written.source == ""
    assert len(written.attempts) == len(scribe.asked) == 3
    report = written.report()
    assert report.startswith("3 attempts, none accepted\n1. The completion is empty")
    assert "2. line 2" in report
    assert "rust" in report
    assert [len(request.messages) for request in scribe.asked] == [2, 4, 6], "the whole conversation goes on"


def test_no_repairs_means_one_attempt(compiled):
    scribe = Scribe("", GOOD)
    assert write_program(scribe, ASKED, compiled, repairs=0).program is None
    assert len(scribe.asked) == 1
    with pytest.raises(ValueError, match="repairs >= 0"):
        write_program(Scribe(GOOD), ASKED, compiled, repairs=-1)


def test_verification_is_part_of_it(compiled):
    refused = Verdict(
        accepted=False,
        findings=(error("scale", "The reward is 83.41: too much for (64,) rows, on 37% of 512."), warning("w", "w!")),
    )
    seen = []

    def check(source):
        seen.append(source)
        return refused if len(seen) == 1 else Verdict(accepted=True)

    scribe = Scribe(answer(program("next_state.node * 10.0")), GOOD)
    written = write_program(scribe, ASKED, compiled, check=check)
    first, second = written.attempts
    assert seen == [first.source, second.source]
    assert first.verdict is refused
    assert written.verdict == Verdict(accepted=True)
    said = scribe.asked[1].messages[-1].content
    assert "- scale: The reward is 80: too much for (64,) rows, on 40% of 512." in said
    assert "w!" not in said, "warnings are left to a person"


@settings(deadline=None, max_examples=60)
@given(st.floats(1e-3, 1e3), st.floats(-1e-9, 1e-9))
def test_repairs_do_not_depend_on_the_last_digits_of_what_was_measured(figure, noise):
    def said(value):
        findings = (error("scale", f"It pays {value:.3g} on {value / 1e3:.0%} of 64 steps."),)
        attempt, made = judge(
            ASKED, GOOD, "stop", lambda source: source, lambda source: Verdict(accepted=False, findings=findings)
        )
        assert made is None
        return repair_prompt(attempt)

    rounded = float(f"{figure:.1g}")
    assert said(rounded * (1 + noise)) == said(rounded)
    assert "of 64 steps" in said(figure)


def test_the_provider_s_failure_passes_through_and_what_was_reached_is_kept(compiled):
    kept = []
    scribe = Scribe("", answer(program("state.x")), BudgetExhausted("no tokens left"))
    with pytest.raises(BudgetExhausted, match="no tokens left") as caught:
        write_program(scribe, ASKED, compiled, record=kept.append)
    assert [type(attempt) for attempt in kept] == [Attempt, Attempt]
    assert "after 2 attempts" in caught.value.__notes__[0]
    kept.clear()
    with pytest.raises(BudgetExhausted):
        write_program(Scribe(BudgetExhausted("none")), ASKED, compiled, record=kept.append)
    assert kept == []


def test_faults_of_ours_are_not_hidden(compiled):
    def broken(source):
        raise ZeroDivisionError("a fault in the compiler")

    with pytest.raises(ZeroDivisionError):
        write_program(Scribe(GOOD), ASKED, broken)


def test_a_candidate_is_chosen_by_its_number(compiled):
    texts = [answer(program(f"next_state.node / {k + 1}.0")) for k in range(3)]
    for k in range(3):
        scribe = Scribe(texts)
        written = write_program(scribe, ASKED, compiled, candidate=k)
        assert f"/ {k + 1}.0" in written.source
        assert scribe.asked[0].n == k + 1
        assert written.attempts[0].request.n == 1
    with pytest.raises(ValueError, match="candidate >= 0"):
        write_program(Scribe(texts), ASKED, compiled, candidate=-1)


def test_candidates_are_repaired_on_their_own_and_equal_ones_once(compiled):
    bad = answer(program("state.x"))
    scribe = Scribe([GOOD, bad, bad, ""], GOOD, "", GOOD)
    results = write_candidates(scribe, ASKED, compiled, 4)
    assert [len(result.attempts) for result in results] == [1, 2, 2, 3]
    assert results[1] is results[2]
    assert all(result.program is not None for result in results)
    assert [request.n for request in scribe.asked] == [4, 1, 1, 1]
    with pytest.raises(ValueError, match="at least one"):
        write_candidates(scribe, ASKED, compiled, 0)


def test_recorded_conversations_are_found_again(compiled, tmp_path):
    cassette = tmp_path / "chain.jsonl"
    bad = answer(program("state.x"))
    kept = []
    write_program(Scribe(bad, GOOD), ASKED, compiled, record=kept.append)
    for attempt in kept:
        record_texts(cassette, attempt.request, (attempt.answer,), source="test", date="2026-01-31")
    with RecordedProvider(cassette) as provider:
        written = write_program(provider, ASKED, compiled)
    assert written.attempts == tuple(kept)
    with RecordedProvider(cassette) as provider, pytest.raises(MissingRecordingError) as caught:
        write_program(provider, ChatRequest.ask("Something else."), compiled)
    assert not getattr(caught.value, "__notes__", [])


def test_a_long_answer_is_quoted_in_part():
    request = continued(ASKED, "x" * 50_000, "Shorter.")
    assert len(request.messages[2].content) == 20_000
    assert request.messages[3].content == "Shorter."
    assert request.label == ASKED.label


def test_code_can_be_taken_out_by_another_rule(compiled):
    written = write_program(
        Scribe("A|B"), ASKED, lambda source: source.lower(), extract=lambda text: text.split("|")[1]
    )
    assert written.program == "b"
