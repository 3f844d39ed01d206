"""The ids of the manipulation family, listed without importing a simulator."""

from __future__ import annotations

from cairngym.envs.manipulation.fetch_config import FETCH
from cairngym.envs.registry import EnvSpec


def specs() -> list[EnvSpec]:
    """The Fetch tasks."""
    return [
        EnvSpec(id=env_id, maker="cairngym.envs.manipulation.fetch_task:make_fetch", family="fetch") for env_id in FETCH
    ]
