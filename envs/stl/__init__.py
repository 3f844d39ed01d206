"""Signal temporal logic: formulas, exact batched robustness, monitors, worlds and tasks.

Names are imported when first used, so that listing the envs of this package imports neither torch nor a simulator.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "parse": "parser",
    "FormulaError": "lexer",
    "Formula": "formula",
    "Predicate": "formula",
    "eventually": "formula",
    "always": "formula",
    "until": "formula",
    "Monitor": "monitor",
    "Measure": "measures",
    "specify": "specification",
    "StlTask": "task",
    "MonitoredWorld": "monitored",
    "EnvWorld": "env_world",
}
"""Public name -> the module that defines it. None is also the name of a module, which would take its place."""

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
