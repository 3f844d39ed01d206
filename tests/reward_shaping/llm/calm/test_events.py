"""Events tell what plain Python sees, and subgoals end when they do."""

import pytest
import torch

import cairngym
from cairngym.envs.minigrid import cells as c
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.events import ACTED, MOVED, STILL, TURNED, Event, decode, encode
from cairngym.reward_shaping.llm.calm.terminations import rule, task_subgoals, terminates
from cairngym.reward_shaping.llm.scripted import Lookahead
from cairngym.reward_shaping.llm.transitions import record_transitions

TASKS = ("KeyCorridorS3R3-v0", "ObstructedMaze-1Dlhb-v0", "MultiRoom-N2-S4-v0", "PutNear-6x6-N2-v0", "GoToDoor-6x6-v0")
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
PLAYED = {}


def played(name):
    """Transitions of a task, half planned and half at random; recorded once a session."""
    if name not in PLAYED:
        env = cairngym.make("MiniGrid-" + name, num_envs=6, bank_size=16, threads=1, seed=1)
        PLAYED[name] = record_transitions(env, 44, Lookahead(env), 3)
    return PLAYED[name]


def row_of(state, row):
    return {name: value[row] for name, value in state.items()}


def content(state, place):
    kind, color, door = state["grid"][place[0], place[1]].tolist()
    return kind | color << c.COLOR | door << c.STATE


def ahead_of(state):
    (x, y), (dx, dy) = state["agent_pos"].tolist(), STEPS[int(state["agent_dir"])]
    return x + dx, y + dy


def hand(state):
    kind, color = state["carrying"].tolist()
    return kind | color << c.COLOR


def plain_event(before, after):
    """The event of one transition, written down from both states."""
    held, holds, now = hand(before), hand(after), content(after, ahead_of(after))
    if before["agent_pos"].tolist() != after["agent_pos"].tolist():
        return Event(MOVED, held, holds, content(after, after["agent_pos"].tolist()), now)
    if before["agent_dir"] != after["agent_dir"]:
        return Event(TURNED, held, holds, c.EMPTY_CELL, now)
    was = content(before, ahead_of(before))
    return Event(STILL if (held, was) == (holds, now) else ACTED, held, holds, was, now)


@pytest.mark.parametrize("name", TASKS)
def test_events_are_what_is_seen(name):
    recorded = played(name)
    codes = encode(recorded.state, recorded.next_state)
    assert codes.dtype is torch.int64
    for row in range(len(codes)):
        event = plain_event(row_of(recorded.state, row), row_of(recorded.next_state, row))
        assert decode(int(codes[row])) == event
        assert event.encode() == int(codes[row])
    assert len(codes.unique()) < len(codes) / 2


def test_texts_tell_different_events_apart():
    codes = torch.cat([encode(played(name).state, played(name).next_state) for name in TASKS]).unique().tolist()
    texts = {decode(code).text for code in codes}
    assert len(texts) == len(codes) > 100


KEY, DOOR = c.pack(c.KEY, c.BLUE), c.pack(c.DOOR, c.BLUE, c.LOCKED)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            Event(MOVED, KEY, KEY, c.EMPTY_CELL, c.pack(c.DOOR, c.BLUE, c.OPEN)),
            "Before: the agent carries a blue key; before it is a free square.\nThe agent goes one square forward.\n"
            "After: the agent carries a blue key; it stands where a free square is; before it is an open blue door.",
        ),
        (
            Event(TURNED, c.EMPTY_CELL, c.EMPTY_CELL, c.EMPTY_CELL, c.pack(c.WALL, c.GREY)),
            "Before: the agent carries nothing.\nThe agent turns.\n"
            "After: the agent carries nothing; before it is a wall.",
        ),
        (
            Event(ACTED, KEY, KEY, DOOR, c.pack(c.DOOR, c.BLUE, c.OPEN)),
            "Before: the agent carries a blue key; before it is a locked blue door.\n"
            "After: the agent carries a blue key; before it is an open blue door.",
        ),
    ],
)
def test_texts(event, text):
    assert event.text == text


# Ends of subgoals -----------------------------------------------------------------------------------------------------


def things(state, goal):
    """Where things of the subgoal's type and colour lie."""
    width, height = state["grid"].shape[:2]
    found = [(x, y, *state["grid"][x, y].tolist()) for x in range(width) for y in range(height)]
    same = goal.color is None or goal.kind == c.GOAL
    return {(x, y): door for x, y, kind, color, door in found if kind == goal.kind and (same or color == goal.color)}


def plain_end(goal, before, after):
    """Whether a subgoal ends with one transition."""
    mine = [
        kind == goal.kind and goal.color in (None, color)
        for kind, color in (before["carrying"].tolist(), after["carrying"].tolist())
    ]
    if goal.deed == s.TAKE:
        return mine == [False, True]
    if goal.deed == s.GO:
        close = [
            any(abs(x - place[0]) + abs(y - place[1]) <= (goal.kind != c.GOAL) for x, y in things(state, goal))
            for state, place in ((before, before["agent_pos"].tolist()), (after, after["agent_pos"].tolist()))
        ]
        return close == [False, True]
    was, now = things(before, goal), things(after, goal)
    if goal.deed == s.OPEN and goal.kind == c.DOOR:
        opened = [door for place, door in was.items() if door != c.OPEN and now[place] == c.OPEN]
        return any(goal.state in (None, door) for door in opened)
    if goal.deed == s.OPEN:
        return len(now) < len(was) and mine != [False, True]
    x, y = ahead_of(after)
    put_down = hand(before) != c.EMPTY_CELL and hand(after) == c.EMPTY_CELL
    return put_down and any(max(abs(x - a), abs(y - b)) <= 1 for a, b in now if (a, b) != (x, y))


@pytest.mark.parametrize("name", TASKS)
def test_ends_are_what_is_seen(name):
    recorded, ended = played(name), 0
    env = cairngym.make("MiniGrid-" + name, bank_size=2, threads=1)
    for goal in task_subgoals(env):
        ends = terminates(goal, recorded.state, recorded.next_state)
        for row in range(len(recorded)):
            wanted = plain_end(goal, row_of(recorded.state, row), row_of(recorded.next_state, row))
            assert bool(ends[row]) == wanted, (goal.sentence, row)
        ended += int(ends.sum())
    assert ended


@pytest.mark.parametrize("name", TASKS[:3])
def test_the_rule_reads_the_same_ends_from_events(name):
    recorded = played(name)
    env = cairngym.make("MiniGrid-" + name, bank_size=2, threads=1)
    codes = encode(recorded.state, recorded.next_state).tolist()
    for goal in task_subgoals(env):
        ends = terminates(goal, recorded.state, recorded.next_state).tolist()
        assert [rule(goal, decode(code)) for code in codes] == ends, goal.sentence


def test_the_subgoals_of_tasks():
    wanted = {
        "MultiRoom-N4-S5-v1": ["open the closed door", "go to the goal"],
        "KeyCorridorS6R3-v0": [
            "open the closed door", "pick up the key", "open the locked door", "pick up the ball",
        ],
        "ObstructedMaze-1Dlhb-v0": [
            "pick up the green ball", "open the grey box", "pick up the key", "open the locked door",
            "pick up the blue ball",
        ],
    }  # fmt: skip
    for name, sentences in wanted.items():
        for options in ({}, {"split": "test", "num_envs": 3}):
            env = cairngym.make("MiniGrid-" + name, bank_size=2, threads=1, **options)
            assert [goal.sentence for goal in task_subgoals(env)] == sentences


def test_tasks_without_subgoals_are_refused():
    with pytest.raises(ValueError, match="no plan"):
        task_subgoals(cairngym.make("MiniGrid-Playground-v0", bank_size=2))
    with pytest.raises(ValueError, match="doors, keys, balls"):
        task_subgoals(cairngym.make("MiniGrid-MemoryS7-v0", bank_size=2))
    with pytest.raises(TypeError, match="MiniGrid"):
        task_subgoals(cairngym.make("Chain-N10-v0"))


def test_a_thing_that_is_there_already_ends_nothing():
    goal = Subgoal(deed=s.TAKE, kind=c.KEY)
    assert not rule(goal, Event(MOVED, KEY, KEY, c.EMPTY_CELL, c.EMPTY_CELL))
    assert rule(goal, Event(ACTED, c.EMPTY_CELL, KEY, KEY, c.EMPTY_CELL))
    assert not rule(Subgoal(deed=s.TAKE, kind=c.KEY, color=c.RED), Event(ACTED, c.EMPTY_CELL, KEY, KEY, c.EMPTY_CELL))
    opened = Event(ACTED, KEY, KEY, DOOR, c.pack(c.DOOR, c.BLUE, c.OPEN))
    assert rule(Subgoal(deed=s.OPEN, kind=c.DOOR, state=c.LOCKED), opened)
    assert not rule(Subgoal(deed=s.OPEN, kind=c.DOOR, state=c.CLOSED), opened)
