"""Actuators that follow their controls with a lag: what they hold when a segment begins."""

from __future__ import annotations

import mujoco
import numpy as np

FILTERS = (int(mujoco.mjtDyn.mjDYN_FILTER), int(mujoco.mjtDyn.mjDYN_FILTEREXACT))


def lagging(model: mujoco.MjModel) -> np.ndarray:
    """Ids of the actuators with a first-order lag, whose activation follows the control."""
    return np.flatnonzero(np.isin(model.actuator_dyntype, FILTERS) & (model.actuator_actnum == 1))


def settled(model: mujoco.MjModel, control: np.ndarray) -> np.ndarray:
    """Activations `(na,)` after controls `(nu,)` that have held for long; other activations are zero."""
    return followed(model, control, np.zeros((0, model.nu)))


def followed(model: mujoco.MjModel, first: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Activations `(na,)` after controls, for those actuators that lag; others' are zero.

    Args:
        model: whose actuators they are.
        first: `(nu,)`, what held for long before.
        controls: `(steps, nu)`, one row a physics step.
    """
    result, own = np.zeros(model.na), lagging(model)
    level = _within(model, first)[own]
    lag = np.maximum(model.actuator_dynprm[own, 0], 1e-10)
    kept = np.exp(-model.opt.timestep / lag)
    for row in _within(model, controls)[..., own]:
        level = row + kept * (level - row)
    result[model.actuator_actadr[own]] = level
    return result


def spread(model: mujoco.MjModel, controls: np.ndarray) -> np.ndarray:
    """How far the activations `(len(lagging),)` may be off: half of what a limited control spans, else what it did.

    Args:
        model: whose actuators they are.
        controls: `(rows, nu)`, what was commanded.
    """
    own = lagging(model)
    span = np.where(model.actuator_ctrllimited[own], np.ptp(model.actuator_ctrlrange[own], axis=1) / 2, 0.0)
    return np.where(span > 0, span, np.maximum(np.ptp(controls[:, own], axis=0), 1e-3))


def _within(model: mujoco.MjModel, controls: np.ndarray) -> np.ndarray:
    limited = model.actuator_ctrllimited.astype(bool)
    low, high = model.actuator_ctrlrange.T
    return np.where(limited, np.clip(controls, low, high), controls)
