import pytest
from oni_toys import Many, world

from cairngym.envs.registry import make
from cairngym.reward_shaping.llm.oni.annotators import Context
from cairngym.reward_shaping.llm.oni.prompts import label_request, read_answers
from cairngym.reward_shaping.llm.oni.sheets import closed_pairs, opponents, requests, sheets

WORTHS = {"FOO": 1.0, "BAR": 0.0}


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("Reasons: because.\n1: FOO\n2: BAR\n3: FOO", [1, 0, 1]),
        ("**1**: FOO\n2. BAR\n3) `FOO`", [1, 0, 1]),
        ("1: FOO\nWait.\n1: BAR\n3: FOO", [0, None, 1]),
        ("1: foo\n2: FOOD\n3: FOO because of the key", [None, None, None]),
        ("1: SAME\n7: FOO\n0: FOO\n99999999999: FOO", [None, None, None]),
        ("", [None, None, None]),
        ("I can't help with that.", [None, None, None]),
    ],
)
def test_answers_are_read_strictly_and_never_raise(text, answers):
    assert read_answers(text, 3, WORTHS) == answers


def test_a_prompt_says_what_is_asked_and_nothing_that_changes():
    context = Context(instruction="Fetch the [colour] ball.", setting="A grid.", label="oni/x")
    one, other = (label_request(context, ["you nod", "you win"]) for _ in range(2))
    assert one == other
    assert one.hash == other.hash
    content = one.messages[-1].content
    for part in ("Fetch the [colour] ball.", "A grid.", "1. you nod\n2. you win", "differs from episode to episode"):
        assert part in content
    assert one.label == "oni/x"


def test_a_task_is_asked_about_in_sheets_that_cover_its_captions_once():
    env = make("MiniGrid-RedBlueDoors-6x6-v0", num_envs=1, bank_size=32)
    asked = requests(env, per_prompt=16)
    content = "\n".join(request.messages[-1].content.split("Now the real ones.")[1] for request in asked)
    assert content.count(". you open the red door") == 1
    assert content.count(". you see an open grey door") == 1
    assert "unlock" not in content.replace("locked door opens", "")
    assert {request.label for request in asked} == {"oni/MiniGrid-RedBlueDoors-6x6-v0"}
    assert asked == requests(env, per_prompt=16)


def test_captions_without_an_end_can_not_be_listed():
    with pytest.raises(ValueError, match="lists its captions"):
        requests(world(), captioner=Many())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 16, 103])
def test_pairs_are_met_once_and_link_all_captions(count):
    captions = [f"c{index}" for index in range(count)]
    pairs = closed_pairs(captions, 4)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(one != other for one, other in pairs)
    reached = {"c0"}
    for _ in range(count):
        reached |= {caption for pair in pairs if reached & set(pair) for caption in pair}
    assert len(reached) == count


def test_a_growing_list_keeps_its_pairs():
    early, late = (
        {(index, other) for index in range(9) for other in opponents(index, count, 4, wrap=False)} for count in (9, 50)
    )
    assert early == late
    assert (8, 0) in early
    assert len(sheets(sorted(early), 5)) == -(-len(early) // 5)
