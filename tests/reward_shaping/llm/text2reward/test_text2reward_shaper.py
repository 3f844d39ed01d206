import pickle
import warnings

import pytest
import torch
from scribe import GOOD, Scribe, answer, program

import cairngym
from cairngym.envs.tabular import TabularTask
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.program_term import whole
from cairngym.reward_shaping.llm.provider import MissingRecordingError
from cairngym.reward_shaping.llm.recording import record_texts
from cairngym.reward_shaping.llm.text2reward.prompt import feedback_request, first_request
from cairngym.reward_shaping.llm.text2reward.shaper import Text2RewardShaper
from cairngym.reward_shaping.llm.writing import continued
from cairngym.reward_shaping.registry import make_term, register_shaper

WANDER = answer(program("-next_state.node.float()"))
"""Pays for moving away from the goal, which verification refuses."""
PROGRESS = answer(program("(next_state.node - state.node) / 9.0", "forth"))
PUSH = """```python
def reward(state, action, next_state, memory):
    before = torch.linalg.norm(state.object_position - state.goal, dim=-1)
    after = torch.linalg.norm(next_state.object_position - next_state.goal, dim=-1)
    hand = torch.linalg.norm(state.gripper_position - state.object_position, dim=-1)
    hand_after = torch.linalg.norm(next_state.gripper_position - next_state.object_position, dim=-1)
    push = 10.0 * (before - after)
    near = 2.0 * (hand - hand_after)
    return push + near, {"push": push, "near": near}
```"""
FAR = PUSH.replace("10.0 * (before - after)", "10.0 * (after - before)").replace("2.0 * (hand", "0.1 * (hand")


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_shaper("text2reward under test", Text2RewardShaper)


def chain(num_envs=2, name="Chain-N10-v0"):
    env = cairngym.make(name, num_envs=num_envs)
    env.unwrapped.id = name
    return env


def record(path, request, *texts):
    record_texts(path, request, texts, source="test", date="2026-01-31")


def terms(env, steps=3):
    env.reset(seed=0)
    return [
        env.step(torch.ones(env.num_envs, dtype=torch.int64))[4]["reward_terms"]["t"].tolist() for _ in range(steps)
    ]


def shaped(shaper, env=None):
    return ShapedEnv(env or chain(), [Term(name="t", shaper=shaper)])


def test_it_replays_a_recorded_program_from_configuration(tmp_path):
    env, cassette = chain(), tmp_path / "text2reward.jsonl"
    record(cassette, first_request(env), WANDER, PROGRESS)
    config = {
        "name": "text2reward under test", "provider": f"recorded:{cassette}", "candidate": "1", "verify": False,
        "limit": "1e3", "term": "t",
    }  # fmt: skip
    term = make_term(config)
    shaped_env = ShapedEnv(env, [term])
    assert terms(shaped_env) == [[pytest.approx(1 / 9)] * 2] * 3
    assert term.shaper.requires == ("node",)
    assert term.shaper.note == ""
    assert not term.shaper.memory


def test_verification_refuses_a_program_and_the_repair_is_taken():
    env, scribe = chain(), Scribe(WANDER, PROGRESS)
    shaper = Text2RewardShaper(provider=scribe)
    shaped_env = shaped(shaper, env)
    (written,) = shaper.written
    assert [attempt.accepted for attempt in written.attempts] == [False, True]
    assert written.attempts[0].verdict.errors
    assert "it was tried on recorded transitions" in scribe.asked[1].messages[-1].content
    assert terms(shaped_env) == [[pytest.approx(1 / 9)] * 2] * 3
    assert env.unwrapped.episodes.number.tolist() == [0, 0], "the env itself was not played in meanwhile"
    assert shaper.note == ""


def test_verification_works_on_a_physics_task():
    env = chain(num_envs=2, name="FetchPush-v4")
    shaper = Text2RewardShaper(provider=Scribe(FAR, PUSH))
    shaped(shaper, env)
    first, second = shaper.written[0].attempts
    assert {finding.check for finding in first.verdict.errors} & {"progress", "moving away", "standing still"}
    assert second.verdict.accepted
    assert shaper.program.components == ("push", "near")


def test_the_repair_of_a_recorded_candidate_is_replayed(tmp_path):
    env, cassette = chain(), tmp_path / "c.jsonl"
    bad = answer(program("next_state.nodes / 9"))
    request = first_request(env)
    record(cassette, request, bad)
    scribe = Scribe(bad, GOOD)
    shaped(Text2RewardShaper(provider=scribe, verify=False), env)
    record(cassette, scribe.asked[1], GOOD)
    shaper = Text2RewardShaper(provider=f"recorded:{cassette}", verify=False)
    shaped(shaper, chain())
    assert len(shaper.written[0].attempts) == 2
    assert shaper.program.components == ("near",)


def test_without_an_accepted_program_it_says_why_and_what_to_do():
    with pytest.raises(ValueError, match="candidate 0, but none was accepted") as caught:
        shaped(Text2RewardShaper(provider=Scribe("", "No."), repairs=1, verify=False))
    assert "1. The completion is empty" in str(caught.value)
    assert "text2reward/Chain-N10-v0" in str(caught.value)


def test_a_missing_recording_says_how_to_make_one(tmp_path):
    cassette = tmp_path / "empty.jsonl"
    cassette.touch()
    with pytest.raises(MissingRecordingError, match="cairn reward record --task Chain-N10-v0 --system text2reward"):
        shaped(Text2RewardShaper(provider=f"recorded:{cassette}"))


def test_an_env_without_an_id_is_compiled_for_only_and_says_so():
    env = cairngym.make("Chain-N10-v0")
    env.unwrapped.id = ""
    shaper = Text2RewardShaper(provider=Scribe(WANDER))
    with pytest.warns(UserWarning, match="not tried on transitions"):
        shaped(shaper, env)
    assert "not tried" in shaper.note
    assert shaper.written[0].verdict is None


def test_an_id_that_measures_other_things_is_not_trusted():
    env = chain(name="MiniGrid-Empty-5x5-v0")
    env.unwrapped.id = "Chain-N10-v0"
    with pytest.warns(UserWarning, match="not tried"):
        shaped(Text2RewardShaper(provider=Scribe(answer(program("next_state.agent_dir / 4")))), env)


def test_binding_again_asks_no_second_time_unless_the_task_is_another():
    scribe = Scribe(GOOD, PROGRESS)
    shaper = Text2RewardShaper(provider=scribe, verify=False)
    shaped(shaper)
    shaped(shaper, chain(num_envs=5))
    assert len(scribe.asked) == 1
    other = chain()
    other.unwrapped.task.instruction = "Go to the end."
    assert isinstance(other.unwrapped.task, TabularTask)
    shaped(shaper, other)
    assert len(scribe.asked) == 2
    assert shaper.program.components == ("forth",)


def test_feedback_rounds_follow_one_another():
    scribe = Scribe(GOOD, "", answer(program("next_state.node / 10.0", "better")), PROGRESS)
    shaper = Text2RewardShaper(provider=scribe, feedback=["It waits.", "Still waits."], verify=False)
    env = chain()
    shaped(shaper, env)
    rounds = shaper.written
    assert [len(written.attempts) for written in rounds] == [1, 2, 1]
    assert shaper.program.components == ("forth",)
    first = feedback_request(first_request(env), rounds[0].source, feedback="It waits.")
    assert scribe.asked[1] == first
    assert scribe.asked[2].messages[:4] == continued(first, "", "x").messages[:4]
    assert "better" in scribe.asked[3].messages[2].content
    single = Text2RewardShaper(provider=Scribe(GOOD, PROGRESS), feedback="One text.", verify=False)
    assert single.feedback == ("One text.",)


def test_it_can_be_a_potential():
    shaper = Text2RewardShaper(provider=Scribe(GOOD), verify=False, invariant=True, gamma=0.9)
    env = shaped(shaper)
    assert shaper.policy_invariant
    assert terms(env, 1) == [[pytest.approx(0.9 / 9)] * 2]


def test_a_potential_is_asked_for_and_verified_as_one():
    remembers = """
def reward(state, action, next_state, memory):
    best = torch.maximum(memory.get("best", 0.0), next_state.node / 9)
    memory["best"] = best
    return best, {"best": best}
"""
    scribe = Scribe(answer(remembers), PROGRESS, answer(program("next_state.node / 9 + 0.0 * action", "state")))
    shaper = Text2RewardShaper(provider=scribe, invariant=True, gamma=0.99)
    env = shaped(shaper)
    first, second, third = shaper.written[0].attempts
    assert "memory is empty" in first.problem
    assert "as a potential it says nothing" in second.problem.replace("\n", " ")
    assert third.accepted
    assert scribe.asked[0] == first_request(chain(), potential=True) != first_request(chain())
    assert terms(env, 1) == [[pytest.approx(0.99 / 9)] * 2]


def test_a_run_resumes_with_the_same_program():
    env = shaped(Text2RewardShaper(provider=Scribe(GOOD), verify=False))
    terms(env)
    snapshot = pickle.loads(pickle.dumps(env.get_state()))
    resumed = shaped(Text2RewardShaper(provider=Scribe(WANDER), verify=False))
    resumed.set_state(snapshot)
    action = torch.ones(2, dtype=torch.int64)
    assert torch.equal(env.step(action)[1], resumed.step(action)[1])


def test_a_provider_given_is_left_open_and_nothing_is_printed(capsys):
    scribe = Scribe(GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shaped(Text2RewardShaper(provider=scribe, verify=False))
    scribe.answers.append(GOOD)
    assert scribe.complete_sync(first_request(chain())).text == GOOD
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("value", [-1, 1.5, "two", True, None])
def test_counts_are_whole_numbers(value):
    with pytest.raises(ValueError, match="Expected candidate as a"):
        Text2RewardShaper(candidate=value)
    assert whole("candidate", "2") == 2
