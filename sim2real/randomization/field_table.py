"""The model fields that events may change: whose they are, what they may hold, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cairngym.envs.checks import unknown_name

Element = Literal["body", "geom", "joint", "dof", "qpos", "actuator", "site", "tendon", "pair", "option"]


@dataclass(frozen=True)
class FieldKind:
    """What is known of a model field."""

    element: Element
    """Whose values it holds; `dof` and `qpos` are chosen by the names of joints."""
    size: int = 0
    """Components of one element's value; 0 for single numbers."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Least and greatest value a model can have."""
    strict: bool = False
    """Whether the least value itself is excluded."""
    constants: bool = False
    """Whether MuJoCo derives constants from it, so that `set_const` must follow."""
    stands_for: tuple[str, ...] = ()
    """The model fields that it is written to, where it is none itself."""

    @property
    def wanted(self) -> str:
        """The bounds in words."""
        least, greatest = self.bounds
        low = "" if least == -math.inf else f"{'above' if self.strict else 'of at least'} {least:g}"
        high = "" if greatest == math.inf else f"{' and ' if low else ''}of at most {greatest:g}"
        return low + high or "finite"


_PLUS = (0.0, math.inf)
_UNIT = (0.0, 1.0)
FIELDS: dict[str, FieldKind] = {
    "body_mass": FieldKind("body", 0, _PLUS, strict=True, constants=True),
    "body_inertia": FieldKind("body", 3, _PLUS, strict=True, constants=True),
    "body_ipos": FieldKind("body", 3, constants=True),
    "body_pos": FieldKind("body", 3, constants=True),
    "body_gravcomp": FieldKind("body", constants=True),
    "geom_friction": FieldKind("geom", 3, _PLUS),
    "geom_size": FieldKind("geom", 3, _PLUS, constants=True),
    "geom_pos": FieldKind("geom", 3, constants=True),
    "geom_margin": FieldKind("geom", 0, _PLUS),
    "geom_solref": FieldKind("geom", 2),
    "geom_rgba": FieldKind("geom", 4, _UNIT),
    "jnt_stiffness": FieldKind("joint", 0, _PLUS),
    "jnt_range": FieldKind("joint", 2),
    "dof_damping": FieldKind("dof", 0, _PLUS),
    "dof_armature": FieldKind("dof", 0, _PLUS, constants=True),
    "dof_frictionloss": FieldKind("dof", 0, _PLUS),
    "qpos0": FieldKind("qpos", constants=True),
    "qpos_spring": FieldKind("qpos", constants=True),
    "actuator_gear": FieldKind("actuator", 6, constants=True),
    "actuator_forcerange": FieldKind("actuator", 2),
    "actuator_dynprm": FieldKind("actuator", 10, _PLUS),
    "actuator_gainprm": FieldKind("actuator", 10),
    "actuator_biasprm": FieldKind("actuator", 10),
    "actuator_strength": FieldKind("actuator", 0, _PLUS, stands_for=("actuator_gainprm", "actuator_biasprm")),
    "actuator_kp": FieldKind("actuator", 0, _PLUS, stands_for=("actuator_gainprm", "actuator_biasprm")),
    "actuator_kv": FieldKind("actuator", 0, _PLUS, stands_for=("actuator_gainprm", "actuator_biasprm")),
    "site_pos": FieldKind("site", 3, constants=True),
    "tendon_stiffness": FieldKind("tendon", 0, _PLUS, constants=True),
    "tendon_damping": FieldKind("tendon", 0, _PLUS, constants=True),
    "tendon_frictionloss": FieldKind("tendon", 0, _PLUS),
    "tendon_armature": FieldKind("tendon", 0, _PLUS, constants=True),
    "pair_friction": FieldKind("pair", 5, _PLUS),
    "opt.gravity": FieldKind("option", 3),
    "opt.wind": FieldKind("option", 3),
    "opt.density": FieldKind("option", 0, _PLUS),
    "opt.viscosity": FieldKind("option", 0, _PLUS),
    "opt.impratio": FieldKind("option", 0, _PLUS, strict=True),
}
"""By name. `actuator_strength` is the factor of all force that an actuator gives (1 in the model), `actuator_kp` and
`actuator_kv` are the gains of position and velocity servos."""


def field_kind(name: str) -> FieldKind:
    """What is known of a field.

    Raises:
        UnknownNameError: naming the nearest valid fields.
    """
    if name not in FIELDS:
        raise unknown_name("model field", name, FIELDS)
    return FIELDS[name]
