"""The ids of the mazes, listed without importing a simulator."""

from __future__ import annotations

from cairngym.envs.navigation.maze_config import MAZES
from cairngym.envs.registry import EnvSpec


def specs() -> list[EnvSpec]:
    """PointMaze and AntMaze."""
    return [EnvSpec(id=env_id, maker="cairngym.envs.navigation.maze_task:make_maze", family="maze") for env_id in MAZES]
