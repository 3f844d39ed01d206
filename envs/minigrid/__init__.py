"""MiniGrid as Warp kernels: exact observations, rewards and rules of the reference, batched."""

from __future__ import annotations

from cairngym.envs.registry import EnvSpec


def specs() -> list[EnvSpec]:
    """Every MiniGrid id."""
    return []
