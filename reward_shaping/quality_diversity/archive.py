"""An archive of behaviors without a grid: descriptors, fitness, and whatever belongs to them, such as genomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from cairngym.envs.checks import check_shape
from cairngym.reward_shaping.quality_diversity.novelty import NEIGHBORS, Neighbors

ROOM = 64
"""Rows laid out at first; the room doubles when it is full."""


def check_finite_rows(name: str, values: torch.Tensor) -> None:
    """Raise `ValueError` where `values` `(B, ...)` hold NaN or an infinity, naming how many rows and the first."""
    bad = ~values.isfinite().flatten(1).all(1) if values.ndim > 1 else ~values.isfinite()
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"Expected finite {name}, got NaN or infinity in {int(bad.sum())} of {len(bad)} rows, first in row {row}: "
            f"{values[row].tolist()}. Look for a policy or a world that diverged; leave such rows out."
        )


class BehaviorArchive:
    """Behaviors in the order they came.

    Args:
        size: D, numbers of a descriptor.
        capacity: rows kept at most; None keeps all.
        rule: which row makes room where the archive is full: the "oldest", or one drawn at random ("random"), each of
            those kept being as likely.
        device: where the rows live.
        seed: of the draws of "random".

    Raises:
        ValueError: an option out of its range.

    Example:
        >>> archive = BehaviorArchive(1, capacity=2)
        >>> archive.add(torch.tensor([[0.0], [1.0], [5.0]]), chosen=torch.tensor([True, False, True]))
        2
        >>> archive.add(torch.tensor([[7.0]]))
        1
        >>> archive.descriptors.flatten().tolist(), archive.offered
        ([7.0, 5.0], 4)
    """

    def __init__(
        self,
        size: int,
        *,
        capacity: int | None = None,
        rule: Literal["oldest", "random"] = "oldest",
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        if size < 1 or (capacity is not None and capacity < 1):
            raise ValueError(f"Expected size and capacity of at least one, got {size} and {capacity}.")
        if rule not in ("oldest", "random"):
            raise ValueError(f"Expected rule 'oldest' or 'random', got {rule!r}.")
        self.size, self.capacity, self.rule = size, capacity, rule
        self.device = torch.device(device)
        self.offered = 0
        """Rows that `add` was shown."""
        self.best_offered: float | None = None
        """The highest fitness among them; None while none had one."""
        self._added = 0
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._columns: dict[str, torch.Tensor] = {}

    def __len__(self) -> int:
        return self._added if self.capacity is None else min(self._added, self.capacity)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The rows of "descriptor", "fitness" or a payload, `(len, ...)`, not to be written to.

        Raises:
            KeyError: no row was ever added with such a column.
        """
        if name not in self._columns:
            raise KeyError(f"Expected one of {sorted(self._columns) or 'no columns, since it is empty'}, got {name!r}.")
        return self._columns[name][: len(self)]

    @property
    def descriptors(self) -> torch.Tensor:
        """float32 `(len, D)`."""
        return self["descriptor"] if self._columns else torch.zeros(0, self.size, device=self.device)

    @property
    def fitness(self) -> torch.Tensor:
        """float32 `(len,)`; zero where none was given."""
        return self["fitness"] if self._columns else torch.zeros(0, device=self.device)

    def add(
        self,
        descriptors: torch.Tensor,
        fitness: torch.Tensor | None = None,
        *,
        chosen: torch.Tensor | None = None,
        **payload: torch.Tensor,
    ) -> int:
        """Append rows, and return how many.

        Args:
            descriptors: `(B, D)`.
            fitness: `(B,)`; None stands for zeros.
            chosen: which of them to append: bool `(B,)`, or int64 row numbers in the order wanted; None for all.
            payload: further columns `(B, ...)`, the same ones at every call.

        Raises:
            ValueError: shapes that do not agree, NaN or infinite descriptors or fitness, other columns than before.
        """
        count = len(descriptors)
        check_shape("descriptors", descriptors, (count, self.size), "(B, D)")
        check_finite_rows("descriptors", descriptors)
        if fitness is not None:
            check_shape("fitness", fitness, (count,), "(B,)")
            check_finite_rows("fitness", fitness)
        score = torch.zeros(count, device=self.device) if fitness is None else fitness.to(torch.float32)
        rows = {"descriptor": descriptors.to(torch.float32), "fitness": score, **payload}
        index = _index(chosen, count, self.device)
        self._check(rows, count, len(index))
        self.offered += count
        if fitness is not None and count:
            best = float(fitness.max())
            self.best_offered = best if self.best_offered is None else max(best, self.best_offered)
        if len(index):
            self._write({name: value.to(self.device)[index] for name, value in rows.items()})
        return len(index)

    def _check(self, rows: Mapping[str, torch.Tensor], count: int, added: int) -> None:
        if self.capacity is not None and added > self.capacity:
            raise ValueError(f"Expected at most {self.capacity} rows at once, the archive's capacity, got {added}.")
        if any(len(value) != count for value in rows.values()) or (self._columns and set(rows) != set(self._columns)):
            raise ValueError(
                f"Expected the columns {sorted(self._columns) or sorted(rows)} with {count} rows each, got "
                f"{ ({name: tuple(value.shape) for name, value in rows.items()}) }."
            )
        for name, column in self._columns.items():
            value = rows[name]
            if column.shape[1:] != value.shape[1:] or column.dtype != value.dtype:
                raise ValueError(
                    f"Expected {name} of rows {tuple(column.shape[1:])} in {column.dtype} as before, got "
                    f"{tuple(value.shape[1:])} in {value.dtype}."
                )

    def _write(self, rows: dict[str, torch.Tensor]) -> None:
        count = len(rows["descriptor"])
        places = self._places(count)
        room = max(ROOM, 1 << (self._added + count - 1).bit_length())
        room = room if self.capacity is None else min(room, self.capacity)
        for name, value in rows.items():
            column = self._columns.get(name, value[:0])
            if room > len(column):
                column = torch.cat((column, column.new_zeros(room - len(column), *column.shape[1:])))
            column[places] = value
            self._columns[name] = column
        self._added += count

    def _places(self, count: int) -> torch.Tensor:
        """Where new rows go: behind the last, and in a full archive where the rule makes room, int64 `(count,)`."""
        order = torch.arange(self._added, self._added + count, device=self.device)
        if self.capacity is None or self._added + count <= self.capacity:
            return order
        if self.rule == "oldest":
            return order % self.capacity
        free = max(0, self.capacity - self._added)
        drawn = torch.randperm(self._added if free else self.capacity, generator=self._generator, device=self.device)
        return torch.cat((order[:free], drawn[: count - free]))

    def novelty(
        self, descriptors: torch.Tensor, k: int = NEIGHBORS, *, others: torch.Tensor | None = None, member: bool = False
    ) -> torch.Tensor:
        """Mean distance to the k nearest of the archive and `others` `(M, D)`, float32 `(B,)`; see `novelty`."""
        known = self.descriptors if others is None else torch.cat((self.descriptors, others.to(self.descriptors)))
        return Neighbors(known).novelty(descriptors, k, member=member)

    def explain(self) -> str:
        """What it holds, in a sentence; where it is empty, why."""
        if len(self):
            return f"{len(self)} behaviors kept of {self.offered} offered."
        if self.offered == 0:
            return "Empty: no behavior was ever offered to it, so nothing was evaluated or no episode has ended."
        best = "" if self.best_offered is None else f" The best fitness offered was {self.best_offered:g}."
        return f"Empty: {self.offered} behaviors were offered and none was chosen.{best}"

    def get_state(self) -> dict[str, Any]:
        """Copy everything kept."""
        return {
            "columns": {name: value[: len(self)].clone() for name, value in self._columns.items()},
            "added": self._added, "offered": self.offered, "best_offered": self.best_offered,
            "generator": self._generator.get_state(),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: a snapshot of descriptors of another size, or of more rows than the capacity.
        """
        columns = snapshot["columns"]
        if columns:
            found = columns["descriptor"]
            expected = snapshot["added"] if self.capacity is None else min(snapshot["added"], self.capacity)
            check_shape("the snapshot's descriptors", found, (expected, self.size), "(rows kept, D)")
        self._columns = {name: value.to(self.device).clone() for name, value in columns.items()}
        self._added, self.offered = snapshot["added"], snapshot["offered"]
        self.best_offered = snapshot["best_offered"]
        self._generator.set_state(snapshot["generator"].cpu())


def _index(chosen: torch.Tensor | None, count: int, device: torch.device) -> torch.Tensor:
    if chosen is None:
        return torch.arange(count, device=device)
    if chosen.dtype is torch.bool:
        check_shape("chosen", chosen, (count,), "(B,)")
        return chosen.to(device).nonzero().squeeze(1)
    if chosen.is_floating_point() or chosen.ndim != 1:
        raise ValueError(
            f"Expected chosen as bool (B,) or int64 row numbers, got {chosen.dtype} {tuple(chosen.shape)}."
        )
    return chosen.to(device)
