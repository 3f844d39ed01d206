"""Elements of a MuJoCo model by their names: bodies, geoms, joints and their degrees of freedom, actuators."""

from __future__ import annotations

import re
from collections.abc import Sequence

import mujoco

from cairngym.envs.checks import unknown_name

OBJECTS: dict[str, tuple[mujoco.mjtObj, str]] = {
    "body": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "ngeom"),
    "joint": (mujoco.mjtObj.mjOBJ_JOINT, "njnt"),
    "actuator": (mujoco.mjtObj.mjOBJ_ACTUATOR, "nu"),
    "site": (mujoco.mjtObj.mjOBJ_SITE, "nsite"),
    "tendon": (mujoco.mjtObj.mjOBJ_TENDON, "ntendon"),
    "pair": (mujoco.mjtObj.mjOBJ_PAIR, "npair"),
    "camera": (mujoco.mjtObj.mjOBJ_CAMERA, "ncam"),
    "light": (mujoco.mjtObj.mjOBJ_LIGHT, "nlight"),
    "material": (mujoco.mjtObj.mjOBJ_MATERIAL, "nmat"),
}
JOINTED = ("dof", "qpos")
"""Kinds of elements that are chosen by the names of joints."""
FREE, SLIDE, HINGE = (int(getattr(mujoco.mjtJoint, f"mjJNT_{name}")) for name in ("FREE", "SLIDE", "HINGE"))


def is_pattern(name: str) -> bool:
    """Whether a name may stand for several."""
    return "*" in name


def names_of(model: mujoco.MjModel, element: str) -> list[str]:
    """The names of all elements of a kind, by id; empty where they have none."""
    kind, count = OBJECTS[element]
    return [mujoco.mj_id2name(model, kind, index) or "" for index in range(getattr(model, count))]


def label(model: mujoco.MjModel, element: str, index: int) -> str:
    """What to call an element in an error: its kind and name, or its number if it has none."""
    if element == "dof":
        element, index = "joint", int(model.dof_jntid[index])
    elif element == "qpos":
        element, index = "joint", int((model.jnt_qposadr <= index).sum()) - 1
    name = names_of(model, element)[index]
    return f"{element} {name!r}" if name else f"{element} number {index}"


def select(model: mujoco.MjModel, element: str, names: Sequence[str]) -> dict[int, bool]:
    """The ids of the elements that names and patterns choose, in ascending order.

    `*` stands for any letters; by itself it also chooses elements without a name. The world, body 0, is chosen by its
    name only.

    Returns:
        By id, whether the element was named in full; patterns may be narrowed to those that make sense.

    Raises:
        UnknownNameError: a name that the model does not have, or a pattern that fits none; with the nearest ones.
    """
    valid = names_of(model, element)
    chosen: dict[int, bool] = {}
    for name in names:
        rule = re.compile(re.escape(name).replace(r"\*", ".*"))
        pattern = is_pattern(name)
        found = [index for index, known in enumerate(valid) if (known or name == "*") and rule.fullmatch(known)]
        found = [index for index in found if not (pattern and element == "body" and index == 0)]
        if not found:
            raise unknown_name(f"{element} of the MuJoCo model", name, filter(None, valid))
        for index in found:
            chosen[index] = chosen.get(index, False) or not pattern
    return dict(sorted(chosen.items()))


def select_jointed(model: mujoco.MjModel, element: str, names: Sequence[str]) -> dict[int, bool]:
    """As `select`, for the degrees of freedom (`dof`) or positions (`qpos`) of the joints chosen.

    Positions are those of hinges and slides only.

    Raises:
        ValueError: a joint named in full has no single position.
    """
    chosen: dict[int, bool] = {}
    for joint, named in select(model, "joint", names).items():
        kind = int(model.jnt_type[joint])
        if element == "dof":
            width = {FREE: 6, SLIDE: 1, HINGE: 1}.get(kind, 3)
            first = int(model.jnt_dofadr[joint])
            chosen |= dict.fromkeys(range(first, first + width), named)
        elif kind in (SLIDE, HINGE):
            chosen[int(model.jnt_qposadr[joint])] = named
        elif named:
            raise ValueError(f"Expected hinges and slides for qpos0, got {label(model, 'joint', joint)}, a free one.")
    if not chosen:
        raise ValueError(f"Expected joints with a single position, got none among {', '.join(map(repr, names))}.")
    return dict(sorted(chosen.items()))
