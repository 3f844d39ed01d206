"""The critic: what a model's opinion is read as, and what each part of the critic is asked about."""

import pytest
from auto_mc_toys import CHAIN, GRID, PUSH, Scripted, named

import cairngym
from cairngym.reward_shaping.llm.auto_mc import critic as critic_module
from cairngym.reward_shaping.llm.auto_mc.critic import Critic, joined, read_opinion
from cairngym.reward_shaping.llm.auto_mc.design import Weights
from cairngym.reward_shaping.llm.auto_mc.prompts import critic_request
from cairngym.reward_shaping.llm.findings import MAX_TEXT, Verdict, error, warning
from cairngym.reward_shaping.llm.provider import ProviderError
from cairngym.reward_shaping.llm.rehearsal import rehearse, sandbox_for


@pytest.mark.parametrize(
    "answer",
    [
        "PASS",
        "pass",
        "It fails to look at doors, which does not matter.\n\n**PASS**\n",
        "Verdict: PASS - all is well.",
        "**Final verdict:** pass.",
        "FAIL: no.\nOn reflection that is wrong.\n> PASS",
        "`PASS`",
        "- Passed: every event belongs to the task.",
        "1. Yes.\n2. Yes.\nThe verdict is: PASS",
    ],
)
def test_passing_opinions(answer):
    assert read_opinion(answer) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("FAIL: dense has the wrong sign.", "dense has the wrong sign."),
        ("Fine.\n**FAIL:** the key is\nnot seen.", "the key is not seen."),
        ("fail - reads `grid` as (y, x)", "reads `grid` as (y, x)"),
        ("PASS\nNo, wait.\nVerdict: FAILED. It pays for waiting.", "It pays for waiting."),
        ("FAIL because doors count twice", "because doors count twice"),
        ("The door is never seen.\nFAIL", "The door is never seen."),
        ("FAIL", "It does not agree with the task's description."),
    ],
)
def test_failing_opinions_give_their_reason(answer, reason):
    (finding,) = read_opinion(answer)
    assert (finding.severity, finding.check, finding.message) == ("error", "critic", reason)


@pytest.mark.parametrize("answer", ["", "I cannot tell.", "Fails to compile, perhaps? Passing tests are missing."])
def test_an_opinion_that_is_none_is_only_a_warning(answer):
    (finding,) = read_opinion(answer)
    assert (finding.severity, finding.check) == ("warning", "critic")


def test_long_reasons_are_cut():
    assert len(read_opinion("FAIL: " + "so " * 1000)[0].message) == MAX_TEXT
    assert len(read_opinion("so " * 1000 + "\nFAIL")[0].message) == MAX_TEXT


def test_the_model_is_asked_about_what_nothing_else_speaks_against():
    env, model = cairngym.make("Chain-N10-v0"), Scripted("Wrong.\nFAIL: no goal.", "PASS")
    critic = Critic(env, Weights(), model=model)
    assert [finding.message for finding in critic(CHAIN).errors] == ["no goal."]
    assert critic(CHAIN).accepted
    assert [request.hash for request in model.asked] == [critic_request(env, CHAIN).hash] * 2


def test_a_critic_of_nothing_accepts():
    assert Critic(cairngym.make("Chain-N10-v0"), Weights())(CHAIN) == Verdict(accepted=True)


def test_a_model_that_cannot_be_asked_says_so():
    class Dead(Scripted):
        async def complete(self, request):
            raise ProviderError("gone")

    with pytest.raises(ProviderError, match="gone"):
        Critic(cairngym.make("Chain-N10-v0"), Weights(), model=Dead())(CHAIN)


class FakeSandbox:
    """Gives a verdict that was made beforehand."""

    def __init__(self, verdict):
        self.verdict, self.recorded, self.sources = verdict, object(), []

    def verify(self, source):
        self.sources.append(source)
        return self.verdict


def test_what_is_paid_is_tried_and_components_only_where_that_came_to_an_end(monkeypatch):
    env, looked = cairngym.make("Chain-N10-v0"), []
    monkeypatch.setattr(critic_module, "inspect", lambda *given: looked.append(given) or [error("still", "no")])
    stopped = FakeSandbox(Verdict.refusal("finite", "It is NaN."))
    assert [finding.check for finding in Critic(env, Weights(), sandbox=stopped)(CHAIN).errors] == ["finite"]
    assert looked == []
    assert "torch.sign" in stopped.sources[0]
    ended = FakeSandbox(Verdict(accepted=True, statistics=("some",)))
    model = Scripted()
    assert [f.check for f in Critic(env, Weights(), sandbox=ended, model=model)(CHAIN).errors] == ["still"]
    assert looked[0][1] is ended.recorded
    assert model.asked == []


def test_findings_are_joined_and_errors_refuse():
    passed = Verdict(accepted=True, findings=(warning("scale", "large"),), call_s=1.0)
    assert joined(passed, []) == passed
    assert joined(passed, [warning("still", "hm")]).accepted
    refused = joined(passed, [error("still", "no")])
    assert not refused.accepted
    assert [finding.check for finding in refused.findings] == ["scale", "still"]
    assert refused.call_s == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "source", "checks"),
    [
        ("MiniGrid-DoorKey-5x5-v0", GRID, {"dense against progress", "dense one-sided"}),
        ("FetchPush-v4", PUSH, {"dense against progress"}),
    ],
)
def test_sound_designs_pass_on_a_grid_and_on_an_arm_and_their_opposites_do_not(env_id, source, checks):
    env = named(env_id)
    opposite = source.replace("after - before", "0").replace("before - after", "after - before")
    recorded = rehearse(env, num_envs=8, steps=120)
    with sandbox_for(env, recorded) as sandbox:
        critic = Critic(env, Weights(), sandbox=sandbox)
        sound, wrong = critic(source), critic(opposite)
    assert sound.accepted, sound.table()
    assert checks & {finding.check for finding in wrong.errors}, wrong.table()
