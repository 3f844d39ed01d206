"""Base policies: what a residual corrects. Names to makers: `make_base`, `list_bases`, `register_base`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from cairngym.envs.checks import check_options
from cairngym.envs.factories import Factories, Factory, load

if TYPE_CHECKING:
    from cairngym.envs.core import Observation, State, TensorEnv

BASE_ACTION = "base_action"
"""The entry of the observation that shows the base's action, in the env's own units."""


class Lives(NamedTuple):
    """Where N envs are in their lives; what a base draws at random, it draws by these."""

    seed: int
    env_id: torch.Tensor
    """int64 `(N,)`."""
    number: torch.Tensor
    """int64 `(N,)`, which episode each env lives."""
    length: torch.Tensor
    """int64 `(N,)`, steps taken in it."""


class BasePolicy(ABC):
    """A policy that plays N envs and learns nothing.

    It is asked once a step, in order, so that one with a memory (a queue of actions planned ahead, a recurrent state)
    moves on by one step at every `act`. Where an episode ends it is asked twice: what it would have done next, which
    bootstrapping after a time limit needs, and, after `begin`, what it does first in the new episode.
    """

    @abstractmethod
    def act(self, obs: Observation, state: State, lives: Lives) -> torch.Tensor:
        """Actions `(N, *action_shape)` in the env's own units.

        Args:
            obs: of N envs, as the env shows it without the base's action.
            state: their measurements.
            lives: where they are in their lives.
        """

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the episode of the masked `(N,)` envs."""
        del mask

    def get_state(self) -> dict[str, Any]:
        """Copy the memory: (nested) dicts of tensors `(N, ...)`."""
        return {}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy made by `get_state`."""
        del snapshot


_bases: Factories[BasePolicy] = Factories(
    "base policy",
    {
        "checkpoint": "cairngym.agents.residual_base:CheckpointBase",
        "oracle": "cairngym.agents.residual_base:OracleBase",
    },
)


def register_base(name: str, factory: Factory[BasePolicy]) -> None:
    """Add a base policy under `name`; `factory(env, num_envs, **options)` makes one, or "module:class" names it.

    Raises:
        ValueError: if the name is taken.
    """
    _bases.register(name, factory)


def list_bases() -> list[str]:
    """Every name that `make_base` takes, sorted."""
    return _bases.names()


def make_base(
    base: Factory[BasePolicy], env: TensorEnv, num_envs: int, options: Mapping[str, Any] | None = None
) -> BasePolicy:
    """Make a base policy.

    Args:
        base: a registered name, or what makes one.
        env: that it plays in.
        num_envs: how many copies of it; recorded episodes are played beside those of `env`.
        options: its own.

    Raises:
        UnknownNameError: no such name.
        TypeError: an option it does not have.
    """
    factory = _bases.get(base) if isinstance(base, str) and ":" not in base else load(base)
    given = dict(options or {})
    own = [key for key in inspect.signature(factory).parameters if key not in ("env", "num_envs")]
    check_options(f"The base policy {base!r}", given, own)
    return factory(env, num_envs, **given)
