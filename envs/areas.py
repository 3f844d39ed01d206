"""Tasks that pay for where an episode ends: nearer to the middle of an area is worth more, on the way nothing is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cairngym.envs.data import State
from cairngym.envs.world import Task


class AreaTask(Task):
    """End an episode in one of the `reward_areas`: reward (r - d) / r in its last step, zero in all others.

    d is the distance to the middle of the area and r its radius. Nothing ends an episode before its horizon, and a
    success is an episode whose last step earns something: passing through an area is none. The world measures
    `steps_left`.

    Args:
        planned: way from the start to the middle of each area, in the unit of `way_field`.

    Attributes:
        distance_field: the state field with the distances to the areas' middles, `(N, areas)`.
        way_field: the one with the ways there, by which progress is told; it may be the same.
    """

    terminate_on_success = False
    reward_range = (0.0, 1.0)
    distance_field: str
    way_field: str

    def __init__(self, planned: Sequence[float]) -> None:
        self._radii = [area[-1] for area in self.reward_areas]
        self._planned = [float(way) - radius for way, radius in zip(planned, self._radii, strict=True)]

    def success(self, state: State) -> torch.Tensor:
        """Whether the time is up within an area, bool `(B,)`."""
        return (state["steps_left"] == 0) & (self.worth(state) > 0)

    def worth(self, state: State) -> torch.Tensor:
        """What an episode earns that ends in this state, float32 `(B,)`."""
        far = state[self.distance_field]
        radii = torch.tensor(self._radii, device=far.device)
        return ((radii - far) / radii).amax(dim=1).clamp(min=0.0)

    def reward(self, state: State, success: torch.Tensor, failure: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """What the step earns, float32 `(B,)`."""
        del failure, length
        return torch.where(success, self.worth(state), 0.0)

    def progress(self, state: State) -> torch.Tensor:
        """Share of the way to an area that is done, to the one that is nearest by this measure, float32 `(B,)`.

        It is one in an area also before the time is up.
        """
        way = state[self.way_field]
        radii, planned = (torch.tensor(values, device=way.device) for values in (self._radii, self._planned))
        share = (1.0 - (way - radii).clamp(min=0.0) / planned).clamp(0.0, 1.0).amax(dim=1)
        return torch.where((state[self.distance_field] < radii).any(dim=1), 1.0, share)
