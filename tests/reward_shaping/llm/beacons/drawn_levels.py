"""Levels drawn by hand, and a brute-force search through everything an agent can do in one."""

from collections import deque

import numpy as np

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.reward_shaping.llm.beacons import subgoals as s

HEADINGS = ">v<^"
LETTERS = {
    "#": c.WALL_CELL, ".": c.EMPTY_CELL, "G": c.pack(c.GOAL, c.GREEN), "~": c.pack(c.LAVA),
    "d": c.pack(c.DOOR, c.BLUE, c.CLOSED), "e": c.pack(c.DOOR, c.GREY, c.CLOSED), "o": c.pack(c.DOOR, c.BLUE, c.OPEN),
    "D": c.pack(c.DOOR, c.RED, c.LOCKED), "K": c.pack(c.KEY, c.RED),
    "E": c.pack(c.DOOR, c.YELLOW, c.LOCKED), "L": c.pack(c.KEY, c.YELLOW),
    "B": c.pack(c.BOX, c.PURPLE, content=c.KEY, content_color=c.RED), "b": c.pack(c.BOX, c.GREY),
    "*": c.pack(c.BALL, c.GREEN), "T": c.pack(c.BALL, c.BLUE),
}  # fmt: skip


def drawn(text, targets):
    """A bank of one level, drawn with the letters above; `targets` are (kind, (x, y), detail)."""
    rows = text.split()
    width = len(rows[0])
    flat = "".join(rows)
    agent = next(i for i, letter in enumerate(flat) if letter in HEADINGS)
    cells = [c.EMPTY_CELL if letter in HEADINGS else LETTERS[letter] for letter in flat]
    wanted = np.zeros((1, 2, 3), dtype=np.int32)
    for number, (kind, (x, y), detail) in enumerate(targets):
        wanted[0, number] = kind, x + width * y, detail
    bank = LevelBank(
        cells=np.array([cells], dtype=np.int32),
        agent=np.array([[agent % width, agent // width, HEADINGS.index(flat[agent])]], dtype=np.int32),
        variables=np.zeros((1, 8), dtype=np.int32), targets=wanted, mission=np.zeros(1, dtype=np.int32),
        missions=("do it",),
    )  # fmt: skip
    return bank, width, len(rows)


def repeated(bank, count):
    """The bank's first level, `count` times."""
    arrays = {name: np.repeat(getattr(bank, name)[:1], count, axis=0) for name in LevelBank.ARRAYS}
    return LevelBank(**arrays, missions=bank.missions)


def holds(entry, place, hand, cells, width):
    """Whether a subgoal holds in a state of the search."""
    deed, cell, kind, color, _, detail = entry
    if deed == s.TAKE:
        return hand & c.KIND == kind | color << c.COLOR
    if deed == s.OPEN:
        found = cells[cell]
        opened = found & c.BYTE == c.DOOR and (found >> c.STATE) & c.BYTE == c.OPEN
        return opened if kind == c.DOOR else found & c.BYTE != c.BOX
    if deed == s.GO:
        return abs(place % width - cell % width) + abs(place // width - cell // width) <= detail
    raise AssertionError(f"the search knows no deed {deed}")


def moves(place, hand, cells, width):
    """The states one move away: a step, or something done to a neighbouring cell. Directions do not count."""
    for there in (place + 1, place - 1, place + width, place - width):
        found = cells[there]
        kind, state = found & c.BYTE, (found >> c.STATE) & c.BYTE
        free = kind in (c.EMPTY, c.GOAL)
        if free or (kind == c.DOOR and state == c.OPEN):
            yield there, hand, cells
        changed = None
        if kind == c.DOOR and state != c.OPEN:
            opens = state == c.CLOSED or hand & c.KIND == c.KEY | (found >> c.COLOR & c.BYTE) << c.COLOR
            changed = (found & c.KIND, hand) if opens else None
        elif kind == c.BOX and (found >> c.CONTENT) & 3:
            yield place, hand, put(cells, there, c.KEY | (found >> c.CONTENT_COLOR & 7) << c.COLOR)
        elif kind == c.BOX:
            yield place, hand, put(cells, there, c.EMPTY_CELL)
        if kind in (c.KEY, c.BALL, c.BOX) and hand == c.EMPTY_CELL:
            changed = c.EMPTY_CELL, found
        elif kind == c.EMPTY and hand != c.EMPTY_CELL:
            changed = hand, c.EMPTY_CELL
        if changed is not None:
            yield place, changed[1], put(cells, there, changed[0])


def put(cells, place, value):
    """Cells with one of them changed."""
    return (*cells[:place], value, *cells[place + 1 :])


def fewest_moves(bank, row, width, entries, *, forbidden=None):
    """Fewest moves that reach the subgoals `entries` in this order; None where they can't be.

    `forbidden` is a cell that stays as it is, and can't be entered unless it is open.
    """
    start = (int(bank.agent[row, 0]) + width * int(bank.agent[row, 1]), c.EMPTY_CELL, tuple(bank.cells[row].tolist()))
    queue, seen = deque([(start, 0, 0)]), {(start, 0)}
    while queue:
        state, reached, cost = queue.popleft()
        if reached < len(entries) and holds(entries[reached], *state, width):
            reached += 1
        if reached == len(entries):
            return cost
        for after in moves(*state, width):
            if forbidden is not None and after[2][forbidden] != start[2][forbidden]:
                continue
            if (after, reached) not in seen:
                seen.add((after, reached))
                queue.append((after, reached, cost + 1))
    return None
