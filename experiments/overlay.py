"""Configs as plain data: laid over one another, overridden from the command line, compared and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cairngym.envs.files import replacing
from cairngym.envs.strict_yaml import ConfigError, join, parse_yaml


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`: mappings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `["agent.learning_rate=3e-4", …]` into a nested mapping; values are read as YAML.

    Raises:
        ConfigError: an assignment without `=`.
    """
    result: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"Expected key=value, e.g. agent.learning_rate=3e-4, got {assignment!r}.")
        nested: Any = parse_yaml(value, f"override {assignment!r}")
        for key in reversed(path.strip().split(".")):
            nested = {key: nested}
        result = merge(result, nested)
    return result


def plain(value: Any) -> Any:
    """Turn dataclasses, tuples and mappings into what YAML writes; a `REST` field is spread into its parent."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        result: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            content = plain(getattr(value, field.name))
            result |= content if field.metadata.get("rest") else {field.name: content}
        return result
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the whole new one, even if the process dies."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def write_yaml(path: Path, config: Any) -> None:
    """Write a dataclass or mapping as YAML, atomically."""
    write_text(path, yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=120))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The key paths at which two plain values differ, each as `key: old -> new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), join(path, key))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]
