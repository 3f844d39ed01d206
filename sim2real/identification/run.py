"""From logs and a config to estimates, a report and presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    for name, log in logs.items() if isinstance(logs, Mapping) else logs:
        pieces, remarks = cut(log, channels=channels, name=name, least_rows=fit.least_rows)
        segments += pieces
        notes += [*log.meta.get(NOTES, ()), *remarks]
    fitted, held = hold_out(segments, fit.held_out)
    noise = noises(config.measurements, segments)
    beside = experiments(plant, config.measurements, config.parameters, fitted, noise)
    problem = Problem(plant.model, config.parameters, beside)
    found = identify(
        problem, starts=fit.starts, iterations=fit.iterations, resolution=fit.resolution, seed=fit.seed,
        begin=_warm_up(plant, config, fitted, noise),
    )  # fmt: skip
    kept = windows(held, fit.window_s)

    def prediction(values: np.ndarray) -> Prediction:
        return predict(plant, config.measurements, config.parameters, values, kept, noise)

    return Outcome(
        plant=plant, config=config, found=found, nominal=prediction(problem.start), identified=prediction(found.values),
        fitted=tuple(one.name for one in fitted), held_out=tuple(one.name for one in kept), notes=tuple(notes),
    )  # fmt: skip


def _warm_up(
    plant: Plant, config: IdentificationConfig, fitted: Sequence[Segment], noise: dict[str, np.ndarray]
) -> np.ndarray | None:
    """Parameters that fit windows of the segments, each with a first state of its own; None if none are wanted."""
    fit = config.fit
    if fit.warm_up_s is None:
        return None
    delays = longest_delays(plant.model, config.parameters)
    short = overlapping(fitted, fit.warm_up_s, delays.action + delays.sensor)
    problem = Problem(
        plant.model, config.parameters, experiments(plant, config.measurements, config.parameters, short, noise)
    )
    best, _, _ = lowest(problem, fit.starts, fit.iterations, fit.seed)
    return best[: problem.size]
