"""The whole inertia of a body as ten numbers every value of which is a body that can exist."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from cairngym.sim2real.identification.parameters import ModelParameter
from cairngym.sim2real.identification.toolbox import sysid

THETA = (
    "scale",
    "stretch x",
    "stretch y",
    "stretch z",
    "shear xy",
    "shear yz",
    "shear xz",
    "shift x",
    "shift y",
    "shift z",
)
"""The numbers: log of the square root of the mass, logs of the stretches, shears, and the centre of mass in m."""


@dataclass(frozen=True, kw_only=True)
class Inertia(ModelParameter):
    """Mass, centre of mass and rotational inertia of one body: the log-Cholesky factor of its pseudo-inertia.

    Every value is physically consistent (Rucker and Wensing, "Smooth parameterization of rigid-body inertia", RA-L
    2022): positive mass, positive-definite inertia that fulfils the triangle inequality. `low` and `high` are factors
    on the mass.
    """

    low: float = 0.5
    high: float = 2.0
    relative: bool = True
    stretch: tuple[float, float] = (0.5, 2.0)
    """Bounds of the stretches as multiples of the nominal ones."""
    shear: float = 0.5
    """Greatest change of a shear."""
    shift: float = 0.1
    """Greatest change of the centre of mass along an axis, m."""

    object_kind, word = "body", "inertia"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.names) != 1 or not self.relative or not 0 < self.low < 1 < self.high:
            raise ValueError(f"Expected one body and factors low < 1 < high on its mass for {self.label!r}.")
        if not 0 < self.stretch[0] < 1 < self.stretch[1] or self.shear <= 0 or self.shift <= 0:
            raise ValueError(f"Expected stretches around 1 and positive shears and shifts for {self.label!r}.")
        if self.begin is not None:
            raise ValueError(f"Expected no begin for {self.label!r}, which is ten numbers, got {self.begin}.")

    def labels(self) -> tuple[str, ...]:
        """The ten numbers."""
        return tuple(f"{self.label} {part}" for part in THETA)

    def units(self) -> tuple[str, ...]:
        """Metres for the centre of mass; the rest are logs and ratios."""
        return ("1",) * 7 + ("m",) * 3

    def model_value(self, model: mujoco.MjModel) -> float:
        """The body's mass, kg."""
        return float(model.body_mass[self.ids(model)[0]])

    def start(self, model: mujoco.MjModel) -> np.ndarray:
        """The ten numbers of the model's body."""
        return np.array(self._sysid(model).nominal, float)

    def bounds(self, model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
        """Of the ten numbers."""
        low, high = self._sysid(model).get_bounds()
        return np.array(low), np.array(high)

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Set mass, centre of mass, principal axes and moments."""
        body = self.ids(model)[0]
        model.body_mass[body], model.body_ipos[body], model.body_iquat[body], model.body_inertia[body] = physical(value)

    def _sysid(self, model: mujoco.MjModel) -> Any:
        body = self.ids(model)[0]
        if model.body_mass[body] <= 0:
            raise ValueError(f"Expected a body with mass for {self.label!r}, got none.")
        alone = _lone(model.body_mass[body], model.body_ipos[body], model.body_iquat[body], model.body_inertia[body])
        return sysid().body_inertia_param(
            alone, alone.compile(), "body", sysid().InertiaType.Pseudo,
            mass_bound_mult=np.array([self.low, self.high]), ipos_bound_off=np.array([-self.shift, self.shift]),
            stretch_bound_mult=np.array(self.stretch), shear_bound_off=np.array([-self.shear, self.shear]),
        )  # fmt: skip


def physical(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Mass in kg, centre of mass in m, orientation of the principal axes (w, x, y, z) and moments in kg m²."""
    spec, parameter = _scratch()
    parameter.update_from_vector(np.asarray(theta, float))
    parameter.apply_modifier(spec)
    body = spec.body("body")
    xx, yy, zz, xy, xz, yz = np.array(body.fullinertia).ravel()
    # Diagonalized here: the compiler of MuJoCo 4.0 leaves an inertia given this way at zero.
    moments, axes, quaternion = np.zeros(3), np.zeros(9), np.zeros(4)
    mujoco.mju_eig3(moments, axes, quaternion, np.array([xx, xy, xz, xy, yy, yz, xz, yz, zz]))
    return float(np.ravel(body.mass)[0]), np.array(body.ipos, float).ravel(), quaternion, moments


@functools.cache
def _scratch() -> tuple[mujoco.MjSpec, Any]:
    spec = _lone(1.0, np.zeros(3), np.array([1.0, 0, 0, 0]), np.full(3, 0.01))
    return spec, sysid().body_inertia_param(spec, spec.compile(), "body", sysid().InertiaType.Pseudo)


def _lone(mass: float, ipos: np.ndarray, iquat: np.ndarray, inertia: np.ndarray) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="body", mass=mass, ipos=ipos, iquat=iquat, inertia=inertia)
    body.explicitinertial = True
    return spec
