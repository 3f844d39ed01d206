"""Ending an episode in a reward area: what the robot observes, when that is a success, and how far it has come."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.areas import AreaTask
from cairngym.envs.core import State, StateField
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.navigation.hard_maze.maze_map import AREAS, CELL, HORIZON, REACH, SIZE, START, WALLS, ways

PLACES = " and ".join(f"({x:g}, {y:g})" for x, y, _ in AREAS)


class HardMazeTask(AreaTask):
    """Be in a reward area when the episode ends: reward (r - d) / r in its last step, zero in all others.

    d is the distance to the middle of the area and r its radius, see `AreaTask`. The observation is what evolved
    policies are fed in the literature, without any scaling: three lasers in [0, 100] at +45, 0 and -45 degrees from the
    heading, then the bumpers at negative and at positive angles, 0 or 1.

    Attributes:
        reward_areas: middle and radius of each area, in the descriptor's coordinates.
    """

    instruction = (
        "Drive the robot through the maze so that it stands in a reward area when the time is up, as near to the "
        f"area's middle as possible; the middles are at {PLACES}."
    )
    horizon = HORIZON
    distance_field, way_field = "distance_to_areas", "path_distance"
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
        super().__init__(start.tolist())

    def observe(self, state: State) -> torch.Tensor:
        """Lasers and bumpers, `(B, 5)`."""
        return torch.cat((state["lasers"], state["bumpers"]), dim=1)


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
