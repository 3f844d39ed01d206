"""Prompts hold what is to be seen and nothing else; errors are measured on answers to them."""

import json

import pytest
from drawn_levels import drawn

import cairngym
from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import NEAR
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.answers import read_answer
from cairngym.reward_shaping.llm.beacons.description import describe
from cairngym.reward_shaping.llm.beacons.errors import ErrorModel
from cairngym.reward_shaping.llm.beacons.measurement import align, compare, compare_answers, measure, prompt_plans
from cairngym.reward_shaping.llm.beacons.observation import BeaconObservation
from cairngym.reward_shaping.llm.beacons.planner import plan
from cairngym.reward_shaping.llm.beacons.prompts import prompt_levels, requests
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.provider import MissingRecordingError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record_texts

TASK = "MiniGrid-KeyCorridorS3R3-v0"


@pytest.fixture(scope="module")
def env():
    return cairngym.make(TASK, bank_size=2, threads=1)


def answer(goals):
    """The answer that names these subgoals."""
    return json.dumps(
        [
            {"do": s.VERBS[goal.deed], "object": s.NOUNS[goal.kind], "color": s.COLORS[goal.color or 0],
             "x": goal.x, "y": goal.y}
            for goal in goals
        ]
    )  # fmt: skip


# Prompts --------------------------------------------------------------------------------------------------------------


def test_requests_are_labelled_and_the_same_for_every_env_of_the_id(env):
    asked = requests(env, 3)
    assert [request.label for request in asked] == [f"beacons/{TASK}/{row}" for row in range(3)]
    assert len({request.hash for request in asked}) == 3
    other = cairngym.make(TASK, bank_size=1, num_envs=2, split="test", seed=5)
    assert [request.hash for request in requests(other, 4)[:3]] == [request.hash for request in asked]


def test_levels_asked_about_are_in_no_split(env):
    asked = {level.tobytes() for level in prompt_levels(env, 3).cells}
    for split in ("train", "test"):
        bank = cairngym.make(TASK, bank_size=16, split=split).world.store.drawn
        assert not asked & {level.tobytes() for level in bank.cells}


def test_a_level_is_described_without_what_is_hidden():
    bank, width, _ = drawn("####### #B.>.D# #...*G# #######", [(NEAR, (5, 2), 0)])
    assert describe(bank, 0, width).splitlines() == [
        "Mission: do it", "", "####### y=0", "#B.>.D# y=1", "#...OG# y=2", "####### y=3", "",
        "The agent is at x=3, y=1, looks right and carries nothing.", "Objects:", "- a closed purple box at x=1, y=1",
        "- a locked red door at x=5, y=1", "- a green ball at x=4, y=2", "- the green goal square at x=5, y=2",
    ]  # fmt: skip
    hollow, _, _ = drawn("####### #b.>.D# #...*G# #######", [(NEAR, (5, 2), 0)])
    hollow.cells[0, 8] = c.pack(c.BOX, c.PURPLE)
    assert describe(hollow, 0, width) == describe(bank, 0, width)


def test_the_format_that_is_shown_is_read(env):
    text = requests(env, 1)[0].messages[-1].content
    example = text[text.rindex("```json") :]
    assert [goal.sentence for goal in read_answer(example).subgoals] == ["open the red door"]


# Alignment ------------------------------------------------------------------------------------------------------------

DOOR = Subgoal(deed=s.OPEN, kind=c.DOOR, color=0, state=1, x=3, y=4)
KEY = Subgoal(deed=s.TAKE, kind=c.KEY, color=2, x=1, y=1)
BALL = Subgoal(deed=s.TAKE, kind=c.BALL, color=4, x=8, y=8)
MOVED = Subgoal(deed=s.TAKE, kind=c.KEY, color=2, x=3, y=2)
OTHER = Subgoal(deed=s.TAKE, kind=c.KEY, color=5, x=1, y=1)


@pytest.mark.parametrize(
    ("named", "meant", "want"),
    [
        ([DOOR, KEY], [DOOR, KEY], [(DOOR, DOOR), (KEY, KEY)]),
        ([KEY], [DOOR, KEY, BALL], [(None, DOOR), (KEY, KEY), (None, BALL)]),
        ([DOOR, BALL, KEY], [DOOR, KEY], [(DOOR, DOOR), (BALL, None), (KEY, KEY)]),
        ([MOVED, BALL], [KEY, BALL], [(MOVED, KEY), (BALL, BALL)]),
        ([DOOR, OTHER, BALL], [DOOR, KEY, BALL], [(DOOR, DOOR), (OTHER, KEY), (BALL, BALL)]),
        ([], [DOOR], [(None, DOOR)]),
        ([DOOR], [], [(DOOR, None)]),
        ([], [], []),
    ],
)
def test_alignment(named, meant, want):
    assert align(named, meant) == want


def test_right_answers_have_no_errors(env):
    plans = prompt_plans(env, 3)
    found = compare([answer(plans.level(row)) for row in range(3)], plans)
    for kind in ("position", "object", "language"):
        assert found.model(kind) == ErrorModel()


def test_errors_are_counted_by_hand():
    bank, width, height = drawn("########### #>.d.K.D.G# ###########", [(NEAR, (9, 1), 0)])
    plans = plan(bank, width, height)
    door, key, lock, goal = plans.level(0)
    texts = [
        answer([door, key, lock]),  # the goal is missing
        answer([door, Subgoal(deed=s.TAKE, kind=c.KEY, color=0, x=key.x + 2, y=key.y - 1), lock, goal]),  # 3 cells off
        answer([door, BALL, Subgoal(deed=s.TAKE, kind=c.KEY, color=4, x=key.x, y=key.y), lock, goal]),  # extra, colour
        answer([Subgoal(deed=s.GO, kind=c.DOOR, color=2, x=door.x + 1, y=1), key, lock, goal]),  # verb and place
    ]
    plans = plan(type(bank).join([bank] * 4), width, height)
    found = compare(texts, plans)
    assert len(found.pairs) == 15
    assert found.missing == (goal,)
    assert [extra.thing for extra in found.extra] == [BALL.thing]
    share = {"missing": 1 / 16, "extra": 1 / 16, "position_error": 2.0, "position_std": 1.0}
    assert found.model("position") == ErrorModel(accuracy=13 / 15, **share)
    assert found.model("object") == ErrorModel(accuracy=14 / 15, **share)
    assert found.model("language") == ErrorModel(accuracy=13 / 15, **share)


def test_an_answer_that_names_nothing_misses_everything(env):
    found = compare(["I can't.", "[]"], prompt_plans(env, 2)).model("object")
    assert (found.accuracy, found.missing, found.extra) == (0.0, 1.0, 0.0)


def test_one_answer_a_level(env):
    with pytest.raises(ValueError, match="each of the 2 levels, got 1"):
        compare(["[]"], prompt_plans(env, 2))


# Recordings -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cassette(env, tmp_path):
    """Right answers for ten levels, but that every key is said to be one column further."""
    plans = prompt_plans(env)
    for row, request in enumerate(requests(env)):
        goals = [
            Subgoal(deed=g.deed, kind=g.kind, color=g.color, x=g.x + (g.kind == c.KEY), y=g.y) for g in plans.level(row)
        ]
        record_texts(tmp_path / "beacons.jsonl", request, (answer(goals),), source="a test", date="2026-01-01")
    return tmp_path / "beacons.jsonl"


def test_an_error_model_is_measured_on_recordings(env, cassette):
    wrapped = BeaconObservation(env, kind="position", error_model=f"recorded:{cassette}")
    total = int(prompt_plans(env).count.sum())
    assert wrapped.errors == ErrorModel(accuracy=1 - 10 / total, position_error=1.0, position_std=0.0)
    assert BeaconObservation(env, kind="object", error_model=f"recorded:{cassette}").errors == ErrorModel()
    with RecordedProvider(cassette) as provider:
        assert measure(env, provider, "language") == ErrorModel()
        assert len(compare_answers(env, RecordedProvider(cassette)).pairs) == total


def test_a_missing_recording_says_what_is_missing(env, cassette):
    other = cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", bank_size=2)
    with pytest.raises(MissingRecordingError, match="record --task MiniGrid-MultiRoom-N2-S4-v0 --system beacons"):
        BeaconObservation(other, error_model=f"recorded:{cassette}")
