"""Answers in every shape, from the one asked for to none at all."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.answers import MOST, read_answer

KEY, DOOR, BALL = (s.TAKE, 5, 2, 1, 3), (s.OPEN, 4, 2, 5, 2), (s.TAKE, 6, 0, 7, 1)
"""Deed, type, colour, x, y."""


def read(text):
    return [(goal.deed, goal.kind, goal.color, goal.x, goal.y) for goal in read_answer(text).subgoals]


ASKED = json.dumps(
    [
        {"do": "pick up", "object": "key", "color": "blue", "x": 1, "y": 3},
        {"do": "open", "object": "door", "color": "blue", "x": 5, "y": 2},
        {"do": "pick up", "object": "ball", "color": "red", "x": 7, "y": 1},
    ]
)
SAME = {
    "as asked": ASKED,
    "fenced": f"```json\n{ASKED}\n```",
    "after thoughts": f"The key [blue] is at (1, 3). First:\n\n[1, 2]\n\nSo:\n{ASKED}\nDone.",
    "hidden thoughts": f'<think>[{{"do": "open", "object": "box", "color": "red", "x": 0, "y": 0}}]</think>{ASKED}',
    "the last list counts": '[{"do": "open", "object": "box", "x": 0, "y": 0}]\nNo, wait:\n' + ASKED,
    "no list around it": ASKED.strip("[]"),
    "one a line": ASKED.strip("[]").replace("}, {", "}\n{"),
    "python": str(json.loads(ASKED)),
    "trailing commas": ASKED.replace("}", ",}").replace("]", ",]"),
    "comments": ASKED.replace('"y": 3', '"y": 3 // in the corner\n'),
    "bare keys": ASKED.replace('"do"', "do").replace('"x"', "x"),
    "capitals and other words": ASKED.replace("pick up", "Grab").replace("open", "UNLOCK").replace("blue", "Blue"),
    "other names": ASKED.replace('"do"', '"action"').replace('"object"', '"type"').replace('"color"', '"colour"'),
    "snakes": ASKED.replace("pick up", "pick_up"),
    "texts": '["pick up the blue key at (1, 3)", "open the locked blue door at x=5, y=2", "get red ball (7,1)"]',
    "texts under one name": '[{"subgoal": "Pick up the blue key", "x": 1, "y": 3}, {"subgoal": "open blue door", '
    '"position": [5, 2]}, {"subgoal": "Take the red ball", "position": {"x": 7, "y": 1}}]',
    "numbered": "1. Pick up the blue key at (1, 3)\n2) Open the blue door (5,2) with the blue key\n"
    "3: Collect the red ball at (x=7, y=1)\n",
    "bullets": "Plan:\n- **Pick up** the blue key at (1, 3)\n* open the blue door at [5, 2]\n"
    "• fetch the red ball at 7, 1",
    "numbers as text": ASKED.replace('"x": 1', '"x": "1"').replace('"y": 3', '"y": 3.0'),
}


@pytest.mark.parametrize("name", SAME)
def test_all_of_these_say_the_same(name):
    assert read(SAME[name]) == [KEY, DOOR, BALL]
    assert read_answer(SAME[name]).unread == 0


def test_a_list_that_is_cut_off_gives_what_is_whole():
    assert read(ASKED[: ASKED.rindex("ball")]) == [KEY, DOOR]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("put the blue key near the purple box", (s.PUT, 7, 3)),
        ("go to the green goal square", (s.GO, 8, 1)),
        ("move to the red door", (s.GO, 4, 0)),
        ("move the green ball out of the way of the locked grey door", (s.TAKE, 6, 1)),
        ("unlock the gray door", (s.OPEN, 4, 5)),
        ("pick up the key of the yellow door", (s.TAKE, 5, 4)),
        ("reach the goal", (s.GO, 8, None)),
        ("toggle the box", (s.OPEN, 7, None)),
    ],
)
def test_words(text, want):
    (goal,) = read_answer(json.dumps([text])).subgoals
    assert (goal.deed, goal.kind, goal.color) == want
    assert (goal.x, goal.y) == (None, None)


def test_the_state_of_a_door_is_read_where_it_is_said():
    states = [goal.state for goal in read_answer('["open the locked red door", "open the red door"]').subgoals]
    assert states == [2, None]
    (goal,) = read_answer('[{"do": "open", "object": "door", "color": "red", "state": "closed"}]').subgoals
    assert goal.sentence == "open the closed red door"


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("", 0),
        ("I'm sorry, I can't help with that.", 0),
        ("[]", 0),
        ("[[[[", 0),
        ("[" * 50_000, 0),
        ('{"a": ' * 50_000, 0),
        ("null", 0),
        ('[{"do": "dance", "object": "door"}]', 1),
        ('[{"do": "open", "object": "window"}]', 1),
        ('[{"do": 3, "object": null}]', 1),
        ('["hello", {"do": "open"}]', 2),
        ("def reward(state): return 0", 0),
        ("\x00\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), 0),
    ],
)
def test_nonsense_gives_nothing(text, unread):
    answer = read_answer(text)
    assert answer.subgoals == ()
    assert answer.unread == unread


@pytest.mark.parametrize("x", ["1e999", "NaN", '"left"', "[3]", "null", "true", "2.5", "123456789"])
def test_a_place_that_is_none(x):
    text = '[{"do": "open", "object": "door", "color": "red", "x": ' + x + ', "y": 2}]'
    assert read(text) == [(s.OPEN, 4, 0, None, 2)]


def test_an_answer_without_end_is_cut():
    assert len(read_answer(json.dumps(["open the red door"] * 1000)).subgoals) == MOST


PIECES = st.sampled_from(
    [*'[]{}",:', "do", "open", "door", "red", '"do": "open"', '"object": "key"', "(3, 4)", "\n- ", "go to"]
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join)))
def test_nothing_raises(text):
    answer = read_answer(text)
    assert all(goal.deed in (s.GO, s.TAKE, s.OPEN, s.PUT) for goal in answer.subgoals)
