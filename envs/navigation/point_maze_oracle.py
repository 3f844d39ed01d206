"""A scripted policy that solves every PointMaze."""

from __future__ import annotations

import torch

from cairngym.envs.data import State
from cairngym.envs.navigation.maze_paths import MazePaths


class PointMazeOracle:
    """Go from cell to cell along a shortest path, by a proportional-derivative controller.

    It aims at the centre of the next cell, and at the goal itself from its cell and those beside it.

    Args:
        paths: of the env: `env.world.paths`.
        gain: action for each metre to the target.
        damping: action against each m/s.
    """

    def __init__(self, paths: MazePaths, gain: float = 3.0, damping: float = 1.0) -> None:
        self.paths, self.gain, self.damping = paths, gain, damping

    def __call__(self, state: State) -> torch.Tensor:
        """Actions float32 `(B, 2)` for states with `position`, `velocity` and `goal`."""
        offset = self.target(state) - state["position"]
        return (self.gain * offset - self.damping * state["velocity"]).clamp(-1.0, 1.0).to(torch.float32)

    def target(self, state: State) -> torch.Tensor:
        """Where to head for, m, `(B, 2)`."""
        paths = self.paths
        here, there = (paths.cell_number(state[name]).clamp(min=0) for name in ("position", "goal"))
        following = paths.next_cell[here, there]
        beside = paths.hops[here, there] <= 1
        return torch.where(beside.unsqueeze(-1), state["goal"], paths.centers[following].to(state["goal"].dtype))
