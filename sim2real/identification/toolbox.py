"""MuJoCo's system identification toolbox, which is an optional part of MuJoCo."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType


@functools.cache
def sysid() -> ModuleType:
    """The module `mujoco.sysid`, complete.

    Raises:
        ImportError: a package that it needs is not installed.
    """
    toolbox = importlib.import_module("mujoco.sysid")

    if not hasattr(toolbox, "default_report"):  # the last name it imports; it leaves out quietly what it can't load
        raise ImportError(
            "Expected MuJoCo with its system identification toolbox, got one without. "
            "Install it: pip install 'cairngym[sysid]'"
        )
    return toolbox
