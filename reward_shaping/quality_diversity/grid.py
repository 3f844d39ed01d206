"""What a search has reached of a behavior space: the best of every cell, and what was found in the reward areas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cairngym.envs.checks import check_shape
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.reward_shaping.quality_diversity.archive import check_finite_rows


@dataclass(frozen=True, kw_only=True)
class RewardArea:
    """A ball of the behavior space in which the task pays.

    Raises:
        ValueError: no center, or a radius that is not above zero.
    """

    center: tuple[float, ...]
    """In the descriptor's numbers."""
    radius: float

    def __post_init__(self) -> None:
        if not self.center or not (math.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"Expected a center and a finite radius above zero, got {self.center} and {self.radius}.")


class GridRecord:
    """The cells of a descriptor's grid that were reached, with the best behavior of each.

    A cell keeps the behavior of highest fitness; of equals the one evaluated first. Descriptors outside of the bounds
    are clipped into them and counted. A behavior belongs to the first reward area that its unclipped descriptor lies
    in, the border included.

    Args:
        descriptor: gives bounds and cells.
        areas: where the task pays, in the order of their numbers; none is fine.
        offset: the least fitness possible. The QD-score is the sum of (best fitness - offset) over the cells reached,
            so that with it no cell found lowers the score; what nothing has reached yet is reported as `offset`.
        device: where the record lives.

    Raises:
        ValueError: an area of another number of dimensions, an offset that is not finite.

    Example:
        >>> line = BehaviorDescriptor(entries=(("x", 0),), low=(0.0,), high=(4.0,), cells=(4,))
        >>> record = GridRecord(line, areas=[RewardArea(center=(3.0,), radius=0.5)])
        >>> record.add(torch.tensor([[0.5], [3.2], [9.0]]), torch.tensor([0.0, 0.6, 0.0]))
        >>> metrics = record.metrics()
        >>> metrics["coverage"], round(metrics["qd_score"], 2), metrics["outside"], metrics["area_0/evaluations"]
        (0.5, 0.6, 1, 1)
    """

    def __init__(
        self,
        descriptor: BehaviorDescriptor,
        *,
        areas: Sequence[RewardArea] = (),
        offset: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        wrong = [area for area in areas if len(area.center) != descriptor.size]
        if wrong or not math.isfinite(offset):
            raise ValueError(
                f"Expected areas with centers of {descriptor.size} numbers and a finite offset, got {wrong or offset}."
            )
        self.descriptor, self.areas, self.offset = descriptor, tuple(areas), float(offset)
        self.device = torch.device(device)
        cells, count = math.prod(descriptor.cells), len(self.areas)
        self.fitness = torch.full((cells,), -math.inf, device=self.device)
        """Best of every cell, float32 `(C,)`; -inf where it was not reached."""
        self.behavior = torch.zeros(cells, descriptor.size, device=self.device)
        """Descriptor of the best, clipped, float32 `(C, D)`."""
        self.who = torch.full((cells,), -1, dtype=torch.int64, device=self.device)
        """Number of the evaluation that made the best, int64 `(C,)`; -1 where there is none."""
        self.visits = torch.zeros(cells, dtype=torch.int64, device=self.device)
        """Evaluations that ended in the cell, int64 `(C,)`."""
        self.area_fitness = torch.full((count,), -math.inf, device=self.device)
        self.area_visits = torch.zeros(count, dtype=torch.int64, device=self.device)
        self.area_first = torch.full((count,), -1, dtype=torch.int64, device=self.device)
        """Number of the first evaluation that ended in the area, int64 `(K,)`; -1 where none did."""
        self.evaluations = self.outside = 0

    @property
    def reached(self) -> torch.Tensor:
        """The cells reached, int64 `(E,)`, ascending."""
        return self.visits.nonzero().squeeze(1)

    def area(self, descriptors: torch.Tensor) -> torch.Tensor:
        """Number of the reward area of every behavior, int64 `(B,)`; -1 where it lies in none."""
        found = torch.full((len(descriptors),), -1, dtype=torch.int64, device=descriptors.device)
        for number in reversed(range(len(self.areas))):
            area = self.areas[number]
            center = torch.tensor(area.center, dtype=descriptors.dtype, device=descriptors.device)
            inside = (descriptors - center).square().sum(1) <= area.radius**2
            found = torch.where(inside, number, found)
        return found

    def add(
        self,
        descriptors: torch.Tensor,
        fitness: torch.Tensor,
        *,
        area: torch.Tensor | None = None,
    ) -> None:
        """Record evaluations; they are numbered in the order they come, over all calls.

        Args:
            descriptors: `(B, D)`.
            fitness: `(B,)`.
            area: int64 `(B,)`, which reward area each belongs to, -1 for none; default is where the descriptor lies.

        Raises:
            ValueError: shapes that do not agree, NaN or infinite descriptors or fitness; the record is then unchanged.
        """
        count = len(descriptors)
        check_shape("descriptors", descriptors, (count, self.descriptor.size), "(B, D)")
        check_shape("fitness", fitness, (count,), "(B,)")
        check_finite_rows("descriptors", descriptors)
        check_finite_rows("fitness", fitness)
        if count == 0:
            return
        area = self.area(descriptors) if area is None else area
        check_shape("area", area, (count,), "(B,)")
        if int(area.max()) >= len(self.areas):
            raise ValueError(f"Expected areas below {len(self.areas)}, got {int(area.max())}.")
        descriptors, fitness = (value.to(self.device, torch.float32) for value in (descriptors, fitness))
        number = torch.arange(self.evaluations, self.evaluations + count, device=self.device)
        behavior, outside = self.descriptor.clipped(descriptors)
        self._settle(self.descriptor.cell(behavior), behavior, fitness, number)
        self._count_areas(area.to(self.device), fitness, number)
        self.evaluations += count
        self.outside += int(outside.sum())

    def _settle(self, cell: torch.Tensor, behavior: torch.Tensor, fitness: torch.Tensor, number: torch.Tensor) -> None:
        self.visits.index_add_(0, cell, torch.ones_like(cell))
        best = self.fitness.scatter_reduce(0, cell, fitness, "amax")
        # Of the rows that reach a cell's new best, the first counts; none does where an older one is as good.
        better = (fitness == best[cell]) & (best > self.fitness)[cell]
        last = torch.full_like(self.who, torch.iinfo(torch.int64).max)
        first = last.scatter_reduce(0, cell, torch.where(better, number, last[0]), "amin")
        winner = better & (number == first[cell])
        self.fitness = best
        self.behavior[cell[winner]] = behavior[winner]
        self.who[cell[winner]] = number[winner]

    def _count_areas(self, area: torch.Tensor, fitness: torch.Tensor, number: torch.Tensor) -> None:
        inside = area >= 0
        area, fitness, number = area[inside], fitness[inside], number[inside]
        self.area_visits.index_add_(0, area, torch.ones_like(area))
        self.area_fitness = self.area_fitness.scatter_reduce(0, area, fitness, "amax")
        unseen = torch.where(self.area_first < 0, torch.iinfo(torch.int64).max, self.area_first)
        first = unseen.scatter_reduce(0, area, number, "amin")
        self.area_first = torch.where(self.area_visits > 0, first, -1)

    @property
    def coverage(self) -> float:
        """Share of the cells reached."""
        return float((self.visits > 0).double().mean())

    @property
    def qd_score(self) -> float:
        """Sum of (best fitness - offset) over the cells reached."""
        return float((self.fitness[self.reached].double() - self.offset).sum())

    @property
    def best_fitness(self) -> float:
        """The highest fitness recorded; `offset` while there is none."""
        return float(self.fitness.max()) if self.evaluations else self.offset

    def metrics(self) -> dict[str, float]:
        """`coverage`, `qd_score`, `best_fitness`, `evaluations`, `outside` (descriptors clipped), and of every area.

        Area k has `area_<k>/best` and `area_<k>/evaluations`, how many evaluations were spent in it.
        """
        found: dict[str, float] = {
            "coverage": self.coverage, "qd_score": self.qd_score, "best_fitness": self.best_fitness,
            "evaluations": self.evaluations, "outside": self.outside,
        }  # fmt: skip
        for number, (best, visits) in enumerate(
            zip(self.area_fitness.tolist(), self.area_visits.tolist(), strict=True)
        ):
            found[f"area_{number}/best"] = best if visits else self.offset
            found[f"area_{number}/evaluations"] = visits
        return found

    def explain(self) -> str:
        """What it holds, in a sentence; where it is empty or nothing was paid, why."""
        if self.evaluations == 0:
            return "Empty: no evaluation was recorded."
        found = f"{len(self.reached)} of {len(self.visits)} cells reached in {self.evaluations} evaluations"
        clipped = f", {self.outside} of them outside of the bounds and clipped" if self.outside else ""
        silent = "" if self.best_fitness > self.offset else f"; no fitness was above {self.offset:g}"
        return f"{found}{clipped}{silent}."

    def get_state(self) -> dict[str, Any]:
        """Copy the record."""
        cells = self.reached
        return {
            "cells": cells, "fitness": self.fitness[cells], "behavior": self.behavior[cells], "who": self.who[cells],
            "visits": self.visits[cells], "area_fitness": self.area_fitness.clone(),
            "area_visits": self.area_visits.clone(), "area_first": self.area_first.clone(),
            "evaluations": self.evaluations, "outside": self.outside, "total": len(self.visits),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: a copy of another grid or of other areas.
        """
        shape = snapshot["total"], snapshot["behavior"].shape[1], len(snapshot["area_visits"])
        own = len(self.visits), self.descriptor.size, len(self.areas)
        if shape != own:
            raise ValueError(f"Expected a record of (cells, numbers, areas) = {own}, got one of {shape}.")
        blank = {"fitness": -math.inf, "behavior": 0, "who": -1, "visits": 0}
        for name, value in blank.items():
            column = getattr(self, name)
            column.fill_(value)
            column[snapshot["cells"].to(self.device)] = snapshot[name].to(self.device)
        for name in ("area_fitness", "area_visits", "area_first"):
            setattr(self, name, snapshot[name].to(self.device).clone())
        self.evaluations, self.outside = snapshot["evaluations"], snapshot["outside"]
