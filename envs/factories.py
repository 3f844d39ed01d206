"""Names to what makes things, imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from cairngym.envs.checks import unknown_name

Made = TypeVar("Made")
Factory = str | Callable[..., Made]
"""A function or class, or "module:name" of one, so that nothing is imported before it is used."""


def load(factory: Factory[Any]) -> Callable[..., Any]:
    """Import a factory if it is named."""
    if callable(factory):
        return factory
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)


class Factories(Generic[Made]):
    """Factories of one kind by name.

    Args:
        kind: what they make, for messages.
        entries: the first ones.
    """

    def __init__(self, kind: str, entries: Mapping[str, Factory[Made]]) -> None:
        self.kind, self._entries = kind, dict(entries)

    def register(self, name: str, factory: Factory[Made]) -> None:
        """Add one.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"The {self.kind} {name!r} is already registered; choose another name.")
        self._entries[name] = factory

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> Callable[..., Made]:
        """The one of that name.

        Raises:
            UnknownNameError: naming the nearest valid names.
        """
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return load(self._entries[name])
