"""Start Warp quietly."""

from __future__ import annotations

import warp as wp


def start_warp() -> None:
    """Initialise Warp, once; its greeting and its notes about compiled modules are left out."""
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    wp.init()
