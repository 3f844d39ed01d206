"""A maze built around an agent's model."""

from __future__ import annotations

import mujoco

from cairngym.envs.navigation.maze_config import Agent
from cairngym.envs.navigation.maze_maps import Cell, MazeMap
from cairngym.envs.physics.models import package_file, require

WALL_COLOR = (0.7, 0.5, 0.3, 1.0)
GOAL_COLOR = (1.0, 0.0, 0.0, 0.7)
AGENT_COLOR = (0.0, 0.8, 0.0, 1.0)


def cell_center(maze: MazeMap, scaling: float, cell: Cell) -> tuple[float, float]:
    """The (x, y) in m of a cell's centre; the map's centre is the origin, and x runs along columns."""
    rows, columns = maze.shape
    i, j = cell
    return (j + 0.5) * scaling - columns / 2 * scaling, rows / 2 * scaling - (i + 0.5) * scaling


def maze_model(agent: Agent, maze: MazeMap) -> mujoco.MjModel:
    """Compile the agent's model with a box for every wall, as Gymnasium-Robotics lays them.

    The site "target" marks the goal in pictures; it is no part of the physics.

    Raises:
        ImportError: the package with the agent's model is not installed.
        ValueError: the model lacks a joint that is measured.
    """
    package, *parts = agent.model
    spec = mujoco.MjSpec.from_file(str(package_file(package, *parts)))
    half_width, half_height = 0.5 * agent.scaling, agent.wall_height / 2 * agent.scaling
    for i, j in maze.walls:
        x, y = cell_center(maze, agent.scaling, (i, j))
        spec.worldbody.add_geom(
            name=f"block_{i}_{j}", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(x, y, half_height),
            size=(half_width, half_width, half_height), contype=1, conaffinity=1, rgba=WALL_COLOR,
        )  # fmt: skip
    spec.worldbody.add_site(
        name="target", type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=(0.0, 0.0, half_height),
        size=(0.2 * agent.scaling, 0.0, 0.0), rgba=GOAL_COLOR,
    )  # fmt: skip
    spec.worldbody.add_camera(name="top", pos=(0.0, 0.0, 1.3 * agent.scaling * max(maze.shape)))
    for geom in spec.geoms:
        if geom.rgba[3] == 0.0:  # the point, which only a site shows; ray tracers draw geoms alone
            geom.rgba = AGENT_COLOR
    model = spec.compile()
    require(model, {"joint": agent.joints}, "a maze world")
    return model
