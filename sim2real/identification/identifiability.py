"""What the logs say of the parameters, and what they do not: standard errors and directions without information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESOLUTION = 0.1
"""A combination counts as identified if its standard error is below this part of half the range of its parameters."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A direction in which parameters can be changed together without the logs noticing."""

    change: dict[str, float]
    """By label, the change of each member, in its unit, that goes with the others'; the largest is half its range."""
    error: float
    """How far the logs let it go: standard error as a part of that change; infinite if they say nothing."""

    @property
    def members(self) -> tuple[str, ...]:
        """Their labels."""
        return tuple(self.change)

    def __str__(self) -> str:
        """What to tell a reader."""
        if len(self.change) == 1:
            return f"{self.members[0]}: the logs do not tell it"
        shares = ", ".join(f"{label} {value:+.3g}" for label, value in self.change.items())
        return f"only together: {shares} change nothing that the logs show"


@dataclass(frozen=True, kw_only=True)
class Information:
    """What a Jacobian tells of P numbers."""

    singular: np.ndarray
    """`(P,)`, falling: inverse standard errors of combinations, in half ranges."""
    free: np.ndarray
    """Orthonormal columns `(P, k)`: unidentifiable directions, in half ranges."""
    covariance: np.ndarray
    """`(P, P)` in half ranges, of what is identified."""
    identified: np.ndarray
    """bool `(P,)`: whether no unidentifiable direction moves a number by more than `RESOLUTION`."""


def information(jacobian: np.ndarray, nuisance: np.ndarray, resolution: float = RESOLUTION) -> Information:
    """What a weighted Jacobian tells of the parameters, whatever the nuisances are.

    The Fisher information is that of the parameters after the nuisances have been fitted too (Schur complement).

    Args:
        jacobian: `(R, P)` of residuals in standard deviations, per half range.
        nuisance: `(R, Q)`, the same for numbers that are fitted but not asked for, with rows of their priors.
        resolution: greatest standard error of what counts as identified, in half ranges.
    """
    if nuisance.shape[1]:
        basis, values, _ = np.linalg.svd(nuisance, full_matrices=False)
        basis = basis[:, values > 1e-10 * max(values[0], 1e-300)]
        jacobian = jacobian - basis @ (basis.T @ jacobian)
    _, singular, rows = np.linalg.svd(jacobian, full_matrices=True) if jacobian.shape[0] < jacobian.shape[1] else (
        np.linalg.svd(jacobian, full_matrices=False)
    )  # fmt: skip
    singular = np.concatenate((singular, np.zeros(jacobian.shape[1] - len(singular))))
    known = singular * resolution > 1
    free = rows[~known].T
    covariance = (rows[known].T / singular[known] ** 2) @ rows[known]
    identified = np.linalg.norm(free, axis=1) <= resolution
    return Information(singular=singular, free=free, covariance=covariance, identified=identified)


def combinations(found: Information, labels: tuple[str, ...], half: np.ndarray) -> tuple[Combination, ...]:
    """The unidentifiable directions as combinations of few members each."""
    result = []
    for direction in _sparse(found.free):
        largest = np.abs(direction).max()
        share = np.where(np.abs(direction) > RESOLUTION * largest, direction / largest, 0.0)
        change = {labels[at]: float(share[at] * half[at]) for at in np.flatnonzero(share)}
        result.append(Combination(change=change, error=_error(found, direction / largest)))
    return tuple(result)


def _error(found: Information, direction: np.ndarray) -> float:
    """Standard error of moving along a direction, in units of it."""
    unknown = found.singular[len(found.singular) - found.free.shape[1] :]
    squared = float(((unknown[:, None] * (found.free.T @ direction[:, None])) ** 2).sum())
    return 1.0 / np.sqrt(squared) if squared > 1e-24 else float("inf")


def _sparse(free: np.ndarray) -> list[np.ndarray]:
    """Directions that span the same space, with few members: reduced echelon form with pivoting."""
    rows = free.T.copy()
    for number in range(len(rows)):
        row, column = divmod(int(np.abs(rows[number:]).argmax()), rows.shape[1])
        rows[[number, number + row]] = rows[[number + row, number]]
        rows[number] /= rows[number, column]
        for other in range(len(rows)):
            if other != number:
                rows[other] -= rows[other, column] * rows[number]
    return list(rows)
