"""A driver that knows the floor plan: it follows the shortest way, and shows that every episode can be won."""

from __future__ import annotations

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.navigation.lidar.task import LidarTask

SLOW = 0.6
"""Radians off the way from which on the robot only turns."""


class ShortestWayDriver:
    """Turn towards the next waypoint, then drive to it; privileged, for `waypoint` comes from the floor plan.

    Args:
        env: lidar rooms, for the robot's limits.

    Raises:
        TypeError: another env.
    """

    def __init__(self, env: TensorEnv) -> None:
        task = env.task
        if not isinstance(task, LidarTask):
            raise TypeError(f"Expected an env of lidar rooms, got one with a {type(task).__name__}.")
        self.robot = task.robot

    def __call__(self, state: State) -> torch.Tensor:
        """Actions float32 `(B, 2)` in [-1, 1] for the given states."""
        off = state["waypoint"] - state["position"]
        cosine, sine = state["direction"].unbind(1)
        ahead = cosine * off[:, 0] + sine * off[:, 1]
        aside = cosine * off[:, 1] - sine * off[:, 0]
        error = torch.atan2(aside, ahead)
        turn = (error / (self.robot.max_turn * self.robot.time_step)).clamp(-1.0, 1.0)
        # Turning first keeps the robot on the straight line to the waypoint, which has room on either side.
        eager = (1.0 - error.abs() / SLOW).clamp(min=0.0)
        reach = torch.linalg.vector_norm(off, dim=1) / (self.robot.max_speed * self.robot.time_step)
        return torch.stack((eager * reach.clamp(max=1.0), turn), dim=1)
