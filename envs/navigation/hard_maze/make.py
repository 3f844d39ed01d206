"""From an id and its options to a TensorEnv."""

from __future__ import annotations

import dataclasses
from typing import Any

from cairngym.envs.checks import check_options
from cairngym.envs.core import TensorEnv
from cairngym.envs.navigation.hard_maze.maze_map import Robot
from cairngym.envs.navigation.hard_maze.task import HardMazeTask
from cairngym.envs.navigation.hard_maze.world import HardMazeWorld

ROBOT_OPTIONS = tuple(field.name for field in dataclasses.fields(Robot))
OPTIONS = ("autoreset_mode", "threads", *ROBOT_OPTIONS)


def make_hard_maze(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    threads: int | None = None,
    **options: Any,
) -> TensorEnv:
    """Make hard mazes.

    Every episode begins alike and nothing in it is random: the same actions always lead the same way.

    Args:
        env_id: `HardMaze-v0`.
        num_envs: how many worlds step together.
        device: "cpu" or "cuda".
        seed: taken as by all envs; it changes nothing here.
        threads: CPU threads that `FusedWorld.play` may use; None takes every core.
        options: `autoreset_mode`, and the fields of `Robot`. Evolved policies are executed in the literature with
            outputs in [-1, 1] taken as speeds, where the robot's limit is 4: `max_speed=1` gives them that.

    Raises:
        ValueError: an option out of range.
        TypeError: an option there is not.

    Example:
        >>> env = make_hard_maze("HardMaze-v0", num_envs=2)
        >>> obs, info = env.reset(seed=0)
        >>> env.state["position"].tolist()
        [[60.0, 450.0], [60.0, 450.0]]
    """
    check_options(env_id, options, OPTIONS)
    robot = Robot(**{name: options.pop(name) for name in ROBOT_OPTIONS if name in options})
    world = HardMazeWorld(robot, num_envs, device, threads=threads)
    return TensorEnv(world, HardMazeTask(), seed=seed, **options)
