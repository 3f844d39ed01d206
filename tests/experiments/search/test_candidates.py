"""From answers to candidates: judged, repaired where that is wanted, and never twice the same."""

from dataclasses import replace

import pytest
from searching import LEFT, RIGHT, SMALL, WRONG, Model, answer, program

import cairngym
from cairngym.experiments.search.archive import Candidate
from cairngym.experiments.search.candidates import Writer
from cairngym.experiments.search.completions import Answered, KeepingProvider
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Provenance
from cairngym.reward_shaping.llm.provider import BudgetExhausted, EndpointError

ASKED = ChatRequest.ask("Write a reward.", n=2)
LIKE = Candidate(name="r1", round=1, prompt=ASKED.hash)


@pytest.fixture(scope="module")
def env():
    return cairngym.make("Chain-N10-v0")


def written(env, folder, texts, *repairs, config=SMALL, known=None, like=LIKE):
    model = Model(*repairs)
    reasons = ["stop" if isinstance(text, str) else text[1] for text in texts]
    texts = [text if isinstance(text, str) else text[0] for text in texts]
    completion = Completion(
        texts=tuple(texts), finish_reasons=tuple(reasons), model="tiny", provenance=Provenance(source="test")
    )
    with KeepingProvider(model, folder / "c.jsonl") as keeping, Writer(env, config, keeping, folder) as writer:
        made = writer.candidates(Answered(ASKED, completion, generic=False), like, known or {})
    return made, model


def test_accepted_programs_are_written_down(env, tmp_path):
    (first, second), _ = written(env, tmp_path, [RIGHT, LEFT])
    assert (first.name, first.source, first.problem) == ("r1_c0", "programs/r1_c0.py", "")
    assert (tmp_path / second.source).read_text() == program("(state.node - next_state.node) / 9.0", "far")
    assert (first.model, first.provenance["source"], first.verdict) == ("tiny", "test", None)


BAD = {
    "empty": ("", "empty"),
    "in words": ("I'm sorry, but I can't help with that.", "no code"),
    "declined": (("No.", "refusal"), "declined"),
    "cut off": ((RIGHT[:60], "length"), "cut off"),
    "unknown attribute": (WRONG, "Did you mean 'node'"),
    "import": (answer("next_state.node / 9.0").replace("def reward", "import os\ndef reward"), "Imports"),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_is_wrong_becomes_a_refused_candidate(env, tmp_path, name):
    (first, second), model = written(env, tmp_path, [BAD[name][0], RIGHT])
    assert BAD[name][1] in first.problem
    assert second.accepted
    assert model.asked == []


def test_repairs_come_where_all_failed(env, tmp_path):
    config = replace(SMALL, repairs=2)
    (first, second), model = written(env, tmp_path, [WRONG, ""], WRONG, RIGHT, LEFT, config=config)
    assert (first.accepted, first.repairs) == (True, 2)
    assert (second.accepted, second.repairs) == (True, 1)
    assert "nod" in model.asked[0].messages[-1].content
    assert len(model.asked[1].messages) == len(ASKED.messages) + 4


def test_one_that_is_accepted_spares_the_repairs(env, tmp_path):
    _, model = written(env, tmp_path, [WRONG, RIGHT], config=replace(SMALL, repairs=2))
    assert model.asked == []
    (first, _), model = written(env, tmp_path, [WRONG, RIGHT], LEFT, config=replace(SMALL, repairs=2, repair="each"))
    assert (first.accepted, first.repairs, len(model.asked)) == (True, 1, 1)


def test_the_same_program_is_not_tried_twice(env, tmp_path):
    known = {program("(state.node - next_state.node) / 9.0", "far").strip(): "r1_c3"}
    made, _ = written(env, tmp_path, [RIGHT, RIGHT + "\nDone.", LEFT], known=known)
    assert [one.problem for one in made] == ["", "It is the same as r1_c0.", "It is the same as r1_c3."]


def test_equal_failures_are_repaired_once(env, tmp_path):
    (first, second), model = written(env, tmp_path, [WRONG, WRONG], RIGHT, config=replace(SMALL, repairs=1))
    assert (first.accepted, first.repairs, len(model.asked)) == (True, 1, 1)
    assert (second.problem, second.repairs) == ("It is the same as r1_c0.", 0)


def test_an_exhausted_budget_leaves_the_candidate_refused(env, tmp_path):
    out = BudgetExhausted("nothing is left")
    (first, _), _ = written(env, tmp_path, [WRONG, ""], out, out, config=replace(SMALL, repairs=1))
    assert (first.accepted, first.note) == (False, "not repaired: BudgetExhausted")
    with pytest.raises(EndpointError, match="down"):
        written(env, tmp_path, [WRONG, ""], EndpointError("down"), config=replace(SMALL, repairs=1))


def test_asking_again_goes_on_counting(env, tmp_path):
    (first, second), _ = written(env, tmp_path, [RIGHT, LEFT], like=replace(LIKE, attempt=1))
    assert (first.name, second.name) == ("r1_c2", "r1_c3")


def test_a_potential_must_do_without_memory(env, tmp_path):
    text = (
        "```python\ndef reward(state, action, next_state, memory):\n"
        '    best = memory.get("best", 0.0)\n    now = torch.maximum(best, next_state.node / 9.0)\n'
        '    memory["best"] = now\n    return now - best, {"gain": now - best}\n```'
    )
    (first, _), _ = written(env, tmp_path, [text, RIGHT])
    assert first.accepted
    (first, _), _ = written(env, tmp_path, [text, RIGHT], config=replace(SMALL, program={"invariant": True}))
    assert "remembers best" in first.problem


def test_programs_are_tried_in_the_sandbox(env, tmp_path):
    standing = answer("0.0 * next_state.node + 1.0", "idle")
    (good, bad), _ = written(env, tmp_path, [answer("(next_state.node - state.node) / 9.0"), standing],
                             config=replace(SMALL, verify=True))  # fmt: skip
    assert good.accepted
    assert good.verdict["accepted"]
    assert "wall_s" not in good.verdict
    assert not bad.accepted
    assert bad.verdict["findings"]
