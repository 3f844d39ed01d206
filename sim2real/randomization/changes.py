"""One event on a model field as arithmetic: which values it changes, with how many numbers, and what follows."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import torch

from cairngym.sim2real.randomization.elements import JOINTED, label, select, select_jointed
from cairngym.sim2real.randomization.events import FieldEvent
from cairngym.sim2real.randomization.field_table import field_kind

Values = dict[str, torch.Tensor]
"""By model field, `(R, ...)` in R worlds."""
GEOM_SIZES = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): 1,
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): 2,
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): 3,
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): 2,
    int(mujoco.mjtGeom.mjGEOM_BOX): 3,
}
"""How many numbers the size of a geom has, by type; planes, meshes and height fields have none that collide."""
LINEAR_GAINS = (int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE))


class Change:
    """What a `FieldEvent` does to the fields of a model.

    Args:
        event: the event.
        model: compiled model.

    Attributes:
        ids: the elements changed.
        shape: of the numbers that one world draws, (elements or 1, components or 1).
        writes: the model fields written.

    Raises:
        UnknownNameError: no such element.
        ValueError: an element whose value can't be changed so.
    """

    def __init__(self, event: FieldEvent, model: mujoco.MjModel) -> None:
        self.event, self.model, self.kind = event, model, field_kind(event.field)
        self.ids = self._choose()
        single = event.operation == "scale" or event.component is not None
        components = 1 if single else max(self.kind.size, 1)
        self.shape = (1 if event.shared else max(len(self.ids), 1), components)
        self.writes = self.kind.stands_for or (event.field,)
        if event.field == "body_mass" and event.inertia:
            self.writes = ("body_mass", "body_inertia")

    def _choose(self) -> list[int]:
        element, names = self.kind.element, self.event.names
        if element == "option":
            return []
        chosen = (select_jointed if element in JOINTED else select)(self.model, element, names)
        kept = []
        for index, named in chosen.items():
            why = unfit(self.model, self.event.field, index)
            if why and named:
                raise ValueError(f"The event on {self.event.field!r}: {label(self.model, element, index)} {why}.")
            if not why:
                kept.append(index)
        if not kept:
            why = unfit(self.model, self.event.field, next(iter(chosen)))
            raise ValueError(f"The event on {self.event.field!r}: nothing to change among {list(names)}; each {why}.")
        return kept

    def apply(self, values: Values, numbers: torch.Tensor) -> None:
        """Change `values`, which are the caller's own, in place.

        Args:
            values: of the fields in `writes` at least.
            numbers: `(R, *shape)`, as drawn.
        """
        field = self.event.field
        if field in SERVOS:
            SERVOS[field](self, values, numbers)
            return
        before, after = self.chosen(values[field]), self.chosen(values[field]).clone()
        component = self.event.component
        parts = slice(None) if component is None else slice(component, component + 1)
        after[:, :, parts] = self.operate(after[:, :, parts], numbers)
        if "body_inertia" in self.writes and field == "body_mass":
            values["body_inertia"][:, self.ids] *= after / before
        if self.kind.element == "option":
            values[field].copy_(after.view_as(values[field]))
        else:
            values[field][:, self.ids] = after.view(len(after), len(self.ids), *values[field].shape[2:])

    def chosen(self, value: torch.Tensor) -> torch.Tensor:
        """The event's elements of a field's value `(R, ...)`: `(R, elements, components)`; options are one element."""
        if self.kind.element == "option":
            return value.view(len(value), 1, -1)
        return value[:, self.ids].view(len(value), len(self.ids), -1)

    def own(self, values: Values) -> torch.Tensor:
        """What `values` hold of the event's own field `(R, elements, components)`, for those that stand for others."""
        field = self.event.field
        if field == "actuator_kp":
            return values["actuator_gainprm"][:, self.ids, :1]
        if field == "actuator_kv":
            return -values["actuator_biasprm"][:, self.ids, 2:3]
        if field == "actuator_strength":
            gain, place = nominal(self.model, "actuator_gainprm")[self.ids], [0]
            return values["actuator_gainprm"][:, self.ids][..., place] / gain[..., place]
        return self.chosen(values[field])

    def operate(self, old: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The new values for old ones, by the event's operation."""
        numbers = numbers.to(old.dtype)
        if self.event.operation == "abs":
            return numbers.expand_as(old)
        return old * numbers if self.event.operation == "scale" else old + numbers


def nominal(model: mujoco.MjModel, name: str) -> torch.Tensor:
    """The model's own value of a field, `(...)`."""
    owner, attribute = (model.opt, name[4:]) if name.startswith("opt.") else (model, name)
    return torch.from_numpy(np.array(getattr(owner, attribute)))


def unfit(model: mujoco.MjModel, field: str, index: int) -> str:
    """Why a field of an element can't be changed; empty if it can."""
    if field == "body_mass" and model.body_mass[index] <= 0.0:
        return "has no mass in the model"
    if field == "body_inertia" and not (model.body_inertia[index] > 0.0).all():
        return "has no inertia in the model"
    if field == "geom_size" and int(model.geom_type[index]) not in GEOM_SIZES:
        return "is no sphere, capsule, ellipsoid, cylinder or box, so that its size decides no contact"
    if field in SERVOS and (
        int(model.actuator_gaintype[index]) not in LINEAR_GAINS or model.actuator_gainprm[index, 0] == 0.0
    ):
        return "has no linear gain"
    if field == "actuator_kp" and not servo_gain(model, index, 1):
        return "is no position servo (gain kp, bias -kp times the length)"
    if field == "actuator_kv" and not model.actuator_biasprm[index, 2] < 0.0:
        return "has no damping: neither a velocity servo nor a position servo with kv"
    return ""


def servo_gain(model: mujoco.MjModel, index: int, order: int) -> bool:
    """Whether the bias opposes position (order 1) or velocity (order 2) by the gain itself."""
    gain, bias = model.actuator_gainprm[index, 0], model.actuator_biasprm[index, order]
    return bool(gain > 0.0 and np.isclose(bias, -gain, rtol=1e-9))


def _strength(change: Change, values: Values, numbers: torch.Tensor) -> None:
    """Scale all that an actuator gives: gain and bias; the model's own strength is one."""
    gains = values["actuator_gainprm"][:, change.ids]
    factor = change.operate(torch.ones_like(gains[:, :, :1]), numbers)
    for name in change.writes:
        values[name][:, change.ids] = values[name][:, change.ids] * factor


def _kp(change: Change, values: Values, numbers: torch.Tensor) -> None:
    """Change gain and position bias together, so that the servo rests at its target."""
    new = change.operate(values["actuator_gainprm"][:, change.ids, :1], numbers)[..., 0]
    values["actuator_gainprm"][:, change.ids, 0] = new
    values["actuator_biasprm"][:, change.ids, 1] = -new


def _kv(change: Change, values: Values, numbers: torch.Tensor) -> None:
    """Change the velocity bias, and the gain of those that are velocity servos."""
    new = change.operate(-values["actuator_biasprm"][:, change.ids, 2:3], numbers)[..., 0]
    values["actuator_biasprm"][:, change.ids, 2] = -new
    speed = [place for place, index in enumerate(change.ids) if servo_gain(change.model, index, 2)]
    values["actuator_gainprm"][:, [change.ids[place] for place in speed], 0] = new[:, speed]


SERVOS: dict[str, Callable[[Change, Values, torch.Tensor], None]] = {
    "actuator_strength": _strength,
    "actuator_kp": _kp,
    "actuator_kv": _kv,
}
