"""Where a step writes to: fresh memory for every step, so that what was returned is never overwritten."""

from __future__ import annotations

from dataclasses import dataclass

import torch

FEATURES = 4
"""Numbers after the beams in an observation: speed, turn rate, cosine and sine of the heading."""
GOAL_SIZE = 2
COLUMNS = {
    "heading": (0, 1), "direction": (1, 3), "velocity": (3, 5), "distance_to_goal": (5, 6), "path_distance": (6, 7),
    "planned_distance": (7, 8), "waypoint": (8, 10), "coverage": (10, 11), "collision": (11, 12),
}  # fmt: skip
"""First column and the one beyond the last of every measurement."""
MEASURES = 12


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Tensors of one step; those with a leading axis of two hold the current value first and the final one second."""

    features: torch.Tensor
    """`(2, N, beams + FEATURES)`."""
    goals: torch.Tensor
    """`(2, 2, N, 2)`: the position, then the goal."""
    measures: torch.Tensor
    """`(2, N, MEASURES)`."""
    reward: torch.Tensor
    returns: torch.Tensor
    length: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    succeeded: torch.Tensor
    done: torch.Tensor
    pointers: tuple[int, int, int]
    """Addresses of the three blocks the kernel writes to: floats, integers, flags."""

    def observation(self, which: int) -> dict[str, torch.Tensor]:
        """The observation: 0 what the agent sees now, 1 what it saw at the end of the step."""
        achieved, desired = self.goals[which].unbind(0)
        return {"observation": self.features[which], "achieved_goal": achieved, "desired_goal": desired}

    def measured(self, which: int, name: str, reach: float) -> torch.Tensor:
        """One field of the state; `reach` is the lidar's range."""
        if name == "lidar":
            return self.features[which, :, :-FEATURES] * reach
        if name in ("position", "goal"):
            return self.goals[which, ("position", "goal").index(name)]
        first, last = COLUMNS[name]
        values = self.measures[which, :, first:last]
        if name == "collision":
            return values[:, 0] > 0
        return values[:, 0] if last - first == 1 else values


def allocate(num_envs: int, beams: int, device: torch.device) -> Outputs:
    """Allocate the three blocks and name their parts."""
    n, width = num_envs, beams + FEATURES
    sizes = (2 * n * width, 4 * n * GOAL_SIZE, 2 * n * MEASURES, n, n)
    floats = torch.empty(sum(sizes), dtype=torch.float32, device=device)
    length = torch.empty(n, dtype=torch.int64, device=device)
    flags = torch.empty((5, n), dtype=torch.bool, device=device)
    features, goals, measures, reward, returns = floats.split(sizes)
    terminated, truncated, success, succeeded, done = flags.unbind(0)
    return Outputs(
        features=features.view(2, n, width), goals=goals.view(2, 2, n, GOAL_SIZE),
        measures=measures.view(2, n, MEASURES), reward=reward, returns=returns, length=length,
        terminated=terminated, truncated=truncated, success=success, succeeded=succeeded, done=done,
        pointers=(floats.data_ptr(), length.data_ptr(), flags.data_ptr()),
    )  # fmt: skip
