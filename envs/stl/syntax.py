"""What every formula is: the base class, predicates and the connectives of logic.

`cairngym.envs.stl.formula` adds the temporal operators and is the module to import from.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cairngym.envs.stl.robustness import Tail

KEYWORDS = (
    "F", "G", "U", "Ui", "W", "Wi", "R", "Ri", "true", "false", "not", "and", "or", "implies", "eventually", "always",
    "until",
)  # fmt: skip
"""Words that mean something in text, which a predicate cannot be called."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Formula(ABC):
    """A formula; `&`, `|`, `~` and `>>` (implies) combine formulas.

    Raises:
        TypeError: parts that are not formulas, and `and`, `or`, `not` or `if` on a formula.
    """

    strength = 5
    """How tightly it binds in text; a child that binds less tightly is put in parentheses."""

    def __post_init__(self) -> None:
        for part in self.children:
            if not isinstance(part, Formula):
                raise TypeError(
                    f"Expected formulas within {type(self).__name__}, got {part!r} ({type(part).__name__}); write "
                    "Predicate(name) for a name, parse(text) for text."
                )

    @property
    @abstractmethod
    def children(self) -> tuple[Formula, ...]:
        """The formulas it is made of."""

    @property
    @abstractmethod
    def horizon(self) -> int | None:
        """How many steps after the present one its value depends on; None where there is no end."""

    @abstractmethod
    def nnf(self, negate: bool = False) -> Formula:
        """An equal formula (its negation on request) that negates predicates only, without implies and weak until."""

    @property
    def predicates(self) -> tuple[str, ...]:
        """Names of its predicates, each once, in the order of their first appearance."""
        return tuple(dict.fromkeys(part.name for part in self.walk() if isinstance(part, Predicate)))

    def walk(self) -> Iterator[Formula]:
        """It and everything in it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def robustness(self, margins: Mapping[str, Tensor], tail: Tail = "defined", smooth: float | None = None) -> Tensor:
        """Its robustness (B, T) at every step of traces of margins (B, T) by predicate name.

        See `cairngym.envs.stl.robustness.robustness` for `tail` and `smooth`.
        """
        from cairngym.envs.stl.robustness import robustness

        return robustness(self, margins, tail=tail, smooth=smooth)

    def __and__(self, other: Formula) -> And:
        return And((self, other))

    def __or__(self, other: Formula) -> Or:
        return Or((self, other))

    def __invert__(self) -> Not:
        return Not(self)

    def __rshift__(self, other: Formula) -> Implies:
        return Implies(self, other)

    def __bool__(self) -> bool:
        raise TypeError("A formula has no truth value of its own; combine formulas with &, |, ~ and >>.")

    def within(self, child: Formula, tighter: bool = False) -> str:
        """`child` as text, in parentheses where it binds less tightly than this formula."""
        loose = child.strength < self.strength or (tighter and child.strength == self.strength)
        return f"({child})" if loose else str(child)


@dataclass(frozen=True)
class Predicate(Formula):
    """A named measurement with a margin: true where the margin is zero or more.

    Raises:
        ValueError: a name that is no identifier, or one that means something in formulas.
    """

    name: str

    children = ()
    horizon = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in KEYWORDS:
            raise ValueError(
                f"Expected a predicate's name of letters, digits and _ that is none of "
                f"{', '.join(KEYWORDS)}, got {self.name!r}."
            )

    def nnf(self, negate: bool = False) -> Formula:
        """It, or its negation."""
        return Not(self) if negate else self

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Constant(Formula):
    """`true` or `false`."""

    value: bool

    children = ()
    horizon = 0

    def nnf(self, negate: bool = False) -> Formula:
        """The constant, or the other one."""
        return Constant(self.value is not negate)

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True)
class Not(Formula):
    """Negation."""

    of: Formula
    strength = 4

    @property
    def children(self) -> tuple[Formula, ...]:
        """What is negated."""
        return (self.of,)

    @property
    def horizon(self) -> int | None:
        """That of what is negated."""
        return self.of.horizon

    def nnf(self, negate: bool = False) -> Formula:
        """The negation pushed inwards."""
        return self.of.nnf(not negate)

    def __str__(self) -> str:
        return f"!{self.within(self.of)}"


@dataclass(frozen=True)
class _Joined(Formula):
    of: tuple[Formula, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.of) < 2:
            raise ValueError(
                f"Expected two formulas or more in {type(self).__name__}, got {len(self.of)}; `conjunction` and "
                "`disjunction` take any number."
            )
        flat = (part.children if type(part) is type(self) else (part,) for part in self.of)
        object.__setattr__(self, "of", tuple(part for parts in flat for part in parts))

    @property
    def children(self) -> tuple[Formula, ...]:
        """What is joined."""
        return self.of

    @property
    def horizon(self) -> int | None:
        """The longest of what is joined."""
        return longest(*(part.horizon for part in self.of))


@dataclass(frozen=True)
class And(_Joined):
    """Conjunction of two formulas or more; nested ones are joined into one."""

    strength = 2

    def nnf(self, negate: bool = False) -> Formula:
        """The conjunction, or the disjunction of the negations."""
        parts = tuple(part.nnf(negate) for part in self.of)
        return Or(parts) if negate else And(parts)

    def __str__(self) -> str:
        return " & ".join(self.within(part, tighter=True) for part in self.of)


@dataclass(frozen=True)
class Or(_Joined):
    """Disjunction of two formulas or more; nested ones are joined into one."""

    strength = 1

    def nnf(self, negate: bool = False) -> Formula:
        """The disjunction, or the conjunction of the negations."""
        parts = tuple(part.nnf(negate) for part in self.of)
        return And(parts) if negate else Or(parts)

    def __str__(self) -> str:
        return " | ".join(self.within(part, tighter=True) for part in self.of)


@dataclass(frozen=True)
class Implies(Formula):
    """If `left` then `right`."""

    left: Formula
    right: Formula
    strength = 0

    @property
    def children(self) -> tuple[Formula, ...]:
        """Both sides."""
        return (self.left, self.right)

    @property
    def horizon(self) -> int | None:
        """The longer of both sides."""
        return longest(self.left.horizon, self.right.horizon)

    def nnf(self, negate: bool = False) -> Formula:
        """Not left, or right."""
        return Or((Not(self.left), self.right)).nnf(negate)

    def __str__(self) -> str:
        return f"{self.within(self.left, tighter=True)} -> {self.within(self.right)}"


def conjunction(formulas: Iterable[Formula]) -> Formula:
    """All of any number of formulas: `true` for none, a single one as it is."""
    parts = tuple(formulas)
    return And(parts) if len(parts) > 1 else parts[0] if parts else Constant(True)


def disjunction(formulas: Iterable[Formula]) -> Formula:
    """Any of any number of formulas: `false` for none, a single one as it is."""
    parts = tuple(formulas)
    return Or(parts) if len(parts) > 1 else parts[0] if parts else Constant(False)


def longest(*horizons: int | None) -> int | None:
    """The longest horizon, where None has no end."""
    return None if None in horizons else max(horizon for horizon in horizons if horizon is not None)
