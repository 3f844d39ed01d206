"""Every state of a MiniGrid level, found by stepping the level itself, and its exact empowerment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid.cells import BYTE, KIND, STATE
from cairngym.envs.minigrid.family import nothing_before
from cairngym.envs.minigrid.task import MiniGridTask
from cairngym.envs.minigrid.world import MiniGridWorld
from cairngym.envs.registry import make
from cairngym.reward_shaping.empowerment.exact import reachable

FIELDS = ("agent_pos", "agent_dir", "carrying", "grid")
"""What tells states apart, each as `state` measures it; together they are all that can be seen of a level."""
MISSION_AND_COUNTERS = ("current", "current_mission")
BATCH = 4096
"""Worlds that a level named by its id is stepped in."""


@dataclass(frozen=True, kw_only=True)
class LevelModel:
    """A level as a finite deterministic model of S states, in the order in which they are found, the start first."""

    cells: torch.Tensor
    """int32 `(S, C)`, packed grid cells, index x + width * y; see `cairngym.envs.minigrid.cells`."""
    agent: torch.Tensor
    """int32 `(S, 4)`: x, y, direction, packed object in hand."""
    variables: torch.Tensor
    """int32 `(S, 8)`, the task's own."""
    terminal: torch.Tensor
    """bool `(S,)`, episodes end there."""
    successors: torch.Tensor
    """int64 `(S, A)`, the next state; terminal ones lead to themselves."""
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.cells)

    def measure(self, field: str) -> torch.Tensor:
        """One of `FIELDS` as a row of integers for every state, int64 `(S, columns)`."""
        if field == "agent_pos":
            return self.agent[:, :2].long()
        if field == "agent_dir":
            return self.agent[:, 2:3].long()
        if field == "carrying":
            return (self.agent[:, 3:] & KIND).long()
        if field == "grid":
            return (self.cells & (KIND | BYTE << STATE)).long()
        raise ValueError(f"Expected fields among {', '.join(FIELDS)}, got {field!r}.")

    def labels(self, fields: Sequence[str] = FIELDS) -> torch.Tensor:
        """A number for every different reading of `fields`, int64 `(S,)`."""
        columns = torch.cat([self.measure(field) for field in fields], dim=1)
        return torch.unique(columns, dim=0, return_inverse=True)[1]

    def empowerment(self, steps: int, fields: Sequence[str] = FIELDS) -> torch.Tensor:
        """n-step empowerment of every state, in nats, float64 `(S,)`."""
        if steps < 1:
            raise ValueError(f"Expected steps >= 1, got {steps}.")
        return reachable(self.successors, steps, labels=self.labels(fields)).to(torch.float64).log()

    def transitions(self) -> torch.Tensor:
        """The same model as a table of probabilities, float32 `(S, A, S)`."""
        return torch.nn.functional.one_hot(self.successors, len(self)).to(torch.float32)


def enumerate_level(
    env: TensorEnv | str, index: int = 0, *, seed: int = 0, limit: int = 200_000, bank_size: int = 64
) -> LevelModel:
    """Find every state that can be reached in a level, by stepping its Warp world from state after state.

    Args:
        env: a MiniGrid TensorEnv, which is left as it was, or the id of one.
        index: which of its worlds; the search starts from the state that world is in.
        seed: of the level, where an id is given.
        limit: states after which the search is given up.
        bank_size: levels that the seed draws from, where an id is given; making many takes a while.

    Returns:
        The model.

    Raises:
        TypeError: not a MiniGrid env.
        ValueError: obstacles that move by themselves, so that an action has no certain outcome, or more states than
            `limit`.
    """
    if isinstance(env, str):
        made = make(env, num_envs=BATCH, seed=seed, bank_size=bank_size)
        made.reset(seed=seed)
        try:
            return enumerate_level(made, limit=limit)
        finally:
            made.close()
    base = env.unwrapped
    if not isinstance(base.world, MiniGridWorld) or not isinstance(base.task, MiniGridTask):
        raise TypeError(f"Expected a MiniGrid env or its id, got one on {type(base.world).__name__}.")
    if moves_by_itself(base):
        raise ValueError(f"{base.id} has obstacles that move by themselves; its states can't be listed by its actions.")
    before = base.get_state()
    try:
        return _Search(base, base.world, base.task, index, limit).run()
    finally:
        base.set_state(before)


def moves_by_itself(env: TensorEnv) -> bool:
    """Whether it is a MiniGrid env in which things move that the agent does not."""
    task = env.unwrapped.task
    return isinstance(task, MiniGridTask) and task.family.rule.before is not nothing_before


def level_empowerment(
    env: TensorEnv | str,
    steps: int = 3,
    *,
    index: int = 0,
    seed: int = 0,
    fields: Sequence[str] = FIELDS,
    limit: int = 200_000,
    bank_size: int = 64,
) -> tuple[LevelModel, torch.Tensor]:
    """Exact n-step empowerment of every state of a MiniGrid level.

    The outcome of n actions is what `fields` show after them; states that end the episode are never left. Outcomes are
    certain, so each value is the log of how many there are.

    Args:
        env: a MiniGrid TensorEnv, which is left as it was, or the id of one.
        steps: n.
        index: which of its worlds.
        seed: of the level, where an id is given.
        fields: what counts as an outcome, among `FIELDS`; ("agent_pos",) counts places.
        limit: most states of the level.
        bank_size: levels that the seed draws from, where an id is given.

    Returns:
        The level's states, and their empowerment in nats, float64 `(S,)`.

    Example:
        >>> model, values = level_empowerment("MiniGrid-Empty-5x5-v0", 1)
        >>> float(values[0].exp())  # turn left, turn right, go forward, stay
        4.0
    """
    model = enumerate_level(env, index, seed=seed, limit=limit, bank_size=bank_size)
    return model, model.empowerment(steps, fields)


class _Search:
    """Breadth-first search through the states of one level, N of them stepped at a time."""

    def __init__(self, env: TensorEnv, world: MiniGridWorld, task: MiniGridTask, index: int, limit: int) -> None:
        self.env, self.world, self.limit = env, world, limit
        self.actions = task.num_actions
        snapshot = world.get_state()
        self.common = {name: snapshot[name][index].expand_as(snapshot[name]).clone() for name in MISSION_AND_COUNTERS}
        self.sizes = [snapshot[name].shape[1] for name in ("cells", "agent", "variables")]
        start = [snapshot[name][index : index + 1] for name in ("cells", "agent", "variables")]
        ended = env.episodes.ended[index].view(1, 1).to(torch.int32)
        self.start = torch.cat([*start, ended], dim=1)

    def run(self) -> LevelModel:
        found = [self.start]
        known, edges = _Index(self.start), []
        frontier = self.start
        while len(frontier):
            after = self._after(frontier)
            frontier = known.add(after)
            edges.append(after)
            found.append(frontier)
            if len(known) > self.limit:
                raise ValueError(
                    f"The level has more than limit={self.limit} states; raise it, or take one with fewer objects."
                )
        states = torch.cat(found)
        successors = known.find(torch.cat(edges)).view(-1, self.actions)
        cells, agent, variables, ended = states.split([*self.sizes, 1], dim=1)
        return LevelModel(
            cells=cells, agent=agent, variables=variables, terminal=ended[:, 0] > 0, successors=successors,
            width=self.world.width, height=self.world.height,
        )  # fmt: skip

    def _after(self, states: torch.Tensor) -> torch.Tensor:
        """The states each action leads to, `(F * A, columns)`, the state slowest."""
        rows = states.repeat_interleave(self.actions, dim=0)
        actions = torch.arange(self.actions, device=rows.device).repeat(len(states))
        batches = zip(rows.split(self.env.num_envs), actions.split(self.env.num_envs), strict=True)
        parts = [self._stepped(*batch) for batch in batches]
        return torch.where(rows[:, -1:] > 0, rows, torch.cat(parts))

    def _stepped(self, rows: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        count, spare = len(rows), self.env.num_envs - len(rows)
        rows = torch.cat((rows, rows[-1:].expand(spare, -1)))
        actions = torch.cat((actions, actions[-1:].expand(spare)))
        cells, agent, variables, _ = rows.split([*self.sizes, 1], dim=1)
        self.world.set_state({"cells": cells, "agent": agent, "variables": variables, **self.common})
        for counter in (self.env.episodes.length, self.env.episodes.terminated, self.env.episodes.truncated):
            counter.zero_()
        out = self.world.transition(self.env.task, actions, self.env.episodes, AutoresetMode.DISABLED)
        now = self.world.get_state()
        ended = out.terminated.view(-1, 1).to(torch.int32)
        return torch.cat((now["cells"], now["agent"], now["variables"], ended), dim=1)[:count]


class _Index:
    """The places of rows of integers, looked up by a hash of 64 bits whose collisions are noticed."""

    def __init__(self, first: torch.Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        odd = torch.randint(-(2**62), 2**62, (first.shape[1],), generator=generator) * 2 + 1
        self._odd = odd.to(first.device)
        self._rows, self._hashes = first, self._hash(first)
        self._order = self._hashes.argsort()

    def __len__(self) -> int:
        return len(self._rows)

    def _hash(self, rows: torch.Tensor) -> torch.Tensor:
        mixed = (rows.long() * self._odd).sum(1)
        return mixed ^ (mixed >> 29)

    def find(self, rows: torch.Tensor) -> torch.Tensor:
        """The place of each row, -1 where it has none; int64 `(R,)`."""
        hashes = self._hash(rows)
        place = torch.searchsorted(self._hashes[self._order], hashes).clamp(max=len(self) - 1)
        place = self._order[place]
        same = self._hashes[place] == hashes
        if not torch.equal(self._rows[place][same], rows[same]):
            raise RuntimeError("Two states of the level share a hash; their outcomes can't be told apart.")
        return torch.where(same, place, -1)

    def add(self, rows: torch.Tensor) -> torch.Tensor:
        """Give the rows that have no place one, in order, and return them."""
        fresh = rows[self.find(rows) < 0]
        hashes, group = torch.unique(self._hash(fresh), return_inverse=True)
        order = torch.arange(len(fresh), device=rows.device)
        first = torch.full_like(hashes, len(fresh)).scatter_reduce_(0, group, order, "amin")
        fresh = fresh[first.sort().values]
        self._rows = torch.cat((self._rows, fresh))
        self._hashes = torch.cat((self._hashes, self._hash(fresh)))
        self._order = self._hashes.argsort()
        return fresh
