"""How well a model predicts logs that it was not fitted to: open loop over windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cairngym.sim2real.identification.fit import experiments
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Parameter
from cairngym.sim2real.identification.plant import Plant
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.segments import Segment

REFINEMENTS = 2
"""Gauss-Newton steps that fit the first state of a window."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Held-out windows beside what a model says of them."""

    time_s: np.ndarray
    """`(T,)`."""
    measured: np.ndarray
    """`(T, numbers)`."""
    predicted: np.ndarray
    """`(T, numbers)`."""
    channel: tuple[str, ...]
    """Of each number."""
    noise: np.ndarray
    """`(numbers,)`."""
    window: np.ndarray
    """`(T,)`, the window's number."""

    def error(self) -> dict[str, float]:
        """Root mean square of measured - predicted by channel, in the channel's unit."""
        squares = (self.measured - self.predicted) ** 2
        channel = np.array(self.channel)
        return {name: float(np.sqrt(np.nanmean(squares[:, channel == name]))) for name in dict.fromkeys(self.channel)}

    def in_noise(self) -> float:
        """Root mean square over all numbers, in standard deviations of the noise."""
        return float(np.sqrt(np.nanmean(((self.measured - self.predicted) / self.noise) ** 2)))


def windows(segments: Sequence[Segment], length_s: float | None, least_rows: int = 20) -> tuple[Segment, ...]:
    """Cut segments into windows of that length; shorter rests are left out, and None leaves segments whole.

    Raises:
        ValueError: a length that holds too few rows, or no window at all.
    """
    if length_s is None:
        return tuple(segments)
    found = []
    for segment in segments:
        step = float(np.median(np.diff(segment.time_s)))
        rows = round(length_s / step)
        if rows < least_rows:
            raise ValueError(f"Expected windows of at least {least_rows} rows, i.e. {least_rows * step:.3g} s, got "
                             f"{length_s:g} s.")  # fmt: skip
        rows = min(rows, len(segment))
        found += [segment.rows(first, first + rows) for first in range(0, len(segment) - rows + 1, rows)]
    if not found:
        raise ValueError("Expected a segment to predict, got none. Hold one back.")
    return tuple(found)


def overlapping(segments: Sequence[Segment], length_s: float, lead_s: float) -> tuple[Segment, ...]:
    """Cut segments into windows of `length_s`, each after `lead_s` that it shares with the one before.

    Nothing is compared within the lead, which tells the commands on their way, so every later reading counts once. What
    is left at the end is part of the last window; segments shorter than two windows stay whole.

    Raises:
        ValueError: a length that holds fewer than 5 rows.
    """
    found = []
    for segment in segments:
        step = float(np.median(np.diff(segment.time_s)))
        rows, lead = round(length_s / step), int(np.ceil(lead_s / step - 1e-9))
        if rows < 5:
            raise ValueError(f"Expected windows of at least 5 rows, i.e. {5 * step:.3g} s, got {length_s:g} s.")
        count = max(1, (len(segment) - lead) // rows)
        ends = [lead + rows * (number + 1) for number in range(count - 1)] + [len(segment)]
        starts = [rows * number for number in range(count)]
        found += [
            segment.rows(first, last, f"{segment.name}:{first}") for first, last in zip(starts, ends, strict=True)
        ]
    return tuple(found)


def hold_out(segments: Sequence[Segment], share: float = 0.25) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Keep the last segment, or the end of the only one, from the fit.

    Returns:
        What to fit, and what is held out.

    Raises:
        ValueError: a share outside of (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"Expected a share between 0 and 1 to hold out, got {share}.")
    if len(segments) > 1:
        return tuple(segments[:-1]), (segments[-1],)
    (only,) = segments
    edge = round((1 - share) * len(only))
    return (only.rows(0, edge, f"{only.name}:fit"),), (only.rows(edge, len(only), f"{only.name}:held out"),)


def predict(
    plant: Plant,
    measurements: Sequence[Measurement],
    parameters: Sequence[Parameter],
    values: np.ndarray,
    held_out: Sequence[Segment],
    noise: Mapping[str, np.ndarray],
    *,
    read: bool = False,
) -> Prediction:
    """Simulate windows in open loop with given values of the parameters.

    The first state of each window is fitted to its readings, as nothing else tells it: `2 nv` numbers of each window;
    or it is the one that was read.

    Args:
        plant: the nominal model.
        measurements: what channels measure.
        parameters: as in the fit.
        values: `(P,)`, theirs.
        held_out: windows.
        noise: by channel, `(size,)`.
        read: whether windows begin with the states that were read.
    """
    beside = experiments(plant, measurements, parameters, held_out, dict(noise), read=read)
    whole = Problem(plant.model, parameters, beside)
    time, measured, predicted, window = [], [], [], []
    for number, one in enumerate(whole.experiments):
        alone = Problem(plant.model, parameters, (one,))
        x = _settled(alone, values)
        time.append(one.segment.time_s[one.rows])
        measured.append(one.measured)
        residual = alone.residual(x)[: one.measured.size].reshape(one.measured.shape)
        predicted.append(np.where(one.given, one.measured - residual * one.noise, np.nan))
        window.append(np.full(len(one.rows), number))
    first = whole.experiments[0]
    return Prediction(
        time_s=np.concatenate(time), measured=np.concatenate(measured), predicted=np.concatenate(predicted),
        channel=tuple(first.channel), noise=first.noise, window=np.concatenate(window),
    )  # fmt: skip


def _settled(problem: Problem, values: np.ndarray) -> np.ndarray:
    """The vector with these values and the first state that fits them best."""
    x = problem.vector(values)
    own = np.arange(problem.size, len(x))
    cost = (problem.residual(x) ** 2).sum()
    for _ in range(REFINEMENTS if len(own) else 0):
        jacobian = problem.jacobian(x, of=own)[:, own]
        step, *_ = np.linalg.lstsq(jacobian, -problem.residual(x), rcond=None)
        moved = x.copy()
        moved[own] += step
        if (better := (problem.residual(moved) ** 2).sum()) >= cost:
            break
        x, cost = moved, better
    return x
