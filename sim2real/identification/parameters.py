"""What can be identified: each parameter's nominal value, bounds, and how a model or a signal takes it on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from cairngym.envs.physics.models import find_id
from cairngym.sim2real.identification.measurements import VELOCITY_WIDTHS
from cairngym.sim2real.randomization.elements import is_pattern, select


@dataclass(frozen=True, kw_only=True)
class Parameter(ABC):
    """Numbers that are fitted together.

    A parameter of several objects (`names`) is one number that they share.
    """

    low: float
    """Least value that is possible."""
    high: float
    """Greatest one."""
    relative: bool = False
    """Whether the bounds are multiples of the nominal value."""
    nominal: float | None = None
    """Where the fit starts and what an unidentifiable parameter keeps; None is the model's own value."""
    begin: float | None = None
    """Where the fit starts instead, absolute, if it sees its way better from there; None is the nominal value."""

    unit: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Expected finite bounds low < high of {self.label!r}, got [{self.low}, {self.high}].")

    @property
    @abstractmethod
    def label(self) -> str:
        """What reports call it; unique within a fit."""

    @abstractmethod
    def model_value(self, model: mujoco.MjModel) -> float:
        """The value that the model has.

        Raises:
            UnknownNameError: the model lacks an object of that name.
            ValueError: the model can't have such a parameter there.
        """

    def labels(self) -> tuple[str, ...]:
        """A label for each of its numbers."""
        return (self.label,)

    def units(self) -> tuple[str, ...]:
        """A unit for each of its numbers."""
        return (self.unit,)

    def start(self, model: mujoco.MjModel) -> np.ndarray:
        """The nominal value, `(size,)`."""
        return np.array([self.model_value(model) if self.nominal is None else self.nominal])

    def first(self, model: mujoco.MjModel) -> np.ndarray:
        """Where the first fit starts, `(size,)`."""
        start = self.start(model)
        return start if self.begin is None else np.full_like(start, self.begin)

    def bounds(self, model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest values, each `(size,)`.

        Raises:
            ValueError: the nominal value is outside of them, or they are multiples of zero.
        """
        start = self.start(model)
        if self.relative and not start.all():
            raise ValueError(
                f"Expected a nominal value other than 0 for the relative bounds of {self.label!r}, got 0. "
                "Give absolute bounds."
            )
        factor = start if self.relative else np.ones_like(start)
        low, high = np.minimum(self.low * factor, self.high * factor), np.maximum(self.low * factor, self.high * factor)
        if self.begin is not None and not low.min() <= self.begin <= high.max():
            raise ValueError(
                f"Expected a fit of {self.label!r} to begin within [{low.min():g}, {high.max():g}], got {self.begin:g}."
            )
        if ((start < low) | (start > high)).any():
            raise ValueError(
                f"Expected bounds of {self.label!r} around its nominal value {start[0]:g} {self.unit}, "
                f"got [{low[0]:g}, {high[0]:g}]."
            )
        self.check(low, high)
        return low, high

    def check(self, low: np.ndarray, high: np.ndarray) -> None:
        """Refuse bounds that physics excludes; any go by default."""
        return


@dataclass(frozen=True, kw_only=True)
class ModelParameter(Parameter):
    """A parameter of objects of the model that share its value."""

    names: tuple[str, ...]
    """Names of the objects; `*` stands for any letters, and by itself also chooses those without a name."""

    object_kind: ClassVar[str]
    word: ClassVar[str]
    positive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.names, str) or not self.names:
            raise ValueError(f"Expected a tuple of names for a parameter {self.word!r}, got {self.names!r}.")
        super().__post_init__()

    @property
    def label(self) -> str:
        """Its kind and its objects."""
        return f"{self.word} {'+'.join(self.names)}"

    @abstractmethod
    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Put a value `(size,)` into a model that has nominal ones; derived constants are the caller's to renew."""

    def ids(self, model: mujoco.MjModel) -> list[int]:
        """Ids of its objects."""
        if any(is_pattern(name) for name in self.names):
            return list(select(model, self.object_kind, self.names))
        return [find_id(model, self.object_kind, name) for name in self.names]

    def check(self, low: np.ndarray, high: np.ndarray) -> None:
        """Refuse negative values of what can't be negative."""
        if self.positive and (low < 0).any():
            raise ValueError(f"Expected bounds of {self.label!r} that are not negative, got {low.min():g} {self.unit}.")


@dataclass(frozen=True, kw_only=True)
class Mass(ModelParameter):
    """Mass of a body; its rotational inertia scales with it, as if its density changed."""

    scale_inertia: bool = True
    """Whether the rotational inertia scales with the mass."""

    object_kind, word, unit = "body", "mass", "kg"

    def model_value(self, model: mujoco.MjModel) -> float:
        """The first body's mass, kg."""
        return _positive(self, float(model.body_mass[self.ids(model)[0]]))

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Set the masses."""
        for body in self.ids(model):
            if self.scale_inertia and model.body_mass[body] > 0:
                model.body_inertia[body] *= value[0] / model.body_mass[body]
            model.body_mass[body] = value[0]


@dataclass(frozen=True, kw_only=True)
class InertiaScale(ModelParameter):
    """Factor on the rotational inertia of a body, beyond what its mass does."""

    object_kind, word = "body", "inertia scale"

    def model_value(self, model: mujoco.MjModel) -> float:
        """One."""
        self.ids(model)
        return 1.0

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Scale the inertias."""
        model.body_inertia[self.ids(model)] *= value[0]


@dataclass(frozen=True, kw_only=True)
class CenterOfMass(ModelParameter):
    """One coordinate of a body's centre of mass in the body's frame."""

    axis: int
    """0, 1 or 2."""

    object_kind, word, unit, positive = "body", "centre of mass", "m", False

    @property
    def label(self) -> str:
        """With the axis."""
        return f"{super().label} {'xyz'[self.axis]}"

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise ValueError(f"Expected axis 0, 1 or 2 of a centre of mass, got {self.axis!r}.")
        super().__post_init__()

    def model_value(self, model: mujoco.MjModel) -> float:
        """The first body's, m."""
        return float(model.body_ipos[self.ids(model)[0], self.axis])

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Move the centre of mass."""
        model.body_ipos[self.ids(model), self.axis] = value[0]


@dataclass(frozen=True, kw_only=True)
class _JointParameter(ModelParameter):
    object_kind: ClassVar[str] = "joint"
    dof_field: ClassVar[str]

    def _dofs(self, model: mujoco.MjModel) -> list[int]:
        starts = [
            (model.jnt_dofadr[joint], VELOCITY_WIDTHS.get(int(model.jnt_type[joint]), 1)) for joint in self.ids(model)
        ]
        return [int(first + k) for first, width in starts for k in range(width)]

    def model_value(self, model: mujoco.MjModel) -> float:
        """The first joint's."""
        return float(getattr(model, self.dof_field)[self._dofs(model)[0]])

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Set it for every degree of freedom of the joints."""
        getattr(model, self.dof_field)[self._dofs(model)] = value[0]


@dataclass(frozen=True, kw_only=True)
class Damping(_JointParameter):
    """Viscous damping of a joint: N m s / rad, or N s / m of a slide."""

    word, unit, dof_field = "damping", "N m s", "dof_damping"


@dataclass(frozen=True, kw_only=True)
class FrictionLoss(_JointParameter):
    """Dry friction of a joint: N m, or N of a slide."""

    word, unit, dof_field = "friction loss", "N m", "dof_frictionloss"


@dataclass(frozen=True, kw_only=True)
class Armature(_JointParameter):
    """Rotor inertia as seen at the joint: kg m², or kg of a slide."""

    word, unit, dof_field = "armature", "kg m^2", "dof_armature"


@dataclass(frozen=True, kw_only=True)
class Gain(ModelParameter):
    """Gain of an actuator; of a servo kp, whose bias follows so that its target stays where it is."""

    object_kind, word = "actuator", "gain"

    def model_value(self, model: mujoco.MjModel) -> float:
        """The first actuator's gain."""
        return float(model.actuator_gainprm[self.ids(model)[0], 0])

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Set the gain, and scale the part of the bias that makes it a servo."""
        for actuator in self.ids(model):
            gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
            servo = next((at for at in (1, 2) if gain[0] and bias[at] == -gain[0]), None)
            if servo is not None:
                bias[servo] = -value[0]
            gain[0] = value[0]

    def servo(self, model: mujoco.MjModel) -> str | None:
        """The field of the gain where it is that of a servo: "actuator_kp" or "actuator_kv"."""
        actuator = self.ids(model)[0]
        gain, bias = model.actuator_gainprm[actuator, 0], model.actuator_biasprm[actuator]
        fields = {1: "actuator_kp", 2: "actuator_kv"}
        return next((fields[at] for at in (1, 2) if gain and bias[at] == -gain), None)


@dataclass(frozen=True, kw_only=True)
class ServoDamping(ModelParameter):
    """Velocity gain kv of a position servo."""

    object_kind, word, unit = "actuator", "servo damping", "N m s"

    def model_value(self, model: mujoco.MjModel) -> float:
        """The first actuator's kv."""
        return float(-model.actuator_biasprm[self.ids(model)[0], 2])

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Set kv."""
        model.actuator_biasprm[self.ids(model), 2] = -value[0]


@dataclass(frozen=True, kw_only=True)
class Friction(ModelParameter):
    """Contact friction of a geom: sliding, torsional (m) or rolling (m)."""

    component: int = 0
    """0 sliding, 1 torsional, 2 rolling."""

    object_kind, word = "geom", "friction"

    @property
    def label(self) -> str:
        """With the component, unless it slides."""
        return super().label + ("", " torsional", " rolling")[self.component]

    def __post_init__(self) -> None:
        if self.component not in (0, 1, 2):
            raise ValueError(f"Expected component 0, 1 or 2 of a friction, got {self.component!r}.")
        super().__post_init__()

    def model_value(self, model: mujoco.MjModel) -> float:
        """The first geom's."""
        return float(model.geom_friction[self.ids(model)[0], self.component])

    def write(self, model: mujoco.MjModel, value: np.ndarray) -> None:
        """Set it."""
        model.geom_friction[self.ids(model), self.component] = value[0]


def _positive(parameter: ModelParameter, value: float) -> float:
    if value <= 0:
        raise ValueError(
            f"Expected a body with mass for {parameter.label!r}, got one of {value:g} kg, which is part of its parent."
        )
    return value
