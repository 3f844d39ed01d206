"""Lets Gymnasium-Robotics 1.4 run on MuJoCo >= 3.11; importing this module is all it takes.

From MuJoCo 3.11 on an enum member no longer equals the numpy integer of its value (in some versions neither does the
integer equal the member), so that Gymnasium-Robotics' `mujoco_utils`, which compares them, refuses every joint and may
skip every mocap weld. It gets a namespace in which the enums it compares hold plain integers; `mujoco` itself stays as
it is. Nothing happens where Gymnasium-Robotics is missing or the comparison works.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import mujoco
import numpy as np

COMPARED = ("mjtEq", "mjtJoint")
"""The enums that `mujoco_utils` compares with entries of a model."""


class IntegerEnums(ModuleType):
    """The module `mujoco` with integers for the members of the enums `COMPARED`."""

    def __init__(self) -> None:
        super().__init__(mujoco.__name__, mujoco.__doc__)
        for enum in COMPARED:
            members = getattr(mujoco, enum).__members__
            setattr(self, enum, SimpleNamespace(**{name: int(member) for name, member in members.items()}))

    def __getattr__(self, name: str) -> Any:
        return getattr(mujoco, name)


def enums_equal_integers() -> bool:
    """Whether this MuJoCo's enum members equal the numpy integers that models hold, from either side."""
    weld = mujoco.mjtEq.mjEQ_WELD
    integer = np.int32(int(weld))
    return bool(weld == integer and integer == weld)


def install() -> bool:
    """Give Gymnasium-Robotics integer enums where it needs them; calling it again changes nothing.

    Returns:
        Whether it runs on them.
    """
    if enums_equal_integers() or find_spec("gymnasium_robotics") is None:
        return False
    mujoco_utils: Any = import_module("gymnasium_robotics.utils.mujoco_utils")
    if not isinstance(mujoco_utils.mujoco, IntegerEnums):
        mujoco_utils.mujoco = IntegerEnums()
    return True


install()
