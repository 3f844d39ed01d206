"""The ids of the mazes and of the robots with wheels and rotors, listed without importing a simulator."""

from __future__ import annotations

from cairngym.envs.navigation.maze_config import MAZES
from cairngym.envs.registry import EnvSpec

MAZE_MAKER = "cairngym.envs.navigation.maze_task:make_maze"
QUADROTOR_MAKER = "cairngym.envs.navigation.quadrotor_task:make_quadrotor"
DIFFERENTIAL_DRIVE_MAKER = "cairngym.envs.navigation.differential_drive_task:make_differential_drive"


def specs() -> list[EnvSpec]:
    """PointMaze and AntMaze, the quadrotor, and the differential drive."""
    return [
        *(EnvSpec(id=env_id, maker=MAZE_MAKER, family="maze") for env_id in MAZES),
        EnvSpec(id="Quadrotor-v0", maker=QUADROTOR_MAKER, family="quadrotor"),
        EnvSpec(id="DifferentialDrive-v0", maker=DIFFERENTIAL_DRIVE_MAKER, family="differential_drive"),
    ]
