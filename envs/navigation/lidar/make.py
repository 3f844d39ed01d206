"""From an id and its options to a TensorEnv."""

from __future__ import annotations

import dataclasses
from typing import Any

from cairngym.envs.checks import check_options
from cairngym.envs.core import TensorEnv
from cairngym.envs.navigation.lidar.robot import Robot
from cairngym.envs.navigation.lidar.specs import floor_plan_of
from cairngym.envs.navigation.lidar.task import LidarTask
from cairngym.envs.navigation.lidar.world import LidarWorld

ROBOT_OPTIONS = tuple(field.name for field in dataclasses.fields(Robot))
OPTIONS = ("autoreset_mode", "split", "threads", *ROBOT_OPTIONS)


def make_lidar_rooms(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    split: str = "train",
    threads: int | None = None,
    **options: Any,
) -> TensorEnv:
    """Make an env of lidar rooms.

    Every episode has a floor plan, a start and a goal of its own, drawn from (seed, env, episode): with the split
    "test" and a fixed seed they are a fixed set to evaluate on, none of which training draws.

    Args:
        env_id: a `LidarRooms-*` id.
        num_envs: how many worlds step together.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        split: "train" or "test": disjoint random streams of floor plans.
        threads: CPU threads a step may use; None takes every core.
        options: `autoreset_mode`, and the fields of `Robot`.

    Raises:
        ValueError: an option out of range.
        TypeError: an option there is not.
    """
    check_options(env_id, options, OPTIONS)
    if split not in ("train", "test"):
        raise ValueError(f"Expected split to be 'train' or 'test', got {split!r}.")
    plan = floor_plan_of(env_id)
    robot = Robot(**{name: options.pop(name) for name in ROBOT_OPTIONS if name in options})
    world = LidarWorld(plan, robot, num_envs, device, held_out=split == "test", threads=threads)
    return TensorEnv(world, LidarTask(robot, plan.horizon, plan.size), seed=seed, **options)
