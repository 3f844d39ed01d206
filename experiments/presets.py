"""Configs that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from cairngym.envs.checks import unknown_name
from cairngym.envs.strict_yaml import ConfigError


def packaged(kind: str) -> dict[str, Path]:
    """The presets of a kind ("compare", "agents") that come with the package, by name."""
    import cairngym.configs

    folders = [Path(folder, kind) for folder in cairngym.configs.__path__]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def find_config(name: str, *kinds: str) -> Path:
    """Turn a packaged name or a path into a path.

    Args:
        name: of a preset, or a path.
        kinds: what the preset may be; default is "compare".

    Raises:
        ConfigError: there is no such file, and no packaged preset of that name.
    """
    path = Path(name)
    if path.is_file():
        return path
    presets = {name: path for kind in kinds or ("compare",) for name, path in packaged(kind).items()}
    if name in presets:
        return presets[name]
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"There is no file {name}. Packaged: {', '.join(presets)}.")
    raise ConfigError(str(unknown_name("config", name, presets)) + " A path to a YAML file works too.")
