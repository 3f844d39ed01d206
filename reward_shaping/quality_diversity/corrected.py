"""Corrected metrics: what an archive is worth when its elites are evaluated again.

In a world with chance an archive keeps lucky evaluations, so its own numbers promise too much. Here every elite counts
by its average over fresh evaluations, in a grid of its own (Flageul and Cully, "Uncertain Quality-Diversity", 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from cairngym.envs.checks import check_shape
from cairngym.reward_shaping.quality_diversity.archive import check_finite_rows
from cairngym.reward_shaping.quality_diversity.grid import GridRecord


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """An archive's numbers from fresh evaluations."""

    record: GridRecord
    """The grid that the elites fall on by their average descriptor and fitness; its evaluations are the elites, in the
    order of the cells they came from."""
    reproducibility: float
    """Mean distance of the fresh descriptors from the one recorded, in the descriptor's units; zero where a policy ends
    where it ended before. NaN without elites."""
    fitness_loss: float
    """Mean over the elites of the fitness recorded less the fresh average; NaN without elites."""
    repeats: int
    """Fresh evaluations of each elite."""

    def metrics(self) -> dict[str, float]:
        """All of it by name, with "corrected/" before each: `coverage`, `qd_score`, `best_fitness` and so on."""
        own = {name: getattr(self.record, name) for name in ("coverage", "qd_score", "best_fitness")}
        own |= {"reproducibility": self.reproducibility, "fitness_loss": self.fitness_loss, "repeats": self.repeats}
        return {f"corrected/{name}": value for name, value in own.items()}


def correct(
    record: GridRecord,
    descriptors: torch.Tensor,
    fitness: torch.Tensor,
    *,
    average: Literal["mean", "median"] = "mean",
) -> Corrected:
    """Hold an archive's elites against fresh evaluations of them.

    Args:
        record: the archive; its elites are taken in the order of `record.reached`.
        descriptors: `(R, E, D)`, of R fresh evaluations of each of the E elites.
        fitness: `(R, E)`.
        average: over the repeats, of the fitness and of each of the descriptor's numbers.

    Raises:
        ValueError: another shape, no repeats, NaN or infinite values.
    """
    cells = record.reached
    repeats, count = len(descriptors), len(cells)
    if repeats == 0 or average not in ("mean", "median"):
        raise ValueError(f"Expected at least one repeat and average 'mean' or 'median', got {repeats} and {average!r}.")
    check_shape("descriptors", descriptors, (repeats, count, record.descriptor.size), "(repeats, elites, D)")
    check_shape("fitness", fitness, (repeats, count), "(repeats, elites)")
    descriptors, fitness = (value.to(record.device, torch.float32) for value in (descriptors, fitness))
    check_finite_rows("descriptors", descriptors.flatten(0, 1))
    check_finite_rows("fitness", fitness.flatten())
    fresh = GridRecord(record.descriptor, areas=record.areas, offset=record.offset, device=record.device)
    if count == 0:
        return Corrected(record=fresh, reproducibility=math.nan, fitness_loss=math.nan, repeats=repeats)
    place, worth = (_average(value, average) for value in (descriptors, fitness))
    fresh.add(place, worth)
    clipped = record.descriptor.clipped(descriptors.flatten(0, 1))[0].view_as(descriptors)
    apart = (clipped - record.behavior[cells]).square().sum(2).sqrt()
    loss = (record.fitness[cells] - worth).mean()
    return Corrected(record=fresh, reproducibility=float(apart.mean()), fitness_loss=float(loss), repeats=repeats)


def _average(values: torch.Tensor, kind: str) -> torch.Tensor:
    return values.mean(0) if kind == "mean" else values.quantile(0.5, dim=0)
