"""System identification: logs, informative excitation, fits with uncertainty, reports.

Names are imported when first used, so that reading a log imports neither a simulator nor a plotter.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "collect": "collecting",
    "read_log": "logs",
    "LogLayout": "layout",
    "Source": "layout",
    "LogError": "layout",
    "cut": "segments",
    "Segment": "segments",
    "PARAMETERS": "config",
    "IdentificationConfig": "config",
    "load_config": "config",
    "Measurement": "measurements",
    "Identification": "fit",
    "identify": "fit",
    "design": "excitation",
    "Excitation": "excitation",
    "write_report": "report",
}
"""Public name -> the module that defines it. None is also the name of a module, which would take its place."""

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
