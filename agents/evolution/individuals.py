"""Policies that were played: their genomes and what came of them, row by row."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Individuals(NamedTuple):
    """P policies after their episodes, on the CPU."""

    genome: torch.Tensor
    """float32 `(P, size)`."""
    fitness: torch.Tensor
    """float32 `(P,)`, the mean return of a policy's episodes."""
    descriptor: torch.Tensor
    """float32 `(P, D)`, of the last state of an episode."""

    @property
    def size(self) -> int:
        """P."""
        return len(self.fitness)

    def rows(self, index: Any) -> Individuals:
        """The policies at `index`: int64 `(K,)`, bool `(P,)` or a slice."""
        return Individuals(*(column[index] for column in self))

    def copy(self) -> Individuals:
        """With tensors of its own."""
        return Individuals(*(column.clone() for column in self))

    def with_fitness(self, fitness: torch.Tensor) -> Individuals:
        """The same policies, found to be worth `fitness` `(P,)`."""
        return self._replace(fitness=fitness)


def none(size: int, descriptors: int) -> Individuals:
    """No policies, of genomes and descriptors of these sizes."""
    return Individuals(torch.empty(0, size), torch.empty(0), torch.empty(0, descriptors))


def join(*parts: Individuals) -> Individuals:
    """One after another."""
    return Individuals(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def restored(saved: Any) -> Individuals:
    """Of what a checkpoint makes of them, back on the CPU."""
    return Individuals(*(column.cpu().clone() for column in saved))


def best_first(values: torch.Tensor) -> torch.Tensor:
    """Order of `(P,)` values from the greatest to the least, equal ones in the order they stand, int64 `(P,)`."""
    return values.argsort(descending=True, stable=True)
