"""Modules of a user's own, which register envs, wrappers, shapers or agents."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from cairngym.envs.strict_yaml import ConfigError


def import_modules(names: Iterable[str]) -> None:
    """Import the modules that register what a config names.

    Raises:
        ConfigError: there is no such module.
    """
    for name in names:
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # the module is there, but something it needs is not
            raise ConfigError(
                f"imports: there is no module {name!r}, neither installed nor under {Path.cwd()}."
            ) from error
