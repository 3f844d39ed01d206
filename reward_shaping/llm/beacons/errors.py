"""How wrong a language model's subgoals are, as numbers, and right subgoals made wrong by them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.minigrid.cells import BOX, BYTE, COLOR, DOOR, STATE
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.envs.random import uniform
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.subgoals import SubgoalTable, usual_deed

Kind = Literal["position", "object", "language"]
KINDS: tuple[Kind, ...] = ("position", "object", "language")
"""What the policy is told of a subgoal: where it is, what it is, or a sentence."""
STREAM = 23
"""The stream of the errors, beside those of `cairngym.envs.random.Stream`."""
WRONG, RADIUS, ANGLE, SPLIT, SIGNS, MISSING, EXTRA, OTHER, INTRUDER = range(9)
"""Draws of one subgoal."""
NUM_DRAWS = 9


@dataclass(frozen=True, kw_only=True)
class ErrorModel:
    """Errors of named subgoals, each independent of the others.

    Raises:
        ValueError: a share outside of [0, 1], or a negative or infinite distance.
    """

    accuracy: float = 1.0
    """Share of the subgoals named that are right."""
    position_error: float = 1.0
    """Mean Manhattan distance, in cells, of a wrong position from the right one; at least one cell is drawn."""
    position_std: float = 0.0
    """Its standard deviation."""
    missing: float = 0.0
    """Share of the subgoals that are not named."""
    extra: float = 0.0
    """Subgoals named that are none, for each that is one."""

    def __post_init__(self) -> None:
        for name in ("accuracy", "missing", "extra"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} in [0, 1], got {getattr(self, name)}.")
        for name in ("position_error", "position_std"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Expected a finite {name} >= 0 in cells, got {getattr(self, name)}.")

    @property
    def faultless(self) -> bool:
        """Whether every subgoal stays as it is."""
        return self.accuracy == 1 and self.missing == 0 and self.extra == 0

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name):.3g}" for field in fields(self))


def check_kind(kind: str) -> Kind:
    """Return `kind` if it is one of `KINDS`.

    Raises:
        UnknownNameError: it is not.
    """
    for known in KINDS:
        if kind == known:
            return known
    raise unknown_name("kind of subgoals", kind, KINDS)


def with_errors(table: SubgoalTable, bank: LevelBank, kind: Kind, model: ErrorModel, seed: int) -> SubgoalTable:
    """Subgoals as a model with these errors would name them; the same for a level whenever it is lived in.

    Every draw is a function of (seed, level, subgoal). A wrong position lies some cells off, and whatever lies there is
    what the subgoal becomes about; a wrong object or sentence is about another thing of the level, or, where there is
    none, about one that does not exist. Extra subgoals are about things of the level too.

    Args:
        table: the right subgoals, on the CPU.
        bank: the levels they belong to.
        kind: what errors are made of.
        model: how many.
        seed: of the draws.

    Returns:
        At most twice as many subgoals.
    """
    if model.faultless:
        return table
    noise = _Noise(table, bank, model, seed)
    named = noise.displaced() if kind == "position" else noise.confused()
    return noise.listed(named)


class _Noise:
    """The draws of every subgoal of L levels, and what they do."""

    def __init__(self, table: SubgoalTable, bank: LevelBank, model: ErrorModel, seed: int) -> None:
        self.table, self.model = table, model
        self.cells = torch.from_numpy(bank.cells[: len(table)]).long()
        level = torch.arange(len(table))
        draws = uniform(seed, level, torch.zeros_like(level), STREAM, table.most * NUM_DRAWS)
        self.draw = draws.view(len(table), table.most, NUM_DRAWS).unbind(2)
        self.right = table.entries
        self.wrong = (self.draw[WRONG] >= model.accuracy).unsqueeze(2)

    def displaced(self) -> torch.Tensor:
        """The subgoals, the wrong ones moved, `(L, S, 6)`."""
        width, height, cell = self.table.width, self.table.height, self.right[..., s.CELL]
        normal = (-2.0 * (1.0 - self.draw[RADIUS]).log()).sqrt() * (2.0 * math.pi * self.draw[ANGLE]).cos()
        far = (self.model.position_error + self.model.position_std * normal).round().clamp(min=1).long()
        across = (self.draw[SPLIT] * (far + 1)).long()
        signs = (self.draw[SIGNS] * 4).long()
        x = shifted(cell % width, across, signs & 1, width)
        y = shifted(cell // width, far - across, signs >> 1, height)
        return torch.where(self.wrong, self._about(x + width * y), self.right)

    def confused(self) -> torch.Tensor:
        """The subgoals, the wrong ones about another thing, `(L, S, 6)`."""
        other, found = self._thing(self.draw[OTHER], self.right)
        invented = self.right.clone()
        shift = 1 + (self.draw[OTHER] * (len(s.COLORS) - 1)).long()
        invented[..., s.COLOR] = (invented[..., s.COLOR] + shift) % len(s.COLORS)
        # A box that is not there would count as opened; nothing of a kind that is not there can be carried.
        invented[..., s.DEED] = torch.where(invented[..., s.KIND] == BOX, s.TAKE, invented[..., s.DEED])
        swapped = torch.where(found.unsqueeze(2), self._about(other), invented)
        return torch.where(self.wrong, swapped, self.right)

    def listed(self, named: torch.Tensor) -> SubgoalTable:
        """Leave subgoals out and put others between, in order."""
        levels, most, _ = named.shape
        exists = torch.arange(most) < self.table.count.unsqueeze(1)
        place, found = self._thing(self.draw[INTRUDER], torch.zeros_like(self.right))
        added = exists & found & (self.draw[EXTRA] < self.model.extra)
        kept = exists & (self.draw[MISSING] >= self.model.missing)
        entries = torch.stack((self._about(place), named), dim=2).view(levels, 2 * most, 6)
        keep = torch.stack((added, kept), dim=2).view(levels, 2 * most)
        order = (~keep).to(torch.int8).argsort(dim=1, stable=True)
        count = keep.sum(1)
        entries = entries.gather(1, order.unsqueeze(2).expand_as(entries))
        entries[torch.arange(2 * most) >= count.unsqueeze(1)] = 0
        longest = max(1, int(count.max()))
        return replace(self.table, entries=entries[:, :longest].contiguous(), count=count)

    def _about(self, cell: torch.Tensor) -> torch.Tensor:
        """The subgoal that whatever lies on a cell suggests, `(L, S, 6)`."""
        packed = self.cells.gather(1, cell)
        kind, color = packed & BYTE, (packed >> COLOR) & BYTE
        state = torch.where(kind == DOOR, (packed >> STATE) & BYTE, 0)
        return torch.stack((usual_deed(kind), cell, kind, color, state, torch.zeros_like(cell)), dim=2)

    def _thing(self, draw: torch.Tensor, but: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The cell of a thing of other type or colour than `but`, int64 `(L, S)`, drawn evenly, and if there is one."""
        kind, color = self.cells & BYTE, (self.cells >> COLOR) & BYTE
        is_thing = torch.isin(kind, torch.tensor(s.THINGS))
        cells, found = [], []
        for column in range(draw.shape[1]):
            same = (kind == but[:, column, s.KIND, None]) & (color == but[:, column, s.COLOR, None])
            rank = (is_thing & ~same).cumsum(1)
            count = rank[:, -1]
            chosen = (draw[:, column] * count).long()
            cells.append((rank <= chosen.unsqueeze(1)).sum(1).clamp(max=self.cells.shape[1] - 1))
            found.append(count > 0)
        return torch.stack(cells, dim=1), torch.stack(found, dim=1)


def shifted(place: torch.Tensor, by: torch.Tensor, negative: torch.Tensor, size: int) -> torch.Tensor:
    """`place` moved by so many cells, the other way where that would leave `[0, size)`, to the end if both would."""
    step = torch.where(negative == 1, -by, by)
    first, second = place + step, place - step
    return torch.where((first >= 0) & (first < size), first, second).clamp(0, size - 1)
