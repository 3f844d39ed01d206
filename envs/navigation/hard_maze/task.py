"""Ending an episode in a reward area: what the robot observes, when that is a success, and how far it has come."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import State, StateField, Task
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.navigation.hard_maze.maze_map import AREAS, CELL, HORIZON, REACH, SIZE, START, WALLS, ways

PLACES = " and ".join(f"({x:g}, {y:g})" for x, y, _ in AREAS)


class HardMazeTask(Task):
    """Be in a reward area when the episode ends: reward (r - d) / r in its last step, zero in all others.

    d is the distance to the middle of the area and r its radius. Nothing ends an episode before its horizon, and a
    success is an episode whose last step earns something: passing through an area is none. The observation is what
    evolved policies are fed in the literature, without any scaling: three lasers in [0, 100] at +45, 0 and -45 degrees
    from the heading, then the bumpers at negative and at positive angles, 0 or 1.

    Attributes:
        reward_areas: middle and radius of each area, in the descriptor's coordinates.
    """

    instruction = (
        "Drive the robot through the maze so that it stands in a reward area when the time is up, as near to the "
        f"area's middle as possible; the middles are at {PLACES}."
    )
    horizon = HORIZON
    terminate_on_success = False
    reward_range = (0.0, 1.0)
    progress_fields = ("path_distance", "distance_to_areas", "steps_left")
    count_fields = ("position",)
    descriptor = BehaviorDescriptor(
        entries=(("position", 0), ("position", 1)), low=(0.0, 0.0), high=(SIZE, SIZE), cells=(50, 50),
        walls=WALLS,
    )  # fmt: skip
    reward_areas = AREAS

    def __init__(self) -> None:
        high = np.array([REACH] * 3 + [1.0] * 2, dtype=np.float32)
        self.single_observation_space = spaces.Box(np.zeros_like(high), high, dtype=np.float32)
        start = ways()[:, int(START[1] / CELL), int(START[0] / CELL)]
        self._radii = [area[2] for area in AREAS]
        self._planned = [float(way) - radius for way, radius in zip(start, self._radii, strict=True)]

    def observe(self, state: State) -> torch.Tensor:
        """Lasers and bumpers, `(B, 5)`."""
        return torch.cat((state["lasers"], state["bumpers"]), dim=1)

    def success(self, state: State) -> torch.Tensor:
        """Whether the time is up within an area, bool `(B,)`."""
        return (state["steps_left"] == 0) & (self.worth(state) > 0)

    def worth(self, state: State) -> torch.Tensor:
        """What an episode earns that ends in this state, float32 `(B,)`."""
        radii = torch.tensor(self._radii, device=state["distance_to_areas"].device)
        return ((radii - state["distance_to_areas"]) / radii).amax(dim=1).clamp(min=0.0)

    def reward(self, state: State, success: torch.Tensor, failure: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """What the step earns, float32 `(B,)`."""
        del failure, length
        return torch.where(success, self.worth(state), 0.0)

    def progress(self, state: State) -> torch.Tensor:
        """Share of the shortest way to an area, the one the robot is farthest towards, float32 `(B,)`.

        It is one in an area also before the time is up.
        """
        far = state["path_distance"]
        radii, planned = (torch.tensor(values, device=far.device) for values in (self._radii, self._planned))
        share = (1.0 - (far - radii).clamp(min=0.0) / planned).clamp(0.0, 1.0).amax(dim=1)
        return torch.where((state["distance_to_areas"] < radii).any(dim=1), 1.0, share)


def state_spec() -> dict[str, StateField]:
    """What every hard maze measures."""

    def field(shape: tuple[int, ...], unit: str, description: str, dtype: torch.dtype = torch.float32) -> StateField:
        return StateField(shape=shape, unit=unit, description=description, dtype=dtype)

    areas = len(AREAS)
    return {
        "position": field((2,), "map unit", "Where the robot's centre is, x and y in [0, 600]."),
        "heading": field((), "rad", "Where the robot looks, from the x axis towards the y axis, in [-pi, pi]."),
        "lasers": field((3,), "map unit", "Distance to the first wall at +45, 0 and -45 degrees from the heading, 100 "
                        "at most."),
        "bumpers": field((2,), "1", "One where the last step touched a wall in front, at negative and at positive "
                         "angles from the heading."),
        "stopped": field((), "1", "Whether a wall took back the last step, but for its turn.", torch.bool),
        "distance_to_areas": field((areas,), "map unit", f"Straight distance to the middles of the reward areas, at "
                                   f"{PLACES}, through walls."),
        "path_distance": StateField(shape=(areas,), unit="map unit", privileged=True,
                                    description="Shortest way around the walls to the middle of each reward area."),
        "steps_left": field((), "step", "Steps until the episode ends.", torch.int64),
    }  # fmt: skip
