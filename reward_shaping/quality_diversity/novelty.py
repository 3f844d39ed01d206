"""Novelty: the mean distance of a behavior to its k nearest neighbors among the behaviors known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from scipy.spatial import KDTree

NEIGHBORS = 15
"""k of Lehman and Stanley, "Abandoning objectives: evolution through the search for novelty alone" (2011)."""
CHUNK = 1 << 21
"""Distances held at once; larger problems are taken in parts."""
TREE_NUMBERS = 4
"""Up to so many numbers a descriptor, a tree on the CPU beats comparing all pairs."""


class Neighbors:
    """The behaviors known, ready to be asked for the nearest ones again and again.

    The CPU asks a k-d tree where descriptors are short, else all pairs are compared, in parts that stay small. Either
    is exact, and what it says of one behavior does not depend on the others asked about. Nothing waits for a GPU.

    Args:
        known: float `(M, D)`; M may be zero.

    Raises:
        ValueError: not two axes.

    Example:
        >>> known = Neighbors(torch.tensor([[0.0], [1.0], [4.0]]))
        >>> known.distances(torch.tensor([[1.5]]), 2).tolist()
        [[0.5, 1.5]]
    """

    def __init__(self, known: torch.Tensor) -> None:
        if known.ndim != 2:
            raise ValueError(f"Expected known behaviors of shape (M, D), got {tuple(known.shape)}.")
        self.known = known.to(torch.float32, copy=True)
        self._tree = self._plant() if known.device.type == "cpu" and 0 < known.shape[1] <= TREE_NUMBERS else None

    def __len__(self) -> int:
        return len(self.known)

    def _plant(self) -> KDTree | None:
        from scipy.spatial import KDTree

        return KDTree(self.known.numpy(), balanced_tree=False) if len(self.known) else None

    def distances(self, descriptors: torch.Tensor, k: int) -> torch.Tensor:
        """Distances to the `min(k, M)` nearest, ascending, float32 `(B, min(k, M))`.

        Raises:
            ValueError: k below one, or descriptors `(B, D)` of another D than the known.
        """
        if k < 1:
            raise ValueError(f"Expected k >= 1 neighbors, got {k}.")
        if descriptors.ndim != 2 or descriptors.shape[1] != self.known.shape[1]:
            raise ValueError(
                f"Expected descriptors of shape (B, {self.known.shape[1]}) like the known ones, got "
                f"{tuple(descriptors.shape)}."
            )
        k, asked = min(k, len(self)), descriptors.to(self.known)
        if k == 0 or len(asked) == 0:
            return asked.new_zeros(len(asked), k)
        if self._tree is not None:
            found = self._tree.query(asked.numpy(), k=range(1, k + 1))[0]
            return torch.from_numpy(found).to(torch.float32)
        rows = max(1, CHUNK // len(self))
        return torch.cat([self._compare(part, k) for part in asked.split(rows)])

    def _compare(self, asked: torch.Tensor, k: int) -> torch.Tensor:
        # Number by number: a matrix product would lose small distances, and its sums would depend on the batch size.
        squares = torch.zeros(len(asked), len(self), device=asked.device)
        for column, known in zip(asked.unbind(1), self.known.unbind(1), strict=True):
            apart = column.unsqueeze(1) - known
            squares.addcmul_(apart, apart)
        return squares.topk(k, dim=1, largest=False).values.sqrt_()

    def novelty(self, descriptors: torch.Tensor, k: int = NEIGHBORS, *, member: bool = False) -> torch.Tensor:
        """Mean Euclidean distance to the k nearest, float32 `(B,)`; see `novelty`."""
        found = self.distances(descriptors, k + member)[:, int(member) :]
        if found.shape[1] == 0:
            return torch.full((len(descriptors),), math.inf, device=found.device)
        total = torch.zeros(len(found), device=found.device)
        for column in found.unbind(1):
            total += column
        return total / found.shape[1]


def novelty(
    descriptors: torch.Tensor, known: torch.Tensor, k: int = NEIGHBORS, *, member: bool = False
) -> torch.Tensor:
    """Mean Euclidean distance of behaviors to their k nearest among those known, float32 `(B,)`.

    Duplicates count, with distance zero. Where fewer than k are known, the mean is over those there are; where none
    is, novelty is infinite: nothing is more unlike all that is known.

    Args:
        descriptors: `(B, D)`.
        known: `(M, D)`, for instance population, offspring and archive.
        k: how many neighbors count.
        member: whether each of the descriptors is itself one of the known; then the nearest, itself, is left out once.

    Raises:
        ValueError: k below one, descriptors of another D than the known.

    Example:
        >>> crowd = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
        >>> novelty(crowd, crowd, k=2, member=True).tolist()
        [2.5, 2.5, 5.0]
        >>> novelty(crowd[:1], crowd[:0]).tolist()
        [inf]
    """
    return Neighbors(known).novelty(descriptors, k, member=member)
