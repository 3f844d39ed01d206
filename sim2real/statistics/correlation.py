"""Linear correlation of success in simulation and in reality."""

from __future__ import annotations

import numpy as np


def check_pair(sim: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Success rates as float64, if they belong together.

    Raises:
        ValueError: arrays of different shapes, of fewer than two policies, or with values that are not finite.
    """
    simulated, observed = np.asarray(sim, dtype=np.float64), np.asarray(real, dtype=np.float64)
    if simulated.shape != observed.shape:
        raise ValueError(
            f"Expected success rates of the same policies, got shapes {simulated.shape} (sim) and {observed.shape} "
            "(real)."
        )
    if simulated.ndim == 0 or simulated.shape[-1] < 2:
        raise ValueError(f"Expected success rates (..., policies) of at least two policies, got {simulated.shape}.")
    for name, rates in (("sim", simulated), ("real", observed)):
        if not np.isfinite(rates).all():
            raise ValueError(f"Expected finite success rates, got {rates[~np.isfinite(rates)][0]} in {name}.")
    return simulated, observed


def pearson(*, sim: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Pearson's correlation of success rates over policies.

    Args:
        sim: success rates in simulation, `(..., P)`.
        real: success rates in reality of the same policies, `(..., P)`.

    Returns:
        `(...)`; NaN where all policies have the same rate on one side, for which it is not defined.

    Raises:
        ValueError: arrays of different shapes, of fewer than two policies, or with values that are not finite.

    Example:
        >>> float(pearson(sim=np.array([0.0, 0.5, 1.0]), real=np.array([0.2, 0.3, 0.4])).round(6))
        1.0
    """
    simulated, observed = check_pair(sim, real)
    constant = (np.ptp(simulated, axis=-1) == 0.0) | (np.ptp(observed, axis=-1) == 0.0)
    x = simulated - simulated.mean(axis=-1, keepdims=True)
    y = observed - observed.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    ratio = (x * y).sum(axis=-1) / np.where(constant, 1.0, scale)
    return np.where(constant, np.nan, np.clip(ratio, -1.0, 1.0))
