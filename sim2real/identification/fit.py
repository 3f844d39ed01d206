"""Fitting parameters to logs: several starts, what can't be told kept at nominal, and how sure the rest is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from scipy import optimize, stats

from cairngym.envs.checks import unknown_name
from cairngym.sim2real.identification.experiment import Delays, Experiment, noises
from cairngym.sim2real.identification.identifiability import (
    RESOLUTION,
    Combination,
    Information,
    combinations,
    information,
)
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Parameter
from cairngym.sim2real.identification.plant import Plant
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.segments import Segment
from cairngym.sim2real.identification.signal_parameters import ActionDelay, SensorDelay
from cairngym.sim2real.identification.toolbox import sysid

CONFIDENCE = 0.95
EDGE = 0.01
"""Fits start at least this far inside of the bounds, in half ranges."""
SIMPLEX = 0.2
"""Edges of the simplex that `polished` begins with, in half ranges."""
SAME_MINIMUM = 0.01
"""Starts whose costs differ by less than this part of the lowest have found the same minimum."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One identified number."""

    label: str
    unit: str
    value: float
    """What the fit found; of what is not identified, what goes with the nominal value of what can't be told."""
    nominal: float
    low: float
    """Bounds."""
    high: float
    error: float
    """Standard error; infinite if it is not identified."""
    interval: tuple[float, float]
    """95 % confidence, within the bounds."""
    identified: bool
    at_bound: bool
    """Whether the fit ended at a bound, which then is likely wrong."""


@dataclass(frozen=True, kw_only=True)
class Identification:
    """What a fit found."""

    estimates: tuple[Estimate, ...]
    combinations: tuple[Combination, ...]
    """What can't be told, alone or together."""
    singular: np.ndarray
    """`(P,)` inverse standard errors of combinations, in half ranges."""
    correlation: np.ndarray
    """`(P, P)` of the estimates."""
    noise_ratio: float
    """Root mean square of the residuals in standard deviations of the noise: 1 if the model explains all else."""
    whiteness: float
    """Correlation of residuals with the next row's; far from 0, the model errs and the intervals are too narrow."""
    costs: tuple[float, ...]
    """Sum of squares where each start ended."""
    noise: dict[str, tuple[float, ...]]
    """Standard deviation by channel that residuals are weighted with."""
    values: np.ndarray
    """`(P,)`, in the order of the problem's labels."""
    problem: Problem

    @property
    def agreeing(self) -> int:
        """How many starts found the lowest minimum."""
        return sum(cost <= min(self.costs) * (1 + SAME_MINIMUM) for cost in self.costs)

    def estimate(self, label: str) -> Estimate:
        """The estimate of that label.

        Raises:
            UnknownNameError: there is none.
        """
        for one in self.estimates:
            if one.label == label:
                return one
        raise unknown_name("estimate", label, [one.label for one in self.estimates])


def experiments(
    plant: Plant,
    measurements: Sequence[Measurement],
    parameters: Sequence[Parameter],
    segments: Sequence[Segment],
    noise: dict[str, np.ndarray] | None = None,
    *,
    read: bool = False,
) -> tuple[Experiment, ...]:
    """Set segments beside their simulations; see `Experiment` for `read` and for errors."""
    delays = longest_delays(plant.model, parameters)
    spread = noises(measurements, segments) if noise is None else noise
    return tuple(Experiment(plant, measurements, one, delays, spread, read=read) for one in segments)


def longest_delays(model: mujoco.MjModel, parameters: Sequence[Parameter]) -> Delays:
    """The greatest delays within the bounds of the parameters."""

    def top(kind: type[Parameter]) -> float:
        return max((float(one.bounds(model)[1][0]) for one in parameters if isinstance(one, kind)), default=0.0)

    return Delays(action=top(ActionDelay), sensor=top(SensorDelay))


def identify(
    problem: Problem,
    *,
    starts: int = 3,
    iterations: int = 25,
    resolution: float = RESOLUTION,
    seed: int = 0,
    begin: np.ndarray | None = None,
    polish: int = 0,
) -> Identification:
    """Fit the parameters of a problem.

    Gauss-Newton in a box (`mujoco.sysid`), from `begin` and from `starts - 1` points drawn in the box. Directions that
    the logs do not tell, at the best of the minima, are pinned to nominal, and the rest is fitted again.

    Args:
        problem: parameters and experiments.
        starts: how many starts.
        iterations: at most, of each fit.
        resolution: greatest standard error of what counts as identified, in half ranges.
        seed: of the starts.
        begin: the first start `(size,)`; None is where the parameters say, which is nominal unless they say otherwise.
        polish: evaluations of a search without derivatives after the best start; see `polished`.

    Raises:
        ValueError: no starts, or no iterations.
    """
    if starts < 1 or iterations < 1:
        raise ValueError(f"Expected at least one start and one iteration, got {starts} and {iterations}.")
    problem.pins = problem.pins[:0]
    best, jacobian, costs = lowest(problem, starts, iterations, seed, begin)
    if polish:
        best, jacobian = minimize(problem, polished(problem, best, polish), iterations)
    for _ in range(3):
        found = told(problem, best, jacobian, resolution)
        if found.free.shape[1] <= len(problem.pins):
            break
        problem.pins = found.free.T
        best, jacobian = minimize(problem, best, iterations)
    return _summary(problem, best, told(problem, best, jacobian, resolution), costs, resolution)


def lowest(
    problem: Problem, starts: int, iterations: int, seed: int = 0, begin: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """The lowest minimum that the starts of `identify` find: where, its Jacobian, and the cost where each ended."""
    draws = np.random.default_rng(seed).uniform(problem.low, problem.high, (starts - 1, problem.size))
    first = problem.begin if begin is None else np.clip(begin, problem.low, problem.high)
    ends = [minimize(problem, problem.vector(start), iterations) for start in (first, *draws)]
    costs = tuple(float((problem.residual(end)[: problem.data_rows] ** 2).sum()) for end, _ in ends)
    best, jacobian = ends[int(np.argmin(costs))]
    return best, jacobian, costs


def minimize(problem: Problem, start: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """The minimum that Gauss-Newton in the box finds from a start, and the Jacobian there, per `problem.scale`."""
    toolbox, scale = sysid(), problem.scale
    bounds = [np.concatenate([part.flatten() for part in parts]) / scale for parts in problem.bounds]
    inside = np.clip(start / scale, bounds[0] + EDGE, bounds[1] - EDGE)
    begin = toolbox.ParameterDict()
    begin.add(toolbox.Parameter("scaled", inside, *bounds))

    def residuals(x: np.ndarray, _: object) -> tuple[list[np.ndarray], None, None]:
        return [problem.residual(x * scale.reshape(-1, *[1] * (x.ndim - 1)))], None, None

    def jacobian(x: np.ndarray, _: np.ndarray) -> np.ndarray:
        return problem.jacobian(x[:, 0] * scale) * scale

    _, result = toolbox.optimize(
        begin, residuals, optimizer="mujoco", verbose=False, max_iters=iterations, jacobian=jacobian, xtol=1e-4,
        output=io.StringIO(),
    )  # fmt: skip
    return np.asarray(result.x, float) * scale, np.asarray(result.jac, float)


def polished(problem: Problem, x: np.ndarray, evaluations: int) -> np.ndarray:
    """Where a simplex search (Nelder and Mead 1965) gets to from a point, over the parameters that simulations feel.

    Contacts that chatter make residuals jump, so that derivatives end in wrong places; a simplex wider than the jumps
    goes on from there.
    """
    own = problem.physical[problem.physical < problem.size]
    low, high, half = problem.low[own], problem.high[own], problem.half[own]

    def at(move: np.ndarray) -> np.ndarray:
        moved = x.copy()
        moved[own] = np.clip(x[own] + move * half, low, high)
        return moved

    inward = np.where(x[own] > (low + high) / 2, -SIMPLEX, SIMPLEX)
    found = optimize.minimize(
        lambda move: float((problem.residual(at(move)) ** 2).sum()), np.zeros(len(own)), method="Nelder-Mead",
        options={"initial_simplex": np.concatenate((np.zeros((1, len(own))), np.diag(inward))), "maxfev": evaluations},
    )  # fmt: skip
    return at(found.x)


def told(problem: Problem, x: np.ndarray, jacobian: np.ndarray, resolution: float) -> Information:
    """What the data tell at a point, the noise taken to be what is left there; the Jacobian is per `problem.scale`."""
    count, size = problem.data_rows, problem.size
    sigma = max(_sigma(problem, problem.residual(x)), 1e-12)
    nuisance = np.concatenate((jacobian[:count, size:] / sigma, np.eye(len(x) - size)))
    own = np.concatenate((jacobian[:count, :size] / sigma, np.zeros((len(x) - size, size))))
    return information(own, nuisance, resolution)


def _sigma(problem: Problem, residual: np.ndarray) -> float:
    given = sum(int(one.given.sum()) for one in problem.experiments)
    left = max(given - len(problem.vector()), 1)
    return float(np.sqrt((residual[: problem.data_rows] ** 2).sum() / left))


def _summary(
    problem: Problem, x: np.ndarray, found: Information, costs: tuple[float, ...], resolution: float
) -> Identification:
    values, residual = x[: problem.size], problem.residual(x)
    # What was pinned stays unidentified, even where the pinned fit makes it look otherwise.
    pinned = np.linalg.norm(problem.pins, axis=0) > resolution
    found = replace(found, identified=found.identified & ~pinned)
    spread = np.sqrt(np.clip(np.diag(found.covariance), 0, None)) * problem.half
    given = sum(int(one.given.sum()) for one in problem.experiments)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, max(given - len(x), 1)))
    estimates = []
    for at, (label, unit) in enumerate(zip(problem.labels, problem.units, strict=True)):
        low, high, sure = float(problem.low[at]), float(problem.high[at]), bool(found.identified[at])
        error, value = float(spread[at]) if sure else float("inf"), float(values[at])
        estimates.append(Estimate(
            label=label, unit=unit, value=value, nominal=float(problem.start[at]), low=low, high=high, error=error,
            interval=(max(low, value - reach * error), min(high, value + reach * error)), identified=sure,
            at_bound=sure and min(value - low, high - value) < 1e-6 * (high - low),
        ))  # fmt: skip
    noise = {measurement.channel: tuple(problem.experiments[0].noise[
        np.array(problem.experiments[0].channel) == measurement.channel
    ].tolist()) for measurement in problem.experiments[0].measurements}  # fmt: skip
    return Identification(
        estimates=tuple(estimates), combinations=combinations(found, problem.labels, problem.half),
        singular=found.singular, correlation=_correlation(found.covariance), noise_ratio=_sigma(problem, residual),
        whiteness=_whiteness(problem, residual), costs=costs, noise=noise, values=values, problem=problem,
    )  # fmt: skip


def _correlation(covariance: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(np.clip(np.diag(covariance), 1e-300, None))
    return covariance / np.outer(deviation, deviation)


def _whiteness(problem: Problem, residual: np.ndarray) -> float:
    """Correlation of neighbouring rows' residuals, over all channels."""
    products, squares, first = 0.0, 0.0, 0
    for one in problem.experiments:
        rows = residual[first : first + one.measured.size].reshape(one.measured.shape)
        first += one.measured.size
        products, squares = products + float((rows[1:] * rows[:-1]).sum()), squares + float((rows**2).sum())
    return products / squares if squares else 0.0
