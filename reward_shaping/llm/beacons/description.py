"""A MiniGrid level in words and as a drawing: what anybody sees who looks at the whole grid at its start."""

from __future__ import annotations

from cairngym.envs.minigrid.cells import BALL, BOX, BYTE, COLOR, DOOR, EMPTY, FLOOR, GOAL, KEY, LAVA, STATE, WALL
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.reward_shaping.llm.beacons.subgoals import COLORS, DOOR_STATES, NOUNS

LETTERS = {EMPTY: ".", FLOOR: ".", WALL: "#", DOOR: "D", KEY: "K", BALL: "O", BOX: "B", GOAL: "G", LAVA: "~"}
HEADINGS = (("right", ">"), ("down", "v"), ("left", "<"), ("up", "^"))
LEGEND = (
    "Columns x are counted from the left and rows y from the top, both from 0. In the drawing # is a wall, . a free "
    "square, D a door, K a key, O a ball, B a box, G the goal, ~ lava, and >, v, < or ^ the agent, looking that way."
)


def describe(bank: LevelBank, row: int, width: int) -> str:
    """The level in row `row` of a bank: mission, drawing, agent, and every object; what boxes hold stays hidden."""
    cells = bank.cells[row].tolist()
    x, y, heading = bank.agent[row].tolist()
    word, arrow = HEADINGS[heading]
    letters = [LETTERS[cell & BYTE] for cell in cells]
    letters[x + width * y] = arrow
    drawing = ["".join(letters[start : start + width]) for start in range(0, len(cells), width)]
    numbered = [f"{line} y={number}" for number, line in enumerate(drawing)]
    things = [f"- {thing(cell)} at x={index % width}, y={index // width}" for index, cell in enumerate(cells)
              if cell & BYTE in NOUNS and cell & BYTE not in (EMPTY, FLOOR, WALL, LAVA)]  # fmt: skip
    return "\n".join(
        (
            f"Mission: {bank.missions[int(bank.mission[row])]}",
            "",
            *numbered,
            "",
            f"The agent is at x={x}, y={y}, looks {word} and carries nothing.",
            "Objects:",
            *(things or ["- none"]),
        )
    )


def thing(cell: int) -> str:
    """A packed cell in words, with an article.

    Example:
        >>> from cairngym.envs.minigrid.cells import BOX, DOOR, LOCKED, YELLOW, pack
        >>> thing(pack(DOOR, YELLOW, LOCKED)), thing(pack(BOX, YELLOW))
        ('a locked yellow door', 'a closed yellow box')
    """
    kind, color, state = cell & BYTE, (cell >> COLOR) & BYTE, (cell >> STATE) & BYTE
    if kind == EMPTY:
        return "a free square"
    if kind == GOAL:
        return "the green goal square"
    words = [COLORS[color], NOUNS[kind]] if kind not in (WALL, FLOOR, LAVA) else [NOUNS[kind]]
    if kind == DOOR:
        words = [DOOR_STATES[state], *words]
    if kind == BOX:
        words = ["closed", *words]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"
