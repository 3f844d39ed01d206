"""Ids to envs: `make`, `list_envs`, and their registration with Gymnasium.

Importing this module imports neither torch nor a simulator; a family's code is imported when one of its envs is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cairngym.envs.checks import check_device, unknown_name
from cairngym.envs.factories import load

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

NAMESPACE = "cairngym"
FAMILIES = (
    "cairngym.envs.minigrid",
    "cairngym.envs.chain",
    "cairngym.envs.manipulation.specs",
    "cairngym.envs.navigation.specs",
    "cairngym.envs.navigation.hard_maze.specs",
    "cairngym.envs.navigation.lidar.specs",
    "cairngym.envs.stl.specs",
)
"""Modules whose `specs()` lists a family's ids; none of them imports torch or a simulator."""


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """How an id becomes a TensorEnv."""

    id: str
    maker: str | Callable[..., TensorEnv]
    """`maker(id, num_envs=…, device=…, seed=…, **options)`, or "module:function" naming it."""
    family: str = "user"
    """The group it is listed under."""
    reset_from_wheel: bool = True
    """False where the env needs files that the user must supply."""

    def load(self) -> Callable[..., TensorEnv]:
        """Import the maker if it is named."""
        return load(self.maker)


_specs: dict[str, EnvSpec] = {}


def register(spec: EnvSpec) -> None:
    """Add an env under `spec.id`, here and with Gymnasium as `cairngym/<id>`.

    Raises:
        ValueError: if the id is taken.
    """
    _load_builtin()
    _add(spec)
    _register_with_gymnasium(spec.id)


def _add(spec: EnvSpec) -> None:
    if spec.id in _specs:
        raise ValueError(f"The env id {spec.id!r} is already registered; choose another or bump its version.")
    _specs[spec.id] = spec


def _load_builtin() -> None:
    if _specs:
        return
    for family in FAMILIES:
        for spec in importlib.import_module(family).specs():
            _add(spec)


def get_spec(env_id: str) -> EnvSpec:
    """Look an id up, with or without the `cairngym/` prefix.

    Raises:
        UnknownNameError: naming the nearest valid ids.
    """
    _load_builtin()
    name = env_id.removeprefix(NAMESPACE + "/")
    if name not in _specs:
        raise unknown_name("env id", name, _specs)
    return _specs[name]


def list_envs() -> list[str]:
    """Every id that `make` takes, sorted."""
    _load_builtin()
    return sorted(_specs)


def make(env_id: str, num_envs: int = 1, device: str = "cpu", seed: int = 0, **options: Any) -> TensorEnv:
    """Make `num_envs` copies of a task as one TensorEnv.

    Args:
        env_id: one of `list_envs()`.
        num_envs: how many copies step together.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        options: `autoreset_mode`, and what the family offers.

    Raises:
        UnknownNameError: unknown id.
        ValueError: `num_envs` below one, a seed out of range, or a device that is not there.
        TypeError: an option the env does not have.

    Example:
        >>> env = make("MiniGrid-Empty-5x5-v0", num_envs=4)
        >>> obs, info = env.reset(seed=0)
        >>> tuple(obs["image"].shape)
        (4, 7, 7, 3)
    """
    spec = get_spec(env_id)
    if num_envs < 1:
        raise ValueError(f"Expected num_envs >= 1, got {num_envs}.")
    check_device(device)
    env = spec.load()(spec.id, num_envs=num_envs, device=device, seed=seed, **options)
    env.unwrapped.id = spec.id
    return env


def register_gymnasium() -> None:
    """Register every id with Gymnasium as `cairngym/<id>`; called when cairngym is imported."""
    _load_builtin()
    for env_id in _specs:
        _register_with_gymnasium(env_id)


def _register_with_gymnasium(env_id: str) -> None:
    import gymnasium

    full = f"{NAMESPACE}/{env_id}"
    if full in gymnasium.registry:
        return
    gymnasium.register(
        id=full,
        entry_point="cairngym.envs.adapters:make_single",
        vector_entry_point="cairngym.envs.adapters:make_vector",
        kwargs={"env_id": env_id},
    )
