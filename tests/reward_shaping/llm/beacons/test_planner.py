"""The right subgoals: hand-made levels, and a brute-force search through small ones."""

import pytest
from drawn_levels import drawn, fewest_moves

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import BESIDE, CARRY, NEAR, OPENED
from cairngym.envs.minigrid.levels import LevelBank, load_bank, make_reference
from cairngym.reward_shaping.llm.beacons.planner import plan

BLUE_BALL = c.BALL | c.BLUE << c.COLOR

MADE = {
    "doors on the way": (
        "######### #>.d.e.G# #########", [(NEAR, (7, 1), 0)],
        ["open the closed blue door", "open the closed grey door", "go to the goal"],
    ),
    "an open door is no subgoal": ("####### #>.o.G# #######", [(NEAR, (5, 1), 0)], ["go to the goal"]),
    "a door off the way is none": ("####### #>...G# ###d### #.....# #######", [(NEAR, (5, 1), 0)], ["go to the goal"]),
    "key before locked door": (
        "####### #K>.D.# ####.## #######", [(OPENED, (4, 1), 0)], ["pick up the red key", "open the locked red door"],
    ),
    "box, key, door, ball": (
        "######### #B.>.D.T# #########", [(CARRY, (7, 1), BLUE_BALL)],
        ["open the purple box", "pick up the red key", "open the locked red door", "pick up the blue ball"],
    ),
    "what blocks the door comes before the key": (
        "######### #K.>*D.T# #....##.# #########", [(CARRY, (7, 1), BLUE_BALL)],
        ["pick up the green ball", "pick up the red key", "open the locked red door", "pick up the blue ball"],
    ),
    "what can be walked around stays": (
        "####### #>.*.G# #.....# #######", [(NEAR, (5, 1), 0)], ["go to the goal"],
    ),
    "two locks, the second key behind the first": (
        "########### #K>.D.LE.G# ###########", [(NEAR, (9, 1), 0)],
        ["pick up the red key", "open the locked red door", "pick up the yellow key", "open the locked yellow door",
         "go to the goal"],
    ),
    "a way without a lock is longer, and taken": (
        "####### #>.D.G# #.###.# #.....# #K#####", [(NEAR, (5, 1), 0)], ["go to the goal"],
    ),
    "a closed door on the way to the key": (
        "######### #K.d>D.G# #########", [(NEAR, (7, 1), 0)],
        ["open the closed blue door", "pick up the red key", "open the locked red door", "go to the goal"],
    ),
    "two targets": (
        "####### #>.T..# #....b# #######", [(CARRY, (3, 1), BLUE_BALL), (BESIDE, (5, 2), BLUE_BALL)],
        ["pick up the blue ball", "put it down near the grey box"],
    ),
    "lava is no way": ("####### #>~.G.# #.....# #######", [(NEAR, (4, 1), 0)], ["go to the goal"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_hand_made_levels(name):
    text, targets, sentences = MADE[name]
    bank, width, height = drawn(text, targets)
    assert [goal.sentence for goal in plan(bank, width, height).level(0)] == sentences


def test_levels_planned_together_are_planned_as_alone():
    first = drawn("######### #>.d.e.G# #########", [(NEAR, (7, 1), 0)])[0]
    second = drawn("######### #K.>.D.G# #########", [(NEAR, (7, 1), 0)])[0]
    table = plan(LevelBank.join([first, second]), 9, 3)
    for row, bank in enumerate((first, second)):
        assert table.level(row) == plan(bank, 9, 3).level(0)
    assert table.count.tolist() == [3, 3]


def test_an_agent_without_hands_only_goes():
    bank, width, height = drawn("####### #>.*.G# #######", [(NEAR, (5, 1), 0)])
    assert [goal.sentence for goal in plan(bank, width, height, tools=False).level(0)] == ["go to the goal"]


def test_without_a_target_there_is_nothing_to_do():
    bank, width, height = drawn("####### #>.d..# #######", [])
    table = plan(bank, width, height)
    assert table.count.tolist() == [0]
    assert table.level(0) == []


SEARCHED = ("DoorKey-5x5-v0", "Unlock-v0", "KeyCorridorS3R1-v0", "KeyCorridorS3R2-v0", "ObstructedMaze-1Dlh-v0",
            "ObstructedMaze-1Dlhb-v0", "MultiRoom-N2-S4-v0", "RedBlueDoors-6x6-v0")  # fmt: skip


@pytest.mark.parametrize("name", SEARCHED)
def test_the_search_needs_no_more_moves_with_the_subgoals(name):
    """Reaching them in order costs nothing, and none of the doors can be left shut."""
    env_id = "MiniGrid-" + name
    reference, levels = make_reference(env_id), 2 if "hb" in name else 4
    bank = load_bank(env_id, levels)
    table = plan(bank, reference.width, reference.height)
    for row in range(levels):
        entries = table.entries[row, : int(table.count[row])].tolist()
        final = entries if "RedBlue" in name else entries[-1:]
        fewest = fewest_moves(bank, row, reference.width, final)
        assert fewest is not None
        assert fewest_moves(bank, row, reference.width, entries) == fewest
        for deed, cell, kind, *_ in entries[:-1]:
            if kind == c.DOOR and "KeyCorridor" not in name:
                assert fewest_moves(bank, row, reference.width, final, forbidden=cell) is None, (deed, cell)
