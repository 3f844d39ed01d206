"""The agents and mazes of Gymnasium-Robotics: bodies, scales and horizons."""

from __future__ import annotations

from dataclasses import dataclass

from cairngym.envs.navigation.maze_maps import MAPS


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A part of MuJoCo's positions or velocities under a name of its own."""

    source: str
    """"qpos" or "qvel"."""
    start: int
    size: int
    """Numbers it has; zero stands for one number without an axis."""
    unit: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A body and what can be measured of it."""

    model: tuple[str, ...]
    """The installed package and the path of the model's file in it."""
    scaling: float
    """Edge of a cell, m."""
    wall_height: float
    """Height of a wall, cells."""
    joints: tuple[str, ...]
    """Joints the model must have."""
    actuators: int
    substeps: int
    max_speed: float
    """Velocities are clipped to this before every step, m/s; infinite where they are not."""
    readings: dict[str, Reading]
    """State fields, in the order of MuJoCo's numbers."""
    observation: tuple[str, ...]
    """Names of the readings the agent sees."""


POINT = Agent(
    model=("gymnasium_robotics", "envs", "assets", "point", "point.xml"), scaling=1.0, wall_height=0.4,
    joints=("ball_x", "ball_y"), actuators=2, substeps=1, max_speed=5.0,
    readings={
        "position": Reading(source="qpos", start=0, size=2, unit="m", description="Where the point is in the world."),
        "velocity": Reading(source="qvel", start=0, size=2, unit="m/s", description="How fast the point moves."),
    },
    observation=("position", "velocity"),
)  # fmt: skip
ANT = Agent(
    model=("gymnasium", "envs", "mujoco", "assets", "ant.xml"), scaling=4.0, wall_height=0.5,
    joints=("root", *(f"{part}_{leg}" for leg in range(1, 5) for part in ("hip", "ankle"))), actuators=8, substeps=5,
    max_speed=float("inf"),
    readings={
        "position": Reading(source="qpos", start=0, size=2, unit="m", description="Where the torso is in the world."),
        "height": Reading(source="qpos", start=2, size=0, unit="m", description="How high the torso is."),
        "orientation": Reading(
            source="qpos", start=3, size=4, unit="quaternion", description="The torso's rotation, (w, x, y, z)."
        ),
        "joint_angles": Reading(
            source="qpos", start=7, size=8, unit="rad", description="Hip and ankle of each of the four legs."
        ),
        "velocity": Reading(
            source="qvel", start=0, size=3, unit="m/s", description="How fast the torso moves in the world's axes."
        ),
        "rotation_velocity": Reading(
            source="qvel", start=3, size=3, unit="rad/s", description="How fast the torso turns about its own axes."
        ),
        "joint_velocities": Reading(
            source="qvel", start=6, size=8, unit="rad/s", description="Hip and ankle of each of the four legs."
        ),
    },
    observation=("height", "orientation", "joint_angles", "velocity", "rotation_velocity", "joint_velocities"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MazeConfig:
    """What tells the maze tasks apart."""

    agent: Agent
    map: str
    """One of `MAPS`."""
    horizon: int
    """Steps after which an episode is truncated."""


def _mazes() -> dict[str, MazeConfig]:
    kinds = (
        ("PointMaze", "v3", POINT, {"Open": 300, "UMaze": 300, "Medium": 600, "Large": 800}),
        ("AntMaze", "v4", ANT, {"Open": 700, "UMaze": 700, "Medium": 1000, "Large": 1000}),
    )
    return {
        f"{name}_{layout}-{version}": MazeConfig(agent=agent, map=layout, horizon=horizons[layout.partition("_")[0]])
        for name, version, agent, horizons in kinds
        for layout in MAPS
    }


MAZES = _mazes()
"""By the ids of the Gymnasium-Robotics 1.4 versions they equal."""
THRESHOLD = 0.45
"""Distance at which a goal is reached, m."""
NOISE = 0.25
"""Goals and starts lie within this of a cell's centre in x and in y, cells."""
