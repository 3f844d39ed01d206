"""Names to wrappers: `make_wrapper`, `list_wrappers`, `register_wrapper`.

A wrapper is imported when it is first made, so that this table may name those of folders further up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cairngym.envs.checks import check_options
from cairngym.envs.factories import Factories, Factory

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv
    from cairngym.envs.wrapper import TensorWrapper

_wrappers: Factories[TensorWrapper] = Factories(
    "wrapper",
    {
        "action_delay": "cairngym.envs.wrappers:ActionDelay",
        "beacons": "cairngym.reward_shaping.llm.beacons.observation:BeaconObservation",
        "flags": "cairngym.reward_shaping.temporal.flags:FlagObservation",
        "frame_stack": "cairngym.envs.wrappers:FrameStack",
        "pixels": "cairngym.envs.pixels:PixelObservation",
        "randomization": "cairngym.sim2real.randomization.wrapper:Randomization",
        "residual": "cairngym.reward_shaping.residual.wrapper:Residual",
        "sticky_actions": "cairngym.envs.wrappers:StickyActions",
        "temporal": "cairngym.reward_shaping.temporal.observation:TemporalObservation",
    },
)


def register_wrapper(name: str, factory: Factory[TensorWrapper]) -> None:
    """Add a wrapper under `name`; `factory(env, **options)` makes one, or "module:class" names it.

    Raises:
        ValueError: if the name is taken.
    """
    _wrappers.register(name, factory)


def list_wrappers() -> list[str]:
    """Every name that `make_wrapper` takes, sorted."""
    return _wrappers.names()


def get_wrapper(name: str) -> Callable[..., TensorWrapper]:
    """The factory registered under `name`.

    Raises:
        UnknownNameError: naming the nearest valid names.
    """
    return _wrappers.get(name)


def make_wrapper(name: str, env: TensorEnv, **options: Any) -> TensorWrapper:
    """Wrap `env` in the wrapper registered under `name`, with its options.

    Raises:
        UnknownNameError: unknown name.
        TypeError: an option it does not have.

    Example:
        >>> import cairngym
        >>> make_wrapper("frame_stack", cairngym.make("Chain-N10-v0"), frames=2).single_observation_space.shape
        (20,)
    """
    factory = get_wrapper(name)
    check_options(
        f"The wrapper {name!r}", options, [key for key in inspect.signature(factory).parameters if key != "env"]
    )
    return factory(env, **options)
