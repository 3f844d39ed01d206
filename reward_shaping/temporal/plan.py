"""What a formula asks for once grounded: state formulas to hold at, and throughout, times that can be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.stl.formula import And, Constant, Formula, Not, Or, Predicate


class Point(NamedTuple):
    """A step: `offset` after a time variable, or after step 0 where `variable` is None."""

    variable: int | None
    offset: int

    def plus(self, steps: int) -> Point:
        """The point that many steps later."""
        return Point(self.variable, self.offset + steps)

    @property
    def node(self) -> int:
        """Its node in the temporal network: 0 is step 0, i + 1 is variable i."""
        return 0 if self.variable is None else self.variable + 1

    def __str__(self) -> str:
        if self.variable is None:
            return str(self.offset)
        return f"t{self.variable}" + (f"{self.offset:+d}" if self.offset else "")


@dataclass(frozen=True)
class StateFormula:
    """A formula in negation normal form without temporal operators."""

    formula: Formula

    def margin(self, margins: torch.Tensor, columns: Mapping[str, int]) -> torch.Tensor:
        """Its robustness, `(…)`, from the predicates' margins `(…, P)`; `columns` says where each one lies.

        Raises:
            UnknownNameError: a predicate without a column.
        """
        return _margin(self.formula, margins, columns)

    def __str__(self) -> str:
        return str(self.formula)


def _margin(formula: Formula, margins: torch.Tensor, columns: Mapping[str, int]) -> torch.Tensor:
    match formula:
        case Predicate(name):
            if name not in columns:
                raise unknown_name("predicate", name, columns)
            return margins[..., columns[name]]
        case Constant(value):
            return torch.full(margins.shape[:-1], torch.inf if value else -torch.inf).to(margins)
        case Not(of):
            return -_margin(of, margins, columns)
        case And(of):
            return reduce(torch.minimum, [_margin(part, margins, columns) for part in of])
        case Or(of):
            return reduce(torch.maximum, [_margin(part, margins, columns) for part in of])
    raise TypeError(f"Expected a formula without temporal operators in negation normal form, got {formula}.")


@dataclass(frozen=True)
class TimeVariable:
    """A step to choose, `low` to `high` steps after variable `parent` (after step 0 where None).

    `high` None reads to the horizon. `label` is the operator it was made for. Other points can narrow the window (the
    horizon, the end of a chain of hits): `Branch.gaps` holds all bounds together.
    """

    index: int
    parent: int | None
    low: int
    high: int | None
    label: str

    def __str__(self) -> str:
        base = "" if self.parent is None else f"t{self.parent} + "
        return f"t{self.index} in {base}[{self.low}, {'T' if self.high is None else self.high}]"


@dataclass(frozen=True)
class Subgoal:
    """State formula `target` must hold at step `time`."""

    target: int
    time: Point


@dataclass(frozen=True)
class Invariant:
    """State formula `target` must hold from `start` to `end`, both included; at no step where end < start."""

    target: int
    start: Point
    end: Point


@dataclass(frozen=True)
class Branch:
    """One choice at every disjunction and for the number of hits of every chain.

    `gaps` is `(V + 1) x (V + 1)`: the time of node u exceeds that of node v by at most `gaps[u][v]`, where node 0 is
    step 0 and node i + 1 is variable i. It is closed: times chosen in the order of the variables, each within its
    bounds to those before, always leave values for the rest (`cairngym.reward_shaping.temporal.network`).
    """

    variables: tuple[TimeVariable, ...]
    subgoals: tuple[Subgoal, ...]
    invariants: tuple[Invariant, ...]
    choices: tuple[str, ...]
    gaps: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """Its choices in a line; empty where there was nothing to choose."""
        return "; ".join(self.choices)

    def span(self, variable: int) -> tuple[int, int]:
        """First and last step that a variable can take."""
        return -self.gaps[0][variable + 1], self.gaps[variable + 1][0]


@dataclass(frozen=True)
class Grounding:
    """A formula as branches of timed subgoals and invariants; `ground` makes it.

    Samples 0..horizon satisfy the formula at step 0 if, and with all hit counts only if, some branch has times in its
    domain at which its subgoals and invariants hold. `predicates` is the order of the margins' columns, `targets` the
    state formulas that subgoals and invariants refer to by index.
    """

    formula: Formula
    horizon: int
    predicates: tuple[str, ...]
    targets: tuple[StateFormula, ...]
    branches: tuple[Branch, ...]

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """Column of each predicate."""
        return {name: column for column, name in enumerate(self.predicates)}

    def target_margins(self, margins: torch.Tensor) -> torch.Tensor:
        """Margins `(…, K)` of the K targets from those of the predicates, `(…, P)`.

        A formula without targets (`F true`) has one column of infinity.

        Raises:
            ValueError: another number of columns.
        """
        if margins.shape[-1] != len(self.predicates):
            raise ValueError(
                f"Expected margins of shape (…, {len(self.predicates)}), a column each for "
                f"{', '.join(self.predicates)}, got {tuple(margins.shape)}."
            )
        if not self.targets:
            return margins.new_full((*margins.shape[:-1], 1), torch.inf)
        return torch.stack([target.margin(margins, self.columns) for target in self.targets], dim=-1)

    def __str__(self) -> str:
        return "\n".join([f"{self.formula}  (horizon {self.horizon})", *map(self._described, self.branches)])

    def _described(self, branch: Branch) -> str:
        lines = [f"branch {branch.name}".rstrip()]
        lines += [f"  {variable}  for {variable.label}" for variable in branch.variables]
        lines += [f"  at {goal.time}: {self.targets[goal.target]}" for goal in branch.subgoals]
        lines += [f"  [{kept.start}, {kept.end}]: {self.targets[kept.target]}" for kept in branch.invariants]
        return "\n".join(lines)
