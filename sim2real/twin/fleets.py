"""Fleets of twins: what their hidden parameters are drawn from, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from cairngym.envs.checks import unknown_name

if TYPE_CHECKING:
    from cairngym.sim2real.randomization.config import RandomizationConfig

FLEETS = "cairngym.configs.sim2real.fleets"


def list_fleets() -> list[str]:
    """The names of the packaged fleets, sorted."""
    files = resources.files(FLEETS).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_fleet(source: str) -> RandomizationConfig:
    """Read a fleet by its name, or any randomization from a YAML file by its path (with a suffix or a folder).

    Raises:
        UnknownNameError: no fleet of that name.
        ValueError: a file that can't be read, or what it says can't be.
    """
    from cairngym.sim2real.randomization.config import load_config

    path = Path(source)
    if path.suffix or len(path.parts) > 1:
        return load_config(path)
    if source not in list_fleets():
        raise unknown_name("fleet", source, list_fleets())
    with resources.as_file(resources.files(FLEETS) / f"{source}.yaml") as file:
        return load_config(file)
