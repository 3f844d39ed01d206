"""Strict YAML over dataclasses: unknown keys and wrong types are errors naming file, key and nearest key.

A dataclass may hold one field whose metadata is `REST`: keys it does not know go there (an agent's own options).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

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


def load_yaml(path: Path | Traversable, source: str | None = None) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; errors call it `source`, or else by its path.

    Raises:
        ConfigError: the file is missing, unreadable, or holds something else.
    """
    source = str(path) if source is None else source
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), source)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: can't be read: {error}.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected `key: value` lines, got {_kind(data)}.")
    return data


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
            values[key] = convert(hints[key], value, source=source, path=join(path, key))
        elif spill is not None:
            others[key] = value
        else:
            raise _unknown_key(source, join(path, key), key, fields)
    if spill is not None:
        values[spill] = others
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{source}: {join(path, name)}: missing; it has no default.")
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
        if arguments[-1] is not ... and len(value) != len(arguments):
            raise ConfigError(f"{source}: {path}: expected a list of {len(arguments)}, got {len(value)}.")
        return tuple(convert(arguments[0], v, source=source, path=f"{path}[{i}]") for i, v in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {path}: expected a mapping, got {_kind(value)}.")
        return {k: convert(arguments[1], v, source=source, path=join(path, k)) for k, v in value.items()}
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


def join(path: str, key: str) -> str:
    """The path of a key within what `path` leads to."""
    return f"{path}.{key}" if path else str(key)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, Mapping) else f"{value!r} ({type(value).__name__})"
