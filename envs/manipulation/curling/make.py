"""From an id and its options to a TensorEnv."""

from __future__ import annotations

from typing import Any

from cairngym.envs.checks import check_options
from cairngym.envs.core import TensorEnv
from cairngym.envs.manipulation.curling.task import CurlingTask
from cairngym.envs.manipulation.curling.world import CurlingWorld

OPTIONS = ("autoreset_mode", "threads")


def make_curling(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    threads: int | None = None,
    **options: Any,
) -> TensorEnv:
    """Make curling tables.

    Every episode begins alike and nothing in it is random: the same actions always lead the same way.

    Args:
        env_id: `Curling-v0`.
        num_envs: how many worlds step together.
        device: "cpu" or "cuda".
        seed: taken as by all envs; it changes nothing here.
        threads: CPU threads that `FusedWorld.play` may use; None takes every core.
        options: `autoreset_mode`.

    Raises:
        ValueError: an option out of range.
        TypeError: an option there is not.

    Example:
        >>> env = make_curling("Curling-v0", num_envs=2)
        >>> obs, info = env.reset(seed=0)
        >>> tuple(obs.shape)
        (2, 6)
    """
    check_options(env_id, options, OPTIONS)
    return TensorEnv(CurlingWorld(num_envs, device, threads=threads), CurlingTask(), seed=seed, **options)
