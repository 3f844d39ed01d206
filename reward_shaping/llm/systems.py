"""The systems that ask a language model, by name, and the prompts that each asks for an env."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cairngym.envs.checks import check_options
from cairngym.envs.factories import Factories
from cairngym.reward_shaping.llm.messages import ChatRequest

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

_PACKAGE = "cairngym.reward_shaping.llm"
_systems: Factories[Sequence[ChatRequest]] = Factories(
    "system",
    {
        "auto_mc": f"{_PACKAGE}.auto_mc.prompts:requests",
        "beacons": f"{_PACKAGE}.beacons.prompts:requests",
        "calm": f"{_PACKAGE}.calm.prompts:requests",
        "lare": f"{_PACKAGE}.lare.authoring:requests",
        "oni": f"{_PACKAGE}.oni.sheets:requests",
        "text2reward": f"{_PACKAGE}.text2reward.prompt:requests",
    },
)
"""Each is called with an env and the system's own options; loaded when it is asked for."""


def list_systems() -> list[str]:
    """The names of all systems, sorted."""
    return _systems.names()


def register_system(name: str, function: str | Callable[..., Sequence[ChatRequest]]) -> None:
    """Add a system.

    Args:
        name: what it is called.
        function: maps an env, and the system's options as keywords, to its prompts; or "module:function" naming it.

    Raises:
        ValueError: the name is taken.
    """
    _systems.register(name, function)


def requests(system: str, env: TensorEnv, **options: Any) -> tuple[ChatRequest, ...]:
    """The prompts that a system asks for an env before anything is answered, the same on every machine.

    Args:
        system: one of `list_systems()`.
        env: an env of the task; it is as it was afterwards.
        options: the system's own, such as `examples` for "text2reward".

    Raises:
        UnknownNameError: no such system.
        TypeError: an option that the system does not have, or an env of another family than it is made for.
        ValueError: an option out of its range, or a task that the system has nothing to ask about.

    Example:
        >>> import cairngym
        >>> [request.label for request in requests("text2reward", cairngym.make("Chain-N10-v0"))]
        ['text2reward/Chain-N10-v0']
    """
    function = _systems.get(system)
    given = list(inspect.signature(function).parameters.values())[1:]
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in given):
        check_options(f"The system {system!r}", options, [parameter.name for parameter in given])
    return tuple(function(env, **options))
