"""When events are drawn, and what they do with the number."""

from __future__ import annotations

from typing import Literal

Mode = Literal["startup", "reset", "interval"]
Operation = Literal["abs", "scale", "add"]
MODES = ("startup", "reset", "interval")
OPERATIONS = ("abs", "scale", "add")
