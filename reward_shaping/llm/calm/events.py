"""MiniGrid transitions as texts: what the agent holds, has before it and stands on, before and after a step.

Everything that a step of MiniGrid does happens to the hand, the pose, and the cell before the agent. Told of these, the
transitions of a task come down to a few hundred texts, each judged once. A text is kept as an integer, its *event*.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from cairngym.envs.core import State
from cairngym.envs.minigrid.cells import COLOR, EMPTY, EMPTY_CELL, STATE
from cairngym.reward_shaping.llm.beacons.description import thing

FIELDS = ("agent_pos", "agent_dir", "carrying", "grid")
"""The state fields that events are made of."""
MOVED, TURNED, ACTED, STILL = range(4)
"""What was done: went a square forward; turned; something else changed; nothing did."""
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
HAND_BITS, CELL_BITS = 7, 9


class Event(NamedTuple):
    """A transition, as far as it is told. Cells are packed as `cairngym.envs.minigrid.cells` packs them."""

    deed: int
    """MOVED, TURNED, ACTED or STILL."""
    held: int
    """What the agent carried before; EMPTY_CELL where nothing."""
    holds: int
    """What it carries after."""
    first: int
    """MOVED: what the agent stands on after; ACTED and STILL: what the cell before it held; TURNED: EMPTY_CELL."""
    second: int
    """What the cell before the agent holds after."""

    @property
    def text(self) -> str:
        """The transition in words."""
        before, after = f"the agent carries {carried(self.held)}", f"the agent carries {carried(self.holds)}"
        ahead = f"before it is {thing(self.second)}"
        if self.deed == MOVED:
            return (
                f"Before: {before}; before it is {thing(self.first)}.\nThe agent goes one square forward.\n"
                f"After: {after}; it stands where {thing(self.first)} is; {ahead}."
            )
        if self.deed == TURNED:
            return f"Before: {before}.\nThe agent turns.\nAfter: {after}; {ahead}."
        return f"Before: {before}; before it is {thing(self.first)}.\nAfter: {after}; {ahead}."

    def encode(self) -> int:
        """The event as one integer."""
        code = self.deed
        for cell, bits in ((self.held, 7), (self.holds, 7), (self.first, 9), (self.second, 9)):
            code = code << bits | squeeze(cell) & ((1 << bits) - 1)
        return code


def carried(cell: int) -> str:
    """What is in a hand, in words."""
    return "nothing" if cell == EMPTY_CELL else thing(cell).replace("closed ", "")


def squeeze(cell: int) -> int:
    """Type, colour and door state of a packed cell in 9 bits."""
    return cell & 15 | (cell >> COLOR & 7) << 4 | (cell >> STATE & 3) << 7


def stretch(code: int) -> int:
    """Undo `squeeze`."""
    return code & 15 | (code >> 4 & 7) << COLOR | (code >> 7 & 3) << STATE


def decode(code: int) -> Event:
    """The event that an integer stands for.

    Example:
        >>> from cairngym.envs.minigrid.cells import BLUE, KEY, pack
        >>> event = Event(ACTED, EMPTY_CELL, pack(KEY, BLUE), pack(KEY, BLUE), EMPTY_CELL)
        >>> decode(event.encode()) == event
        True
        >>> print(event.text)
        Before: the agent carries nothing; before it is a blue key.
        After: the agent carries a blue key; before it is a free square.
    """
    cells = []
    for bits in (CELL_BITS, CELL_BITS, HAND_BITS, HAND_BITS):
        cells.append(stretch(code & ((1 << bits) - 1)))
        code >>= bits
    second, first, holds, held = cells
    return Event(code, held, holds, first, second)


def encode(state: State, next_state: State) -> torch.Tensor:
    """The events of B transitions, int64 `(B,)`.

    Args:
        state: before the step; see `FIELDS`.
        next_state: the true next one, before any reset.
    """
    held, holds = squeezed(state["carrying"]), squeezed(next_state["carrying"])
    faced = ahead_of(state)
    before, after, ahead = look(state, faced), look(next_state, faced), look(next_state, ahead_of(next_state))
    moved = (state["agent_pos"] != next_state["agent_pos"]).any(1)
    turned = ~moved & (state["agent_dir"] != next_state["agent_dir"])
    still = ~moved & ~turned & (held == holds) & (before == after)
    deed = torch.where(moved, MOVED, torch.where(turned, TURNED, torch.where(still, STILL, ACTED)))
    here = look(next_state, next_state["agent_pos"])
    first = torch.where(moved, here, torch.where(turned, EMPTY, before))
    code = deed
    for part, bits in ((held, HAND_BITS), (holds, HAND_BITS), (first, CELL_BITS), (ahead, CELL_BITS)):
        code = code << bits | part
    return code


def squeezed(codes: torch.Tensor) -> torch.Tensor:
    """Types and colours, and states if there are any, `(..., 2 or 3)` in 9 bits each, int64 `(...)`."""
    parts = codes.long().unbind(-1)
    packed = parts[0] | parts[1] << 4
    return packed if len(parts) == 2 else packed | parts[2] << 7


def ahead_of(state: State) -> torch.Tensor:
    """The cell before the agent, int64 `(B, 2)`; where it would lie outside of the grid, the one at the edge."""
    grid = state["grid"]
    steps = torch.tensor(STEPS, device=grid.device)[state["agent_dir"]]
    edge = torch.tensor(grid.shape[1:3], device=grid.device) - 1
    return torch.minimum((state["agent_pos"] + steps).clamp(min=0), edge)


def look(state: State, place: torch.Tensor) -> torch.Tensor:
    """What lies at `place` `(B, 2)`, in 9 bits, int64 `(B,)`."""
    rows = torch.arange(len(place), device=place.device)
    return squeezed(state["grid"][rows, place[:, 0], place[:, 1]])
