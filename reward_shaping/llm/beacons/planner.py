"""The right subgoals of a bank of levels: what has to be opened, fetched and moved away on the way to success.

All levels are planned together by tensor operations. A way costs first the locked doors on it, then the objects that
stand in it, then its steps, so that a door is unlocked or an object moved only where there is no other way.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import BESIDE, CARRY, CLEARED, NEAR, OPENED, UNLOCKED
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.reward_shaping.llm.beacons.subgoals import CELL, DEED, GO, OPEN, PUT, TAKE, SubgoalTable

STEP, OBJECT, LOCK, NO_WAY = 1, 1_000, 50_000, 1 << 29
"""What entering a cell costs, and a cost that no way has."""
MAX_SUBGOALS = 32
CHUNK = 512
"""Levels planned at a time, so that they stay in the cache."""
DEEDS = {NEAR: GO, CARRY: TAKE, OPENED: OPEN, UNLOCKED: OPEN, CLEARED: OPEN, BESIDE: PUT}


def plan(bank: LevelBank, width: int, height: int, *, tools: bool = True) -> SubgoalTable:
    """Plan every level of a bank.

    Args:
        bank: the levels; what each asks for stands in its `targets`.
        width: columns of a level.
        height: rows of a level.
        tools: whether the agent can pick things up and open them, rather than only move.

    Returns:
        The subgoals on the CPU: doors on the way, what opens the locked ones (box, key), objects that block the only
        way, and the targets. A level without targets has none.
    """
    chunks = [
        _Planner(bank, slice(start, start + CHUNK), width, height, tools).run() for start in range(0, len(bank), CHUNK)
    ]
    entries, count = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    most = max(1, int(count.max()))
    return SubgoalTable(entries=entries[:, :most].contiguous(), count=count, width=width, height=height)


class _Chain:
    """A growing list of subgoals for each of L levels."""

    def __init__(self, levels: int) -> None:
        self.entries = torch.zeros((levels, MAX_SUBGOALS, 6), dtype=torch.int64)
        self.count = torch.zeros(levels, dtype=torch.int64)

    def add(self, mask: torch.Tensor, deed: torch.Tensor | int, cell: torch.Tensor, cells: torch.Tensor,
            kind: torch.Tensor | None = None, detail: torch.Tensor | None = None) -> None:  # fmt: skip
        """Append to the masked levels what is not in their lists yet; `kind` is the thing where `cell` hides it."""
        deed = torch.as_tensor(deed).expand_as(cell)
        known = ((self.entries[..., DEED] == deed.unsqueeze(1)) & (self.entries[..., CELL] == cell.unsqueeze(1))).any(1)
        rows = (mask & ~known & (self.count < MAX_SUBGOALS)).nonzero()[:, 0]
        packed = cells.gather(1, cell.unsqueeze(1))[:, 0] if kind is None else kind
        state = torch.where(packed & c.BYTE == c.DOOR, (packed >> c.STATE) & c.BYTE, 0)
        more = torch.zeros_like(cell) if detail is None else detail
        entry = torch.stack((deed, cell, packed & c.BYTE, (packed >> c.COLOR) & c.BYTE, state, more), dim=1)
        self.entries[rows, self.count[rows]] = entry[rows]
        self.count[rows] += 1


class _Planner:
    """Plans the levels of one slice of a bank."""

    def __init__(self, bank: LevelBank, rows: slice, width: int, height: int, tools: bool) -> None:
        self.width, self.height, self.tools = width, height, tools
        self.cells = torch.from_numpy(bank.cells[rows]).long()
        self.targets = torch.from_numpy(bank.targets[rows]).long()
        agent = torch.from_numpy(bank.agent[rows]).long()
        self.start = agent[:, 0] + width * agent[:, 1]
        self.kind, self.state = self.cells & c.BYTE, (self.cells >> c.STATE) & c.BYTE
        self.loose = torch.isin(self.kind, torch.tensor((c.KEY, c.BALL, c.BOX)))
        self.locked = (self.kind == c.DOOR) & (self.state == c.LOCKED)
        self.closed = (self.kind == c.DOOR) & (self.state == c.CLOSED)
        barred = torch.isin(self.kind, torch.tensor((c.WALL, c.LAVA)))
        self.cost = torch.where(barred, NO_WAY, STEP + OBJECT * self.loose + LOCK * self.locked).to(torch.int32)

    def run(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Entries `(L, MAX_SUBGOALS, 6)` and counts `(L,)`."""
        chores = _Chain(len(self.cells))
        place = self.start
        for number in range(self.targets.shape[1]):
            place = self._chores(chores, number, place)
        if not self.tools:
            return chores.entries, chores.count
        return self._doors_between(chores)

    def _chores(self, chain: _Chain, number: int, place: torch.Tensor) -> torch.Tensor:
        """Add a target and, before it, what blocks the way and what opens it; returns where that leaves the agent."""
        kind, target, detail = self.targets[:, number].unbind(1)
        wanted = kind > 0
        if self.tools:
            for here, walking in self._walk(place, target):
                on = wanted & walking
                chain.add(on & self._at(self.loose, here), TAKE, here, self.cells)
                self._unlock(chain, on & self._at(self.locked, here), here)
            self._fetch_key(chain, wanted & self._at(self.locked, target) & (kind == OPENED), target)
        deed = torch.zeros_like(kind)
        for plan_kind, own in DEEDS.items():
            deed = torch.where(kind == plan_kind, own, deed)
        thing = torch.where(kind == CARRY, detail, self.cells.gather(1, target.unsqueeze(1))[:, 0])
        chain.add(wanted, deed, target, self.cells, kind=thing, detail=detail)
        return torch.where(wanted, target, place)

    def _unlock(self, chain: _Chain, mask: torch.Tensor, door: torch.Tensor) -> None:
        self._fetch_key(chain, mask, door)
        chain.add(mask, OPEN, door, self.cells)

    def _fetch_key(self, chain: _Chain, mask: torch.Tensor, door: torch.Tensor) -> None:
        """Add the box that hides the key of a door, and the key."""
        color = (self._cell(door) >> c.COLOR) & c.BYTE
        key = c.KEY | color << c.COLOR
        hidden = c.BOX | 1 << c.CONTENT | color << c.CONTENT_COLOR
        inside = c.BYTE | 3 << c.CONTENT | 7 << c.CONTENT_COLOR
        boxed = self.cells & inside == hidden.unsqueeze(1)
        plain = self.cells & c.KIND == key.unsqueeze(1)
        found = boxed | plain
        place = found.to(torch.int8).argmax(1)
        mask = mask & found.any(1)
        chain.add(mask & self._at(boxed, place), OPEN, place, self.cells)
        chain.add(mask, TAKE, place, self.cells, kind=key)

    def _doors_between(self, chores: _Chain) -> tuple[torch.Tensor, torch.Tensor]:
        """The chores, with the closed doors on the way from each to the next."""
        chain, place = _Chain(len(self.cells)), self.start
        for s in range(int(chores.count.max())):
            going = chores.count > s
            deed, target, kind, color, state, detail = chores.entries[:, s].unbind(1)
            for here, walking in self._walk(place, target):
                chain.add(going & walking & self._at(self.closed, here), OPEN, here, self.cells)
            packed = kind | color << c.COLOR | state << c.STATE
            chain.add(going, deed, target, self.cells, kind=packed, detail=detail)
            place = torch.where(going, target, place)
        return chain.entries, chain.count

    # Ways -------------------------------------------------------------------------------------------------------------

    def _cell(self, index: torch.Tensor) -> torch.Tensor:
        return self.cells.gather(1, index.unsqueeze(1))[:, 0]

    def _at(self, mask: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return mask.gather(1, index.unsqueeze(1))[:, 0]

    def _flood(self, target: torch.Tensor) -> torch.Tensor:
        """The cheapest way's cost from every cell to the target, int32 `(L, C)`; relaxed until nothing changes."""
        far = torch.full(self.cost.shape, NO_WAY, dtype=torch.int32)
        far.scatter_(1, target.unsqueeze(1), 0)
        cost = self.cost.scatter(1, target.unsqueeze(1), STEP).view(-1, self.height, self.width)
        far = far.view(-1, self.height, self.width)
        while True:
            before = far.clone()
            for ours, theirs in (((..., slice(1, None)), (..., slice(-1))), ((..., slice(-1)), (..., slice(1, None))),
                                 ((..., slice(1, None), slice(None)), (..., slice(-1), slice(None))),
                                 ((..., slice(-1), slice(None)), (..., slice(1, None), slice(None)))):  # fmt: skip
                far[ours] = torch.minimum(far[ours], (far[theirs] + cost[theirs]).clamp(max=NO_WAY))
            if torch.equal(far, before):
                return far.view(len(self.cells), -1)

    def _walk(self, start: torch.Tensor, target: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Go the cheapest way; yields every cell between, int64 `(L,)`, and which levels still walk, bool `(L,)`."""
        far = self._flood(target)
        entered = far + self.cost.scatter(1, target.unsqueeze(1), STEP)
        here, walking = start, self._value(far, start) < NO_WAY
        for _ in range(far.shape[1]):
            here = torch.where(walking, self._downhill(entered, here), here)
            walking = walking & (here != target)
            if not bool(walking.any()):
                return
            yield here, walking

    def _value(self, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return values.gather(1, index.unsqueeze(1))[:, 0]

    def _downhill(self, entered: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        """The neighbour that the cheapest way goes through."""
        x, y = here % self.width, here // self.width
        offers, places = [], []
        for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
            inside = (x + dx >= 0) & (x + dx < self.width) & (y + dy >= 0) & (y + dy < self.height)
            there = torch.where(inside, here + dx + self.width * dy, here)
            offers.append(torch.where(inside, self._value(entered, there), 2 * NO_WAY))
            places.append(there)
        best = torch.stack(offers, dim=1).argmin(1, keepdim=True)
        return torch.stack(places, dim=1).gather(1, best)[:, 0]
