"""Strict YAML over dataclasses of numbers, words and lists: unknown keys and wrong types are errors that say where."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, Union

import yaml

from cairngym.envs.checks import UnknownNameError, unknown_name


class _Loader(yaml.SafeLoader):
    """YAML in which `2e6` is a number and a key stands once."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            mark = node.value[place][0].start_mark
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_mapping(read: Callable[..., str], source: str) -> dict[str, Any]:
    """The one mapping that a YAML document holds.

    Args:
        read: gives its text; takes `encoding`.
        source: the file, for errors.

    Raises:
        ValueError: it can't be read, or holds something else; with line and column where YAML is at fault.
    """
    try:
        data = yaml.load(read(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: can't be read: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ValueError(f"{place}: not readable as YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(data, dict):
        raise ValueError(f"{source}: expected `key: value` lines, got {_kind(data)}.")
    return data


def build(cls: type, data: Mapping[str, Any], source: str, path: str) -> Any:
    """Make a flat dataclass from plain data.

    Args:
        cls: the dataclass; its fields are numbers, words, literals, lists of them, or None.
        data: by field.
        source: the file, for errors.
        path: the key path that leads to `data`, for errors.

    Raises:
        ValueError: an unknown or missing key, a wrong type, or a value the dataclass refuses.
    """
    hints, known = typing.get_type_hints(cls), {field.name: field for field in fields(cls)}
    for key in data:
        if key not in known:
            raise ValueError(f"{source}: {path}.{key}: {unknown_name('key', str(key), known)}")
    for name, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and name not in data:
            raise ValueError(f"{source}: {path}.{name}: missing; it has no default.")
    values = {key: _convert(hints[key], value, source, f"{path}.{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except (ValueError, TypeError, UnknownNameError) as error:
        raise ValueError(f"{source}: {path}: {error}") from error


def _convert(hint: Any, value: Any, source: str, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(kind for kind in arguments if kind is not type(None)), value, source, path)
    if origin is Literal:
        return _choice(arguments, value, source, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{source}: {path}: expected a list, got {_kind(value)}.")
        if arguments[-1] is not ... and len(value) != len(arguments):
            raise ValueError(f"{source}: {path}: expected a list of {len(arguments)}, got {len(value)}.")
        return tuple(_convert(arguments[0], item, source, f"{path}[{i}]") for i, item in enumerate(value))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint is float and number:
        return float(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    raise ValueError(f"{source}: {path}: expected {names.get(hint, str(hint))}, got {_kind(value)}.")


def _choice(valid: tuple[Any, ...], value: Any, source: str, path: str) -> Any:
    if value in valid:
        return value
    near = difflib.get_close_matches(str(value), map(str, valid), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{source}: {path}: expected one of {', '.join(map(repr, valid))}, got {value!r}.{hint}")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{value!r} ({type(value).__name__})"
