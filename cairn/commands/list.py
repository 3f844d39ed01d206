"""`cairn list`: what there is to make, wrap, shape, learn with and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Literal

import tyro

Kind = Literal["all", "envs", "wrappers", "shapers", "agents", "systems", "variants"]


@dataclass(frozen=True, kw_only=True)
class List:
    """List what there is, one name a line.

    Examples:
      cairn list
      cairn list envs
    """

    what: tyro.conf.Positional[Kind] = "all"
    """Which kind; `systems` ask a language model, `variants` are those of the packaged comparisons."""


def main(arguments: Sequence[str]) -> int:
    """Print the names."""
    asked = tyro.cli(List, prog="cairn list", description=getdoc(List), args=list(arguments)).what
    kinds: dict[str, Callable[[], list[str]]] = {
        "envs": _envs, "wrappers": _wrappers, "shapers": _shapers, "agents": _agents, "systems": _systems,
        "variants": _variants,
    }  # fmt: skip
    if asked != "all":
        print("\n".join(kinds[asked]()))
        return 0
    for kind, names in kinds.items():
        print(f"{kind}:")
        print("\n".join(f"  {name}" for name in names()))
    return 0


def _envs() -> list[str]:
    from cairngym.envs.registry import list_envs

    return list_envs()


def _wrappers() -> list[str]:
    from cairngym.envs.wrapper_registry import list_wrappers

    return list_wrappers()


def _shapers() -> list[str]:
    from cairngym.reward_shaping.registry import list_shapers

    return list_shapers()


def _agents() -> list[str]:
    from cairngym.agents.registry import list_agents

    return list_agents()


def _systems() -> list[str]:
    from cairngym.commands.reward_prompts import all_systems

    return all_systems()


def _variants() -> list[str]:
    from cairngym.experiments.config import load_comparison
    from cairngym.experiments.presets import packaged

    lines = []
    for name, path in packaged("compare").items():
        for variant, config in load_comparison(path).variants.items():
            terms = [f"{shaper.weight:g} x {shaper.term or shaper.name}" for shaper in config.shapers]
            wrappers = [f", wrapped in {wrapper.text}" for wrapper in config.wrappers]
            lines.append(f"{name}/{variant}: {' + '.join(['task reward', *terms])}{''.join(wrappers)}")
    return lines
