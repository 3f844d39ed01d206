"""What the numbers of an observation and of an action are: names and units in order, as tasks and worlds declare them.

Policies see plain vectors. Whoever feeds them by other means than a `TensorEnv`, for instance on a robot, has to know
which number is which: `observation_quantities` and `action_quantities` tell, where it was declared, and guess nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv
    from cairngym.envs.data import StateField

LONE = "observation"
"""What an observation that is not a Dict is called."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Numbers that stand side by side in a vector and share a unit.

    Example:
        >>> Quantity(name="velocity", unit="m/s", size=2).names
        ('velocity[0]', 'velocity[1]')
    """

    name: str
    unit: str
    """SI symbols, or "1" for what has none."""
    size: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """One for each number."""
        if self.size == 1:
            return (self.name,)
        return tuple(f"{self.name}[{index}]" for index in range(self.size))


Layout = Mapping[str, tuple[str | Quantity, ...]]
"""By entry of the observation, its quantities in order; a plain string names the state field that stands there."""


def entries(space: spaces.Space) -> dict[str, spaces.Space]:
    """The entries of one env's observation space by name; a lone one is called "observation"."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {LONE: space}


def wrappers(env: TensorEnv) -> Iterator[TensorEnv]:
    """The wrappers around an env, the outermost first."""
    inner = env.unwrapped
    while env is not inner:
        yield env
        env = env.env  # type: ignore[attr-defined]


def keeps_layout(wrapper: TensorEnv) -> bool:
    """Whether a wrapper leaves what the observation's numbers mean: it does not touch them, or says so itself."""
    from cairngym.envs.wrapper import TensorWrapper

    if not isinstance(wrapper, TensorWrapper):
        return False
    return type(wrapper).observation is TensorWrapper.observation or wrapper.keeps_layout


def observation_quantities(env: TensorEnv) -> dict[str, tuple[Quantity, ...]]:
    """What the numbers of each entry are, in order; entries of which nothing is declared are left out.

    Raises:
        ValueError: a declaration that does not fit the observation space or names no state field.

    Example:
        >>> import cairngym
        >>> observation_quantities(cairngym.make("PointMaze_UMaze-v3"))["achieved_goal"]
        (Quantity(name='position', unit='m', size=2),)
    """
    if not all(keeps_layout(wrapper) for wrapper in wrappers(env)):
        return {}
    base = env.unwrapped
    found = {}
    for name, space in entries(base.single_observation_space).items():
        declared = base.task.observation_layout.get(name, ())
        if declared:
            found[name] = tuple(_quantity(each, base.state_spec) for each in declared)
            _check_size(f"the layout of {name!r} of {type(base.task).__name__}", found[name], space)
    return found


def action_quantities(env: TensorEnv) -> tuple[Quantity, ...]:
    """What the numbers of an action of the env under every wrapper are, in order; empty where nothing is declared.

    Raises:
        ValueError: a declaration that does not fit the action space.
    """
    world = env.unwrapped.world
    if world.action_layout:
        _check_size(f"the action layout of {type(world).__name__}", world.action_layout, world.single_action_space)
    return tuple(world.action_layout)


def units(quantities: Iterable[Quantity]) -> tuple[str, ...]:
    """The unit of every number."""
    return tuple(quantity.unit for quantity in quantities for _ in range(quantity.size))


def shared_unit(each: Iterable[str]) -> str:
    """The unit of all numbers; where they differ, the units of the runs of equal ones, joined by commas.

    Example:
        >>> shared_unit(("m", "m", "m/s", "m")), shared_unit(("rad", "rad"))
        ('m, m/s, m', 'rad')
    """
    return ", ".join(unit for unit, _ in itertools.groupby(each))


def _quantity(declared: str | Quantity, spec: Mapping[str, StateField]) -> Quantity:
    if isinstance(declared, Quantity):
        return declared
    if declared not in spec:
        from cairngym.envs.checks import unknown_name

        raise ValueError(f"A layout names what the state does not have. {unknown_name('state field', declared, spec)}")
    field = spec[declared]
    return Quantity(name=declared, unit=field.unit, size=int(np.prod(field.shape, dtype=int)))


def _check_size(what: str, quantities: Iterable[Quantity], space: spaces.Space) -> None:
    size, wanted = sum(quantity.size for quantity in quantities), int(np.prod(space.shape or (), dtype=int))
    if size != wanted:
        raise ValueError(f"Expected {what} to name {wanted} numbers, i.e. those of {space}, got {size}.")
