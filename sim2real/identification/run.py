"""From logs and a config to estimates, a report and presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cairngym.sim2real.identification.beginnings import noise_of
from cairngym.sim2real.identification.config import IdentificationConfig
from cairngym.sim2real.identification.experiment import noises
from cairngym.sim2real.identification.fit import (
    Identification,
    experiments,
    identify,
    longest_delays,
    lowest,
)
from cairngym.sim2real.identification.logs import NOTES, read_log
from cairngym.sim2real.identification.plant import Plant
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.segments import Segment, cut
from cairngym.sim2real.identification.validation import Prediction, hold_out, overlapping, predict, windows
from cairngym.sim2real.robot import RobotLog


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an identification found, and how well it predicts."""

    plant: Plant
    config: IdentificationConfig
    found: Identification
    nominal: Prediction
    """Held-out logs beside the nominal model."""
    identified: Prediction
    """Held-out logs beside the identified one."""
    fitted: tuple[str, ...]
    """Names of the segments that were fitted."""
    held_out: tuple[str, ...]
    notes: tuple[str, ...]
    """What there is to say of the logs."""
    noise: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Standard deviation by channel of the logs, `(size,)`: what is declared, else what they show."""


def read_logs(config: IdentificationConfig, sources: Sequence[str | Path]) -> list[tuple[str, RobotLog]]:
    """Read logs with the layout and units of a config; see `read_log` for errors."""
    expected = {one.channel: one.unit for one in config.measurements if one.unit is not None}
    return [(Path(str(source)).name, read_log(source, layout=config.layout, expected=expected)) for source in sources]


def identify_logs(
    plant: Plant, config: IdentificationConfig, logs: Sequence[tuple[str, RobotLog]] | Mapping[str, RobotLog]
) -> Outcome:
    """Check and cut logs, hold some back, fit the rest, and predict what was held back.

    Args:
        plant: the nominal model.
        config: what is unknown, what was measured, how to fit.
        logs: by name.

    Raises:
        LogError: logs that can't be used.
        UnknownNameError: a channel, joint, body … that is not there.
        ValueError: bounds that exclude the nominal values, commands of another size.
        ImportError: MuJoCo's system identification toolbox is not installed.
    """
    fit, channels = config.fit, [one.channel for one in config.measurements]
    segments: list[Segment] = []
    notes: list[str] = []
    given = list(logs.items()) if isinstance(logs, Mapping) else list(logs)
    for name, log in given:
        pieces, remarks = cut(log, channels=channels, name=name, least_rows=fit.least_rows)
        segments += pieces
        notes += [*log.meta.get(NOTES, ()), *remarks]
    fitted, held = hold_out(segments, fit.held_out)
    noise = noises(config.measurements, segments)
    problem = _problem(plant, config, fitted, fit.piece_s, noise)
    found = identify(
        problem, starts=fit.starts, iterations=fit.iterations, resolution=fit.resolution, seed=fit.seed,
        begin=_warm_up(plant, config, fitted, noise), polish=fit.polish,
    )  # fmt: skip
    kept = windows(held, fit.window_s)

    def prediction(values: np.ndarray) -> Prediction:
        read = fit.first_states == "read"
        return predict(plant, config.measurements, config.parameters, values, kept, noise, read=read)

    return Outcome(
        plant=plant, config=config, found=found, nominal=prediction(problem.start), identified=prediction(found.values),
        fitted=tuple(one.name for one in fitted), held_out=tuple(one.name for one in kept), notes=tuple(notes),
        noise=_shown([log for _, log in given]) | found.noise,
    )  # fmt: skip


def _shown(logs: Sequence[RobotLog]) -> dict[str, tuple[float, ...]]:
    """What logs show of the noise of every channel, also of those that nothing of the model is said to be."""
    return {
        name: tuple(np.sqrt(np.mean([noise_of(log.sensors[name]) ** 2 for log in logs], axis=0)).tolist())
        for name in logs[0].sensors if all(name in log.sensors for log in logs)
    }  # fmt: skip


def _problem(
    plant: Plant,
    config: IdentificationConfig,
    segments: Sequence[Segment],
    piece_s: float | None,
    noise: dict[str, np.ndarray],
) -> Problem:
    """The problem of segments, whole or in overlapping pieces."""
    fit, delays = config.fit, longest_delays(plant.model, config.parameters)
    pieces = segments if piece_s is None else overlapping(segments, piece_s, delays.action + delays.sensor)
    beside = experiments(
        plant, config.measurements, config.parameters, pieces, noise, read=fit.first_states == "read"
    )  # fmt: skip
    return Problem(plant.model, config.parameters, beside, step=fit.step)


def _warm_up(
    plant: Plant, config: IdentificationConfig, fitted: Sequence[Segment], noise: dict[str, np.ndarray]
) -> np.ndarray | None:
    """Parameters that fit windows of the segments, each with a first state of its own; None if none are wanted."""
    fit = config.fit
    if fit.warm_up_s is None:
        return None
    problem = _problem(plant, config, fitted, fit.warm_up_s, noise)
    best, _, _ = lowest(problem, fit.starts, fit.iterations, fit.seed)
    return best[: problem.size]
