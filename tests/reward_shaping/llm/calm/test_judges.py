"""Judges, the prompts they ask, and how their agreement is counted."""

import json

import pytest
from calm_helpers import TASK, Scribe

import cairngym
from cairngym.envs.minigrid import cells as c
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.answers import read_answer
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.agreement import Agreement, agreement, agreement_on
from cairngym.reward_shaping.llm.calm.events import ACTED, MOVED, Event, decode
from cairngym.reward_shaping.llm.calm.judges import ModelJudge, Question, RecordedJudge, RuleJudge, read_verdict
from cairngym.reward_shaping.llm.calm.prompts import decompose, decomposition_request, requests, sample
from cairngym.reward_shaping.llm.calm.terminations import rule, task_subgoals
from cairngym.reward_shaping.llm.provider import MissingRecordingError
from cairngym.reward_shaping.llm.recorded import RecordedProvider

TAKE_KEY = Subgoal(deed=s.TAKE, kind=c.KEY)
TAKE_RED_KEY = Subgoal(deed=s.TAKE, kind=c.KEY, color=c.RED)


def taken(color):
    key = c.pack(c.KEY, color)
    return Event(ACTED, c.EMPTY_CELL, key, key, c.EMPTY_CELL).encode()


def walked(thing, held=c.EMPTY_CELL):
    return Event(MOVED, held, held, c.EMPTY_CELL, thing).encode()


# Prompts --------------------------------------------------------------------------------------------------------------


def test_questions_are_balanced_different_and_true(asked, env):
    goals = task_subgoals(env)
    assert [one.question.subgoal for one in asked] == [goal for goal in goals for _ in range(10)]
    assert len({one.question for one in asked}) == len(asked)
    for goal in goals:
        truths = [one.truth for one in asked if one.question.subgoal == goal]
        assert 4 <= sum(truths) <= 5
    for one in asked:
        assert rule(one.question.subgoal, decode(one.question.event)) == one.truth


def test_requests_belong_to_the_id(env, asked):
    first = requests(env)
    assert [request.label for request in first] == [
        f"calm/{TASK}/subgoals", *(f"calm/{TASK}/{number}" for number in range(len(asked)))
    ]  # fmt: skip
    other = cairngym.make(TASK, bank_size=1, split="test", seed=9)
    assert [request.hash for request in requests(other)] == [request.hash for request in first]


def test_what_is_asked_about_a_subgoal_does_not_depend_on_the_others(env, asked):
    goal = task_subgoals(env)[1]
    assert sample(env, [goal]) == [one for one in asked if one.question.subgoal == goal]


def test_prompts_tell_the_transition_and_not_the_answer(asked):
    request = ModelJudge(Scribe(str), "Do it.", "calm/x").request(asked[0].question, 7)
    text = request.messages[-1].content
    assert decode(asked[0].question.event).text in text
    assert asked[0].question.subgoal.sentence in text
    assert "The agent's task: Do it." in text
    assert request.label == "calm/x/7"


def test_decomposition(env):
    said = [
        {"do": "open", "object": "door", "state": "locked", "color": ""},
        {"do": "pick up", "object": "ball", "color": "", "x": 3, "y": 4},
        {"do": "pick up", "object": "ball", "color": ""},
        {"do": "sing", "object": "ball"},
        {"do": "go to", "object": "wall"},
    ]
    with Scribe(lambda request: f"```json\n{json.dumps(said)}\n```") as provider:
        found = decompose(env, provider)
        assert provider.requests == [decomposition_request(env)]
    assert [goal.sentence for goal in found] == ["open the locked door", "pick up the ball"]
    assert found[0] in task_subgoals(env)
    text = decomposition_request(env).messages[-1].content
    assert [goal.sentence for goal in read_answer(text[text.rindex("```json") :]).subgoals] == ["open the locked door"]


# Judges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("yes", True), ("No.", False), ("The key is in no hand before.\n\n**Yes**", True), ("YES\nno", False),
        ("", None),
        ("I know nothing.", None), ("yesterday", None),
    ],
)  # fmt: skip
def test_verdicts(text, want):
    assert read_verdict(text) is want


def test_a_rule_errs_as_often_as_it_should_and_always_alike():
    questions = [Question(TAKE_KEY, walked(c.pack(kind, color), c.pack(held, tint)))
                 for kind in (c.WALL, c.KEY, c.BALL, c.BOX) for color in range(6) for held in (c.KEY, c.BALL, c.BOX)
                 for tint in range(6)]  # fmt: skip
    assert not any(RuleJudge().judge(questions))
    wrong = RuleJudge(noise=0.3).judge(questions)
    assert 0.22 < sum(wrong) / len(wrong) < 0.38  # 432 draws: four standard deviations are 0.09
    assert RuleJudge(noise=0.3).judge(questions[::-1]) == wrong[::-1]
    assert RuleJudge(noise=0.3, seed=1).judge(questions) != wrong
    with pytest.raises(ValueError, match="noise"):
        RuleJudge(noise=2.0)


def test_a_model_is_asked_once_a_question_and_may_be_down():
    answers = {taken(c.RED): "Yes", taken(c.BLUE): None, walked(c.WALL_CELL): "no", taken(c.GREEN): "perhaps"}
    texts = {decode(event).text: answer for event, answer in answers.items()}
    with Scribe(lambda r: next(a for text, a in texts.items() if text in r.messages[-1].content)) as provider:
        questions = [Question(TAKE_KEY, event) for event in answers]
        assert ModelJudge(provider).judge(questions) == [True, None, False, None]
        assert len(provider.requests) == 4


def test_what_was_recorded_is_generalised():
    questions = [Question(TAKE_KEY, taken(c.RED)), Question(TAKE_KEY, walked(c.WALL_CELL)),
                 Question(TAKE_RED_KEY, taken(c.RED)), Question(TAKE_RED_KEY, taken(c.BLUE))]  # fmt: skip
    judge = RecordedJudge(questions, [True, False, True, False])
    assert judge.judge(questions) == [True, False, True, False]
    other = [
        Question(TAKE_KEY, taken(c.GREEN)),  # another colour
        Question(TAKE_KEY, walked(c.pack(c.DOOR, c.BLUE), c.pack(c.BALL))),  # another way, nothing changes
        Question(TAKE_RED_KEY, taken(c.GREEN)),  # not red either
        Question(TAKE_RED_KEY, walked(c.WALL_CELL)),  # nothing like it
        Question(Subgoal(deed=s.TAKE, kind=c.BALL), taken(c.RED)),  # another subgoal
    ]
    assert judge.judge(other) == [True, False, False, None, None]
    torn = RecordedJudge([questions[0], Question(TAKE_KEY, taken(c.BLUE))], [True, False])
    assert torn.judge([other[0]]) == [False]
    assert RecordedJudge(questions, [None] * 4).judge(questions) == [None] * 4


# Agreement ------------------------------------------------------------------------------------------------------------


def test_the_rule_agrees_and_a_noisy_one_less(env):
    exact = agreement(RuleJudge(), env, steps=60)
    assert list(exact) == [goal.sentence for goal in task_subgoals(env)]
    assert all(one.f1 == 1.0 for one in exact.values())
    assert sum(one.right for one in exact.values()) > 10
    noisy = agreement(RuleJudge(noise=0.2), env, steps=60)
    assert sum(one.f1 for one in noisy.values()) < 0.8 * len(noisy)
    assert agreement(RuleJudge(noise=0.2), env, steps=60) == noisy


def test_agreement_by_hand():
    one = Agreement(right=3, wrong=1, missed=2, unanswered=1)
    assert (one.precision, one.recall) == (0.75, 0.6)
    assert one.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert Agreement(right=0, wrong=0, missed=0).f1 == 1.0
    assert Agreement(right=0, wrong=4, missed=0).f1 == 0.0
    assert one + one == Agreement(right=6, wrong=2, missed=4, unanswered=2)


def test_a_rule_learned_from_recordings_agrees_with_levels_never_seen(env, asked, cassette):
    judge = RecordedJudge.learn(env, RecordedProvider(cassette))
    assert all(one.f1 == 1.0 for one in agreement_on(judge, asked).values())
    unseen = agreement(judge, env, steps=60)
    assert all(one.f1 > 0.95 for one in unseen.values()), unseen
    recorded = ModelJudge(RecordedProvider(cassette), env.task.instruction)
    assert agreement_on(recorded, asked) == agreement_on(judge, asked)


def test_missing_recordings_say_what_is_missing(cassette):
    other = cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", bank_size=2)
    with pytest.raises(MissingRecordingError, match="record --task MiniGrid-MultiRoom-N2-S4-v0 --system calm"):
        RecordedJudge.learn(other, RecordedProvider(cassette))
