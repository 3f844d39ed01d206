"""Where a segment begins: the state at one of its rows, smoothed from the readings around it."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.segments import Segment

REACH = 5
"""Rows on either side that a smoothed value is fitted to."""
DEGREE = 2
"""Of the polynomial."""


def smooth(time_s: np.ndarray, values: np.ndarray, at: float, row: int) -> tuple[float, float]:
    """Value and slope at a time, by a polynomial through the finite `values` `(T,)` near a row, or NaN."""
    near = slice(max(0, row - REACH), row + REACH + 1)
    given = np.isfinite(values[near])
    if not given.any():
        return float("nan"), 0.0
    t, v = time_s[near][given] - at, values[near][given]
    fit = np.polynomial.polynomial.polyfit(t, v, min(DEGREE, len(t) - 1))
    return float(fit[0]), float(fit[1]) if len(fit) > 1 else 0.0


def noise_of(values: np.ndarray) -> np.ndarray:
    """Standard deviation of white noise on a smooth signal `(T, size)`, from third differences, robustly; `(size,)`.

    Third differences of white noise have 20 times its variance, those of a slow signal are near zero.
    """
    result = np.zeros(values.shape[1])
    for column, series in enumerate(values.T):
        differences = np.abs(np.diff(series[np.isfinite(series)], n=3))
        result[column] = np.median(differences) / 0.6745 / np.sqrt(20.0) if differences.size else 0.0
    return result


def beginning(
    model: mujoco.MjModel, home: np.ndarray, measurements: Sequence[Measurement], segment: Segment, row: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The state at a row, as far as the readings tell it.

    Coordinates that nothing measures are those of `home` `(nq,)` with zero velocity; velocities that nothing measures
    are slopes of positions.

    Returns:
        qpos `(nq,)`, qvel `(nv,)`, and which degrees of freedom are measured, bool `(nv,)`.
    """
    at = float(segment.time_s[row])
    position, slope, speed = home.copy(), np.zeros(model.nq), np.full(model.nv, np.nan)
    seen = np.zeros(model.nq, bool)
    for (kind, address), series in _readings(model, measurements, segment):
        value, rate = smooth(segment.time_s, series, at, row)
        if not np.isfinite(value):
            continue
        if kind == "qpos":
            position[address], slope[address], seen[address] = value, rate, True
        else:
            speed[address] = value
    return _normal(model, position), _speeds(model, position, slope, speed), _measured(model, seen) | np.isfinite(speed)


def reading(
    model: mujoco.MjModel, home: np.ndarray, measurements: Sequence[Measurement], segment: Segment, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """The state at a row just as it was read there: qpos `(nq,)` and qvel `(nv,)`; else as of `beginning`."""
    qpos, qvel, _ = beginning(model, home, measurements, segment, row)
    for (kind, address), series in _readings(model, measurements, segment):
        (qpos if kind == "qpos" else qvel)[address] = _filled(series)[row]
    return _normal(model, qpos), qvel


def positions(
    model: mujoco.MjModel, home: np.ndarray, measurements: Sequence[Measurement], segment: Segment
) -> np.ndarray:
    """Positions `(T, nq)` as they were read in each row, the last ones where a reading is missing."""
    result = np.tile(home, (len(segment), 1))
    for (kind, address), series in _readings(model, measurements, segment):
        if kind == "qpos":
            result[:, address] = _filled(series)
    return result


def _readings(
    model: mujoco.MjModel, measurements: Sequence[Measurement], segment: Segment
) -> list[tuple[tuple[str, int], np.ndarray]]:
    """Coordinates and their readings `(T,)`; of a coordinate that several channels measure the least noisy ones last.

    A camera may be shifted as a whole, which the fit is to find out; beside an encoder it must not tell the beginning.
    """
    found = []
    for measurement in measurements:
        values = segment.sensors[measurement.channel]
        spread = noise_of(values) if measurement.noise is None else np.full(values.shape[1], measurement.noise)
        found += [
            (spread[column], coordinate, values[:, column])
            for column, coordinate in enumerate(measurement.coordinates(model))
            if coordinate is not None
        ]
    return [(coordinate, series) for _, coordinate, series in sorted(found, key=lambda one: -one[0])]


def _filled(series: np.ndarray) -> np.ndarray:
    given = np.isfinite(series)
    if not given.any():
        return np.zeros(len(series))
    latest = np.maximum.accumulate(np.where(given, np.arange(len(series)), -1))
    return series[np.where(latest < 0, int(given.argmax()), latest)]


def _normal(model: mujoco.MjModel, position: np.ndarray) -> np.ndarray:
    result = position.copy()
    mujoco.mj_normalizeQuat(model, result)
    return result


def _speeds(model: mujoco.MjModel, position: np.ndarray, slope: np.ndarray, speed: np.ndarray) -> np.ndarray:
    span = 1e-3
    derived = np.zeros(model.nv)
    before, after = (_normal(model, position + sign * span / 2 * slope) for sign in (-1, 1))
    mujoco.mj_differentiatePos(model, derived, span, before, after)
    return np.where(np.isfinite(speed), speed, derived)


def _measured(model: mujoco.MjModel, seen: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the joints all of whose position coordinates are measured."""
    result = np.zeros(model.nv, bool)
    for joint in range(model.njnt):
        last = joint + 1 == model.njnt
        positions = slice(model.jnt_qposadr[joint], model.nq if last else model.jnt_qposadr[joint + 1])
        dofs = slice(model.jnt_dofadr[joint], model.nv if last else model.jnt_dofadr[joint + 1])
        result[dofs] = seen[positions].all()
    return result
