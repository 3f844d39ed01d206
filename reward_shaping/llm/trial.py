"""Running a reward program over recorded transitions, and over transitions made up from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from cairngym.envs.core import State, clone
from cairngym.reward_shaping.llm.transitions import Recorded

Memory = dict[str, torch.Tensor]
Program = Callable[
    [State, torch.Tensor, State, Memory], tuple[torch.Tensor, Mapping[str, torch.Tensor]]
]  # what `compile_program` gives
SETTLING = 3
"""Calls after which a program with memory has seen a repeated transition often enough to be judged on it."""


@dataclass(frozen=True)
class Steps:
    """B transitions as a program sees them."""

    state: dict[str, torch.Tensor]
    action: torch.Tensor
    next_state: dict[str, torch.Tensor]

    @classmethod
    def of(cls, recorded: Recorded) -> Steps:
        """All recorded ones."""
        return cls(dict(recorded.state), recorded.action, dict(recorded.next_state))

    def __len__(self) -> int:
        return len(self.action)

    def __getitem__(self, rows: torch.Tensor | slice) -> Steps:
        return Steps(_rows(self.state, rows), self.action[rows], _rows(self.next_state, rows))

    def clone(self) -> Steps:
        """A copy that shares nothing."""
        return Steps(clone(self.state), self.action.clone(), clone(self.next_state))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by a name that a message can use."""
        before = {f"state.{name}": value for name, value in self.state.items()}
        return {**before, "action": self.action, **{f"next_state.{name}": v for name, v in self.next_state.items()}}

    def still(self, idle: torch.Tensor | None, *, after: bool = False) -> Steps:
        """Stay at `state` (or at `next_state`), doing nothing where that is known, else the same action."""
        place = self.next_state if after else self.state
        action = self.action if idle is None else idle.to(self.action).expand_as(self.action)
        return Steps(place, action, place)

    def back(self) -> Steps:
        """The way from `next_state` back to `state`, with the same action."""
        return Steps(self.next_state, self.action, self.state)


def _rows(fields: Mapping[str, torch.Tensor], rows: torch.Tensor | slice) -> dict[str, torch.Tensor]:
    return {name: value[rows] for name, value in fields.items()}


@dataclass(frozen=True)
class Scores:
    """What a program paid."""

    total: torch.Tensor
    """`(B,)`."""
    components: dict[str, torch.Tensor]
    """`(B,)` each."""

    def __getitem__(self, rows: torch.Tensor) -> Scores:
        return Scores(self.total[rows], _rows(self.components, rows))

    def named(self) -> dict[str, torch.Tensor]:
        """The total and the components by the names that messages use."""
        parts = {f"component {name!r}": value for name, value in self.components.items()}
        return {"the reward": self.total, **parts}


class Trial:
    """One program on one recording.

    Args:
        program: what is tried.
        recorded: on what.

    Attributes:
        steps: the recorded transitions.
        stateful: whether the program writes to its memory, so that episodes are played in their order.
    """

    def __init__(self, program: Program, recorded: Recorded) -> None:
        self.program, self.recorded, self.steps = program, recorded, Steps.of(recorded)
        self.index, self.lives = episodes_of(recorded)
        memory: Memory = {}
        self.call(self.steps[: recorded.num_envs].clone(), memory)
        self.stateful = bool(memory)

    def call(self, steps: Steps, memory: Memory) -> Scores:
        """Ask once; nothing is checked here."""
        with torch.no_grad():
            total, components = self.program(steps.state, steps.action, steps.next_state, memory)
        return Scores(total, dict(components))

    def score(self, columns: torch.Tensor | None = None) -> Scores:
        """Score recorded transitions, each as its episode's memory has it.

        Args:
            columns: for a program with memory, the episodes to play, in that order; else the rows to score at once.
                None takes all.
        """
        if not self.stateful:
            return self.call(self.steps if columns is None else self.steps[columns], {})
        return self._play(torch.arange(self.index.shape[1]) if columns is None else columns)

    def scored_rows(self, columns: torch.Tensor) -> torch.Tensor:
        """The recorded rows that `score(columns)` speaks of, in its order."""
        if not self.stateful:
            return columns
        index, lives = self.index[:, columns], self.lives[:, columns]
        return index[lives]

    @property
    def columns(self) -> int:
        """How many columns `score` can choose from."""
        return self.index.shape[1] if self.stateful else len(self.steps)

    def _play(self, columns: torch.Tensor) -> Scores:
        """Play episodes side by side; those that are over repeat their last transition, which is not counted."""
        memory: Memory = {}
        index, lives = self.index[:, columns], self.lives[:, columns]
        scores = [self.call(self.steps[rows], memory) for rows in index]
        names = scores[0].components
        if any(score.components.keys() != names.keys() for score in scores):
            raise ValueError("The names of the components change from call to call; return the same ones always.")
        total = torch.stack([score.total for score in scores])[lives]
        parts = {name: torch.stack([score.components[name] for score in scores])[lives] for name in names}
        if len(columns) < self.index.shape[1] or not torch.equal(columns, torch.arange(self.index.shape[1])):
            return Scores(total, parts)
        order = index[lives].argsort()
        return Scores(total, parts)[order]

    def repeat(self, *rounds: Steps) -> torch.Tensor:
        """The sum that going through `rounds` once pays, `(B,)`, after memory has settled."""
        memory: Memory = {}
        paid = torch.zeros(len(rounds[0]))
        for _ in range(SETTLING if self.stateful else 1):
            paid = torch.stack([self.call(steps, memory).total for steps in rounds]).sum(0)
        return paid

    def call_seconds(self, calls: int = 15) -> float:
        """Seconds of one call with `num_envs` rows, by the median."""
        steps, taken = self.steps[: self.recorded.num_envs], []
        memory: Memory = {}
        for _ in range(calls):
            start = time.perf_counter()
            self.call(steps, memory)
            taken.append(time.perf_counter() - start)
        return sorted(taken)[calls // 2]

    def memory_sizes(self, calls: int = 8) -> list[dict[str, tuple[int, ...]]]:
        """The shapes in memory after each of some calls on one batch."""
        steps, memory, sizes = self.steps[: self.recorded.num_envs], Memory(), []
        for _ in range(calls):
            self.call(steps, memory)
            sizes.append({name: tuple(value.shape) for name, value in memory.items()})
        return sizes


def episodes_of(recorded: Recorded) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of every episode side by side.

    Returns:
        Row numbers int64 `(longest, episodes)`, the last one repeated, and where they are real, bool of that shape.
    """
    _, column, lengths = recorded.episode.unique(return_inverse=True, return_counts=True)
    table = torch.zeros(int(lengths.max()), len(lengths), dtype=torch.int64)
    table[recorded.step, column] = torch.arange(len(recorded))
    moment = torch.arange(len(table)).unsqueeze(1)
    return table.gather(0, torch.minimum(moment, lengths - 1)), moment < lengths
