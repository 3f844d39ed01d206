"""Strict YAML over dataclasses: unknown keys and wrong types are errors naming file, key and nearest key.

A dataclass may hold one field whose metadata is `REST`: keys it does not know go there (an agent's own options).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from cairngym.envs.files import replacing

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that can't be used; the message says where, what was expected, and the nearest valid key."""


REST = {"rest": True}
"""Metadata of the dataclass field that takes the keys the dataclass does not know."""


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: `2e6` is a number, `off` and `no` are words, a key stands once."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not a word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document.

    Raises:
        ConfigError: naming `source`, line and column where it can't be read.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: not readable as YAML: {getattr(error, 'problem', None) or error}.") from error


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: the file is missing, unreadable, or holds something else.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {_kind(data)}.")
    return data


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


def build(cls: type[T], data: Any, *, source: str, path: str = "") -> T:
    """Make a dataclass from plain data laid over its defaults.

    Args:
        cls: the dataclass.
        data: a mapping of its fields, as parsed from YAML.
        source: the file, for errors.
        path: the key path that leads to `data`, for errors.

    Raises:
        ConfigError: unknown or missing key, wrong type, or a value the dataclass refuses.
    """
    where = f"{source}: {path}" if path else source
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping with the keys {', '.join(_names(cls))}, got {_kind(data)}.")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    spill = next((name for name, field in fields.items() if field.metadata.get("rest")), None)
    values: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in data.items():
        if key in fields and key != spill:
            values[key] = convert(hints[key], value, source=source, path=_join(path, key))
        elif spill is not None:
            others[key] = value
        else:
            raise _unknown_key(source, _join(path, key), key, fields)
    if spill is not None:
        values[spill] = others
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{source}: {_join(path, name)}: missing; it has no default.")
    try:
        return cls(**values)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{where}: {error}") from error


def convert(hint: Any, value: Any, *, source: str, path: str) -> Any:
    """Check `value` against a type hint and turn lists into tuples, mappings into dataclasses, `2e6` into an int."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        chosen = next(argument for argument in arguments if argument is not type(None))
        return convert(chosen, value, source=source, path=path)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, source=source, path=path)
    if origin is Literal:
        return _choice(arguments, value, source, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{source}: {path}: expected a list, got {_kind(value)}.")
        return tuple(convert(arguments[0], v, source=source, path=f"{path}[{i}]") for i, v in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {path}: expected a mapping, got {_kind(value)}.")
        return {k: convert(arguments[1], v, source=source, path=_join(path, k)) for k, v in value.items()}
    return _scalar(hint, value, source, path)


def _scalar(hint: type, value: Any, source: str, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint is float and number:
        return float(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    raise ConfigError(f"{source}: {path}: expected {names.get(hint, hint.__name__)}, got {_kind(value)}.")


def _choice(valid: tuple[Any, ...], value: Any, source: str, path: str) -> Any:
    if value in valid:
        return value
    near = difflib.get_close_matches(str(value), map(str, valid), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{source}: {path}: expected one of {', '.join(map(str, valid))}, got {value!r}.{hint}")


def _unknown_key(source: str, path: str, key: str, valid: Mapping[str, Any]) -> ConfigError:
    near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{source}: {path}: unknown key.{hint} Valid: {', '.join(valid)}.")


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(typing.cast(Any, cls)) if not field.metadata.get("rest")]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, Mapping) else f"{value!r} ({type(value).__name__})"


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
        return [line for key in keys for line in differences(old.get(key), new.get(key), _join(path, key))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]
