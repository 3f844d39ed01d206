"""A subgoal as codes that a policy reads: its place, its thing, or its sentence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import State
from cairngym.envs.minigrid.cells import AGENT, DOOR
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.errors import Kind
from cairngym.reward_shaping.llm.beacons.subgoals import COLORS, DOOR_STATES

NO_COLOR, NO_STATE = len(COLORS), len(DOOR_STATES)
COSINE, SINE = (1, 0, -1, 0), (0, 1, 0, -1)


class SubgoalCodes:
    """Encodes subgoals as int64 codes; each channel's last code says that there is none.

    - "position" `(2,)`: cells ahead of the agent and to its right (`frame="agent"`), or columns to the right and rows
      down (`frame="grid"`), plus `reach`, so that `reach` means "here".
    - "object" `(3,)`: type, colour and state of the thing as the level's grid has them at the start.
    - "language" `(3,)`: the words of the sentence that differ: verb, colour, noun.

    Args:
        kind: which of these.
        width: columns of a level.
        height: rows of a level.
        kinds: types of things that subgoals can be about.
        deeds: what can be done to them.
        frame: whose axes a position has.
    """

    def __init__(
        self, kind: Kind, width: int, height: int, kinds: Iterable[int], deeds: Iterable[int], frame: str = "agent"
    ) -> None:
        self.kind, self.frame = kind, frame
        self.width, self.reach = width, max(width, height) - 1
        self.kinds, self.deeds = tuple(sorted(set(kinds))), tuple(sorted(set(deeds)))

    @property
    def space(self) -> spaces.Box:
        """The observation entry's space."""
        highest = {"position": (2 * self.reach + 1,) * 2, "object": (AGENT + 1, NO_COLOR, NO_STATE),
                   "language": (len(s.VERBS), NO_COLOR, AGENT + 1)}[self.kind]  # fmt: skip
        high = np.array(highest, dtype=np.int64)
        return spaces.Box(np.zeros_like(high), high, dtype=np.int64)

    @property
    def none(self) -> tuple[int, ...]:
        """The codes of "no subgoal"."""
        return tuple(int(code) for code in self.space.high)

    @property
    def categories(self) -> tuple[tuple[int, ...], ...]:
        """The codes worth telling apart; see `TaskSpec.categories`."""
        things, colors = (*self.kinds, AGENT + 1), tuple(range(NO_COLOR + 1))
        if self.kind == "position":
            return (tuple(range(2 * self.reach + 2)),) * 2
        if self.kind == "object":
            return things, colors, tuple(range(NO_STATE + 1)) if DOOR in self.kinds else ()
        return (*self.deeds, len(s.VERBS)), colors, things

    def __call__(self, entry: torch.Tensor, exists: torch.Tensor, state: State) -> torch.Tensor:
        """Codes int64 `(N, K)` of the subgoals `entry` `(N, 6)` where they exist `(N,)`, seen from `state`."""
        deed, _, kind, color, door, _ = entry.unbind(1)
        if self.kind == "position":
            codes = self._offset(entry[:, s.CELL], state) + self.reach
        elif self.kind == "object":
            codes = torch.stack((kind, color, door), dim=1)
        else:
            codes = torch.stack((deed, color, kind), dim=1)
        return torch.where(exists.unsqueeze(1), codes, torch.tensor(self.none, device=entry.device))

    def _offset(self, cell: torch.Tensor, state: State) -> torch.Tensor:
        place = torch.stack((cell % self.width, cell // self.width), dim=1)
        right, down = (place - state["agent_pos"]).unbind(1)
        if self.frame == "grid":
            return torch.stack((right, down), dim=1)
        facing = state["agent_dir"]
        cosine, sine = (torch.tensor(values, device=cell.device)[facing] for values in (COSINE, SINE))
        return torch.stack((right * cosine + down * sine, down * cosine - right * sine), dim=1)
