"""The families of MiniGrid tasks, by the class name of the reference env."""

from __future__ import annotations

import importlib

from cairngym.envs.checks import unknown_name
from cairngym.envs.minigrid.family import Family

MODULES = ("reach", "pickup", "doors", "beside", "memory", "put_near", "obstacles")
_families: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Add a family for the reference classes it names.

    Raises:
        ValueError: if one of them has a family already.
    """
    for name in family.references:
        if name in _families:
            raise ValueError(f"The reference class {name!r} already has a family.")
        _families[name] = family


def get_family(reference: str) -> Family:
    """The family of a reference class.

    Raises:
        UnknownNameError: naming the nearest classes that have one.
    """
    if not any(name in _families for name in ("EmptyEnv",)):
        for module in MODULES:
            for family in importlib.import_module(f"{__name__}.{module}").FAMILIES:
                register_family(family)
    if reference not in _families:
        raise unknown_name("MiniGrid family", reference, _families)
    return _families[reference]
