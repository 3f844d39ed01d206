import pytest
import torch
from lare_toys import FACTORS, Script, fenced, matching

from cairngym.envs.registry import make
from cairngym.reward_shaping.llm.findings import Verdict, error, warning
from cairngym.reward_shaping.llm.lare.authoring import (
    FactorsRefused,
    author_factors,
    factor_verdict,
    record_factors,
    requests,
    write_factors,
)
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import ProviderError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record_texts

NODES = """
def reward(state, action, next_state, memory):
    far = (9 - next_state.node).float() / 9
    return far, {"far": far}
"""
LOST = NODES.replace("/ 9", "/ (next_state.node - 3)")
INVENTED = NODES.replace("next_state.node", "next_state.position")


def test_proposals_are_summarised_into_one_program():
    env, provider = matching(2), Script("first thought", fenced("x = 1"), fenced(FACTORS))
    program = write_factors(provider, env, candidates=2, verify=False)
    assert program.components == ("right", "first", "code")
    proposing, summarising = provider.asked
    assert (proposing.n, proposing.temperature) == (2, 1.0)
    assert (summarising.n, summarising.temperature) == (1, 0.3)
    said = summarising.messages[-1].content
    assert "<answer 1>\nfirst thought\n</answer 1>" in said
    assert fenced("x = 1").strip() in said
    for request in provider.asked:
        text = request.messages[-1].content
        assert "Answer every code with the action of that number." in text
        assert "shown: torch.Tensor" in text
        assert "hits" not in text, "privileged measurements are not shown"
        assert "memory.get(" in text, "the language is explained"


def test_prompts_are_the_same_for_any_number_of_envs_and_name_their_task():
    few, many = (requests(make("Chain-N10-v0", num_envs=count, seed=count), verify=False) for count in (1, 64))
    assert [request.hash for request in few] == [request.hash for request in many]
    assert few[0].label.startswith("lare/")
    assert few[0].label.endswith("/proposals")


def test_programs_are_repaired_with_the_error_text():
    provider = Script("", fenced("import os"), fenced(INVENTED), "```js\nlet x\n```", fenced(NODES))
    written = author_factors(provider, make("Chain-N10-v0"), candidates=1, verify=False)
    assert written.program.components == ("far",)
    problems = [request.messages[-1].content for request in provider.asked[2:]]
    assert "Imports are refused" in problems[0]
    assert "position" in problems[1]
    assert "js" in problems[2]
    assert [request.temperature for request in provider.asked[1:]] == [0.3] * 4
    assert provider.asked[-1].label == provider.asked[1].label


def test_after_the_last_repair_nothing_is_taken():
    answers = [fenced(INVENTED)] * 9
    with pytest.raises(FactorsRefused, match="6 attempts, none accepted"):
        write_factors(Script(*answers), make("Chain-N10-v0"), candidates=3, verify=False)
    with pytest.raises(FactorsRefused, match="1 attempts"):
        write_factors(Script(*answers), make("Chain-N10-v0"), candidates=1, repairs=0, verify=False)


def test_a_provider_that_is_gone_is_told_apart_from_a_bad_program():
    with pytest.raises(ProviderError, match="the model is gone"):
        write_factors(Script("one", "two", "three"), make("Chain-N10-v0"), verify=False)


def test_the_sandbox_refuses_what_is_not_finite_but_not_what_makes_a_poor_reward():
    """Distance left, paid as a reward, would teach to stay away; as a factor it is what the decoder needs."""
    provider = Script("-", fenced(LOST), fenced(NODES))
    env = make("Chain-N10-v0", num_envs=3)
    env.reset(seed=4)
    env.step([1, 1, 0])
    written = author_factors(provider, env, candidates=1)
    assert {finding.check for finding in written.attempts[0].verdict.errors} == {"finite"}
    assert "finite" in provider.asked[-1].messages[-1].content
    assert written.program.components == ("far",)
    assert env.state["node"].tolist() == [1, 1, 0], "the env is as it was"


def test_what_judges_a_reward_does_not_judge_factors():
    poor = error("progress", "It falls where the task comes closer."), error("loitering", "Waiting pays.")
    verdict = factor_verdict(Verdict(accepted=False, findings=(*poor, warning("finite", "Far away it fails."))))
    assert verdict.accepted
    assert [finding.check for finding in verdict.findings] == ["finite"]
    assert not factor_verdict(Verdict(accepted=False, findings=(*poor, error("batch", "Rows mix.")))).accepted
    assert not factor_verdict(Verdict.refusal("time", "It had not finished.")).accepted


def test_the_recording_leaves_the_env_as_it_was():
    env, other = matching(64, seed=3), matching(64, seed=3)
    for some in (env, other):
        some.reset()
        some.step([0] * 64)
    recorded = record_factors(env)
    assert recorded.num_envs == 64
    assert len(recorded) > 1000
    for action in (1, 2):
        assert torch.equal(env.step([action] * 64)[0], other.step([action] * 64)[0])


def test_requests_lists_what_is_asked_as_far_as_answers_are_known(tmp_path):
    env, cassette = make("Chain-N10-v0"), tmp_path / "lare.jsonl"
    asked = requests(env, verify=False)
    for texts in [("a", "b", "c"), (fenced(INVENTED),), (fenced(NODES),)]:
        assert len(asked[-1].messages[-1].content) > 50
        record_texts(cassette, asked[-1], texts, source="by hand", date="2026-01-31")
        longer = requests(env, RecordedProvider(cassette), verify=False)
        assert [request.hash for request in longer[: len(asked)]] == [request.hash for request in asked]
        asked = longer
    assert [request.label.rpartition("/")[2] for request in asked] == ["proposals", "summary", "summary"]
    assert all(isinstance(request, ChatRequest) for request in asked)
    assert write_factors(RecordedProvider(cassette), env, verify=False).components == ("far",)
