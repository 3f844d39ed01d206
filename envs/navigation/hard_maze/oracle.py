"""A driver that knows the map: down the shortest way to a reward area, where it stops."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.navigation.hard_maze.maze_map import AREAS, CELL, RADIUS, plan
from cairngym.envs.navigation.hard_maze.world import HardMazeWorld

CLEARANCE = 2.5 * RADIUS
"""How far from walls its ways keep."""
AHEAD = 3
"""Moves of the way from where the robot is to the point it steers towards."""
SLOW = 0.6
"""Radians off the way from which on the robot only turns."""


def targets() -> np.ndarray:
    """The points to steer towards from every cell, `(areas, rows, columns, 2)`."""
    far, following = plan(CLEARANCE)
    count, found = far.shape[1], []
    for lengths, cells, (x, y, _) in zip(far, following, AREAS, strict=True):
        home = int(y / CELL) * count + int(x / CELL)
        step = np.where(cells < 0, home, cells).ravel()
        # From where walls are too near, to the nearest cell where they are not, which lies on the same side of them.
        rows, columns = distance_transform_edt(np.isinf(lengths), return_distances=False, return_indices=True)
        cell = (rows * count + columns).ravel()
        for _ in range(AHEAD):
            cell = step[cell]
        middle = (np.stack((cell % count, cell // count), axis=-1) + 0.5) * CELL
        found.append(np.where((cell == home)[:, None], (x, y), middle).reshape(count, count, 2))
    return np.stack(found)


class ShortestWayDriver:
    """Turn towards the next point of the way, then roll there.

    Args:
        env: hard mazes, for the robot's speed.
        area: for each env the number of the area to go to, int64 `(N,)`.

    Raises:
        TypeError: another env.
    """

    def __init__(self, env: TensorEnv, area: torch.Tensor) -> None:
        world = env.unwrapped.world
        if not isinstance(world, HardMazeWorld):
            raise TypeError(f"Expected an env of hard mazes, got one with a {type(world).__name__}.")
        self._speed, self._area = world.robot.max_speed, area
        self._targets = torch.from_numpy(targets()).to(torch.float32).to(env.device)

    def __call__(self, state: State) -> torch.Tensor:
        """Actions float32 `(N, 2)` in [-1, 1] for the state of every env."""
        x, y = (state["position"] / CELL).long().clamp(0, self._targets.shape[1] - 1).unbind(1)
        aim = self._targets[self._area, y, x] - state["position"]
        far = torch.linalg.vector_norm(aim, dim=1)
        error = torch.atan2(aim[:, 1], aim[:, 0]) - state["heading"]
        error = torch.atan2(error.sin(), error.cos())
        # Wheels that roll by d more and by d less than their mean turn the robot by d / RADIUS.
        apart = (error * RADIUS / self._speed).clamp(-1.0, 1.0)
        eager = (1.0 - error.abs() / SLOW).clamp(min=0.0)
        mean = eager * (far / self._speed).clamp(max=1.0) * (1.0 - apart.abs())
        return torch.stack((mean - apart, mean + apart), dim=1)
