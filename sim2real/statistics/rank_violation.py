"""Mean maximum rank violation: by how much simulation misorders policies, in units of real success."""

from __future__ import annotations

import numpy as np

from cairngym.sim2real.statistics.correlation import check_pair


def rank_violations(*, sim: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The worst that simulation misorders each policy with another: the difference of their real success rates.

    A policy counts as misordered with another where simulation says it is better and reality does not, or the other
    way round. Two policies that simulation cannot tell apart count as misordered for the really better one only.

    Args:
        sim: success rates in simulation, `(..., P)`.
        real: success rates in reality of the same policies, `(..., P)`.

    Returns:
        `(..., P)`, zero for policies that are ordered rightly with all others.

    Raises:
        ValueError: arrays of different shapes, of fewer than two policies, or with values that are not finite.
    """
    simulated, observed = check_pair(sim, real)
    wrong = _better(simulated) != _better(observed)
    return (np.abs(observed[..., :, None] - observed[..., None, :]) * wrong).max(axis=-1)


def mean_maximum_rank_violation(*, sim: np.ndarray, real: np.ndarray) -> np.ndarray:
    """MMRV: the mean over policies of their `rank_violations`; 0 where simulation orders all as reality does.

    The roles differ: what is misordered is weighed by *real* success, so swapped arguments give another number. They
    are keyword-only for that reason.

    Source: Li et al., "Evaluating Real-World Robot Manipulation Policies in Simulation" (SIMPLER), CoRL 2024, sec. 3.

    Args:
        sim: success rates in simulation, `(..., P)`.
        real: success rates in reality of the same policies, `(..., P)`.

    Returns:
        `(...)`.

    Raises:
        ValueError: arrays of different shapes, of fewer than two policies, or with values that are not finite.

    Example:
        >>> float(mean_maximum_rank_violation(sim=np.array([0.1, 0.9]), real=np.array([0.5, 0.3])))
        0.2
    """
    return rank_violations(sim=sim, real=real).mean(axis=-1)


def _better(rates: np.ndarray) -> np.ndarray:
    return rates[..., :, None] > rates[..., None, :]
