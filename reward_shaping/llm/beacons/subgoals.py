"""What a subgoal of a MiniGrid level is: a deed, the cell it is done at, and the thing it is done to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cairngym.envs.minigrid.cells import BALL, BOX, DOOR, EMPTY, FLOOR, GOAL, KEY, LAVA, WALL

NOTHING, GO, TAKE, OPEN, PUT, FACE = range(6)
"""Deeds: no subgoal; come within `detail` steps of the cell; carry the thing; have the door at the cell open, or its
box gone; have an object lie beside the cell; stand on the cell or look at it."""
VERBS = ("", "go to", "pick up", "open", "put it down near", "go to")
"""How each deed is said."""
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
NOUNS = {EMPTY: "square", WALL: "wall", FLOOR: "floor", DOOR: "door", KEY: "key", BALL: "ball", BOX: "box",
         GOAL: "goal", LAVA: "lava"}  # fmt: skip
DOOR_STATES = ("open", "closed", "locked")
THINGS = (DOOR, KEY, BALL, BOX, GOAL)
"""Types of objects that a subgoal can be about."""
DEED, CELL, KIND, COLOR, STATE, DETAIL = range(6)
"""Columns of a `SubgoalTable`."""


@dataclass(frozen=True, kw_only=True)
class Subgoal:
    """One subgoal, for people and prompts.

    Example:
        >>> Subgoal(deed=OPEN, kind=DOOR, color=4, state=2, x=5, y=3).sentence
        'open the locked yellow door'
    """

    deed: int
    """What is done: GO, TAKE, OPEN, PUT or FACE."""
    kind: int
    """Type of the thing, coded as in MiniGrid."""
    color: int | None = None
    """Its colour; None where any will do, or where it has none."""
    state: int | None = None
    """State of a door at the start; None where it does not matter."""
    x: int | None = None
    """Column of its cell; None where it was not said."""
    y: int | None = None
    """Row of its cell."""

    @property
    def sentence(self) -> str:
        """The subgoal in words, without its place."""
        state = DOOR_STATES[self.state] if self.kind == DOOR and self.state is not None else ""
        color = COLORS[self.color] if self.color is not None and self.kind not in (EMPTY, GOAL) else ""
        words = (VERBS[self.deed], "the", state, color, NOUNS.get(self.kind, "thing"))
        return " ".join(word for word in words if word)

    @property
    def thing(self) -> tuple[int, int, int | None]:
        """Deed, type and colour: what makes two subgoals the same, wherever their cells are."""
        return self.deed, self.kind, None if self.kind in (EMPTY, GOAL) else self.color

    def anywhere(self) -> Subgoal:
        """The same subgoal without its place."""
        return replace(self, x=None, y=None)


@dataclass(frozen=True, kw_only=True)
class SubgoalTable:
    """The subgoals of L levels, at most S each, in order."""

    entries: torch.Tensor
    """int64 `(L, S, 6)`: deed, cell (x + width * y), type, colour, door state, detail (radius of GO; packed type and
    colour of what PUT puts down); zero beyond a level's last."""
    count: torch.Tensor
    """int64 `(L,)`: subgoals of each level."""
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.count)

    @property
    def most(self) -> int:
        """S."""
        return self.entries.shape[1]

    def to(self, device: torch.device | str) -> SubgoalTable:
        """The same table on a device."""
        return replace(self, entries=self.entries.to(device), count=self.count.to(device))

    def column(self, column: int) -> set[int]:
        """The values that a column takes in all subgoals."""
        present = torch.arange(self.most, device=self.count.device) < self.count.unsqueeze(1)
        return set(self.entries[..., column][present].tolist())

    def level(self, row: int) -> list[Subgoal]:
        """The subgoals of one level."""
        found = self.entries[row, : int(self.count[row])].tolist()
        return [
            Subgoal(deed=deed, kind=kind, color=color, state=state if kind == DOOR else None,
                    x=cell % self.width, y=cell // self.width)
            for deed, cell, kind, color, state, _ in found
        ]  # fmt: skip


def usual_deed(kind: torch.Tensor) -> torch.Tensor:
    """What one does with things of these types: doors and boxes are opened, keys and balls taken, goals gone to."""
    deed = torch.full_like(kind, FACE)
    for thing, usual in ((DOOR, OPEN), (BOX, OPEN), (KEY, TAKE), (BALL, TAKE), (GOAL, GO)):
        deed = torch.where(kind == thing, usual, deed)
    return deed
