"""Identified parameters as randomization presets: the estimates, and ranges around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from cairngym.sim2real.identification.fit import Estimate, Identification
from cairngym.sim2real.identification.inertia import Inertia, physical
from cairngym.sim2real.identification.parameters import (
    Armature,
    CenterOfMass,
    Damping,
    Friction,
    FrictionLoss,
    Gain,
    InertiaScale,
    Mass,
    Parameter,
    ServoDamping,
)
from cairngym.sim2real.identification.signal_parameters import ActionDelay, SensorBias, SensorDelay
from cairngym.sim2real.randomization.config import RandomizationConfig, save_config
from cairngym.sim2real.randomization.events import ActionDelay as ActionDelayEvent
from cairngym.sim2real.randomization.events import Event, FieldEvent, SensorNoise
from cairngym.sim2real.randomization.events import SensorDelay as SensorDelayEvent

FIELDS: dict[type[Parameter], tuple[str, dict[str, Any]]] = {
    Mass: ("body_mass", {}), InertiaScale: ("body_inertia", {"operation": "scale"}),
    CenterOfMass: ("body_ipos", {}), Damping: ("dof_damping", {}), FrictionLoss: ("dof_frictionloss", {}),
    Armature: ("dof_armature", {}), Gain: ("actuator_gainprm", {"component": 0}),
    ServoDamping: ("actuator_kv", {}), Friction: ("geom_friction", {}),
}  # fmt: skip
"""Parameter -> field of the model, and what else its event says."""
ERRORS = 2.0
"""Standard errors on either side of an estimate that `identified_randomized` covers where nothing else is said."""


def presets(
    found: Identification, spread: float = 0.0, errors: float = ERRORS
) -> tuple[RandomizationConfig, RandomizationConfig]:
    """The estimates alone, and ranges around them.

    What a fit could not tell keeps its nominal value. Members of a combination that can't be told apart take the fitted
    values, which are right together.

    Args:
        found: what a fit found.
        spread: least half width of a range, as a part of the estimate: how much units of the robot differ.
        errors: standard errors that a range covers on either side.

    Raises:
        ValueError: a negative spread, or negative errors.
    """
    if spread < 0 or errors < 0:
        raise ValueError(f"Expected a spread and errors of at least 0, got {spread} and {errors}.")
    exact = _events(found, 0.0, 0.0)
    ranged = _events(found, errors, spread)
    return (
        RandomizationConfig(events=tuple(exact), description="Identified parameters."),
        RandomizationConfig(
            events=tuple(ranged),
            description=f"Identified parameters, {errors:g} standard errors and at least {spread:.0%} around them.",
        ),
    )


def save_presets(found: Identification, folder: Path, spread: float = 0.0) -> tuple[Path, Path]:
    """Write `identified.yaml` and `identified_randomized.yaml`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "identified.yaml", folder / "identified_randomized.yaml"
    for config, path in zip(presets(found, spread), paths, strict=True):
        save_config(config, path)
    return paths


def _events(found: Identification, errors: float, spread: float) -> list[Event]:
    model, events, at = found.problem.model, [], 0
    for parameter in found.problem.parameters:
        count = len(parameter.labels())
        own, at = found.estimates[at : at + count], at + count
        if any(one.identified or one.value != one.nominal for one in own):
            events += _event(model, parameter, own, errors, spread)
    return events


def _event(
    model: mujoco.MjModel, parameter: Parameter, own: tuple[Estimate, ...], errors: float, spread: float
) -> list[Event]:
    if isinstance(parameter, Inertia):
        return _inertia(model, parameter, np.array([one.value for one in own]), spread)
    (one,) = own
    half = max(errors * one.error if np.isfinite(one.error) else 0.0, spread * abs(one.value))
    low, high = max(one.low, one.value - half), min(one.high, one.value + half)
    step = model.opt.timestep
    if isinstance(parameter, ActionDelay):
        return [
            ActionDelayEvent(low=round(low / step), high=max(round(low / step), round(high / step)), mode="startup")
        ]
    if isinstance(parameter, SensorDelay):
        return [SensorDelayEvent(fields=parameter.fields or (parameter.channel,), low=round(low / step),
                                 high=max(round(low / step), round(high / step)), mode="startup")]  # fmt: skip
    if isinstance(parameter, SensorBias):
        return [
            SensorNoise(field=parameter.channel, component=parameter.index, bias_range=(low, high), bias_mode="startup")
        ]
    kind = next((FIELDS[cls] for cls in type(parameter).__mro__ if cls in FIELDS), None)
    if kind is None:
        return []
    field, more = kind
    options: dict[str, Any] = {"operation": "abs", "names": parameter.names, **more}  # type: ignore[attr-defined]
    if isinstance(parameter, Mass):
        options["inertia"] = parameter.scale_inertia
    if isinstance(parameter, CenterOfMass):
        options["component"] = parameter.axis
    if isinstance(parameter, Friction):
        options["component"] = parameter.component
    events: list[Event] = [FieldEvent(field=field, low=low, high=high, shared=True, **options)]
    if isinstance(parameter, Gain) and (servo := parameter.servo(model)) is not None:
        events = [FieldEvent(field=servo, low=low, high=high, shared=True, operation="abs", names=parameter.names)]
    return events


def _inertia(model: mujoco.MjModel, parameter: Inertia, theta: np.ndarray, spread: float) -> list[Event]:
    """Mass, centre of mass and principal moments; the axes stay the model's, which no event turns."""
    mass, center, _, moments = physical(theta)
    values = [("body_mass", None, mass), *(("body_ipos", k, center[k]) for k in range(3)),
              *(("body_inertia", k, moments[k]) for k in range(3))]  # fmt: skip
    return [
        FieldEvent(
            field=field, names=parameter.names, operation="abs", component=component, inertia=False,
            low=value - spread * abs(value), high=value + spread * abs(value),
        )
        for field, component, value in values
    ]  # fmt: skip
