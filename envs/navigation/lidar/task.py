"""Reaching a goal in rooms that are not known: what the robot observes, when it is there, and how far it has come."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import State, StateField
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.goals import GoalTask
from cairngym.envs.navigation.lidar.outputs import FEATURES, GOAL_SIZE
from cairngym.envs.navigation.lidar.robot import Robot


class LidarTask(GoalTask):
    """Bring the robot's centre within `goal_radius` of the goal, without touching anything: reward 1, else 0.

    Success and collision both end the episode. All positions are in the frame of the episode's start, as odometry has
    them: the robot starts at (0, 0) and looks along x. `observation` holds the beams in units of the lidar's range,
    speed and turn rate in units of their limits, and cosine and sine of the heading; all of them are in [-1, 1].

    Args:
        robot: its lidar and its limits.
        horizon: steps after which an episode is truncated.
        size: sides of the building, m, for the behavior descriptor, in squares of a metre; without it there is none.
    """

    progress_fields = ("position", "goal", "path_distance", "planned_distance")
    count_fields = ("position",)
    instruction = "Drive the robot to the goal in a building it does not know, without touching walls or clutter."

    def __init__(self, robot: Robot, horizon: int, size: int | None = None) -> None:
        super().__init__(
            observation_size=robot.num_beams + FEATURES, goal_size=GOAL_SIZE, threshold=robot.goal_radius,
            horizon=horizon, reward_range=(0.0, 1.0), terminate_on_success=True,
        )  # fmt: skip
        self.robot = robot
        if size is not None:
            far = float(math.ceil(size * math.sqrt(2.0)))  # start and heading are anywhere in the building
            entries = (("position", 0), ("position", 1))
            self.descriptor = BehaviorDescriptor(
                entries=entries, low=(-far, -far), high=(far, far), cells=(2 * int(far), 2 * int(far))
            )
        place = spaces.Box(-np.inf, np.inf, (GOAL_SIZE,), np.float32)
        beams = spaces.Box(-1.0, 1.0, (robot.num_beams + FEATURES,), np.float32)
        self.single_observation_space = spaces.Dict(
            {"observation": beams, "achieved_goal": place, "desired_goal": place}
        )

    def features(self, state: State) -> torch.Tensor:
        """Beams, speed, turn rate and direction, `(B, beams + 4)`."""
        limits = (self.robot.max_speed, self.robot.max_turn)
        speeds = [state["velocity"][:, i : i + 1] / limit for i, limit in enumerate(limits)]
        return torch.cat((state["lidar"] / self.robot.lidar_range, *speeds, state["direction"]), dim=1)

    def achieved_goal(self, state: State) -> torch.Tensor:
        """Where the robot is, `(B, 2)`."""
        return state["position"]

    def failure(self, state: State) -> torch.Tensor:
        """Whether the robot has run into something, and not at the goal; bool `(B,)`."""
        return state["collision"] & ~self.success(state)

    def progress(self, state: State) -> torch.Tensor:
        """Share of the shortest way from the start that lies behind the robot, float32 `(B,)`.

        Ways end `goal_radius` before the goal. Both lengths are those to the goal the episode has: where hindsight puts
        another in its place, only its success is seen here.
        """
        left = (state["path_distance"] - self.threshold).clamp(min=0.0)
        whole = (state["planned_distance"] - self.threshold).clamp(min=self.threshold)
        share = (1.0 - left / whole).clamp(0.0, 1.0)
        return torch.where(self.success(state), 1.0, share).to(torch.float32)


def state_spec(beams: int) -> dict[str, StateField]:
    """What every world of lidar rooms measures."""

    def field(shape: tuple[int, ...], unit: str, description: str, dtype: torch.dtype = torch.float32) -> StateField:
        return StateField(shape=shape, unit=unit, description=description, dtype=dtype)

    def planned(shape: tuple[int, ...], description: str) -> StateField:
        return StateField(shape=shape, unit="m", description=description, privileged=True)

    return {
        "position": field((2,), "m", "Where the robot's centre is, seen from its start, x along its first heading."),
        "heading": field((), "rad", "Where the robot looks, counter-clockwise from its first heading, in [-pi, pi]."),
        "direction": field((2,), "1", "Cosine and sine of the heading."),
        "velocity": field((2,), "m/s, rad/s", "Speed forwards and turn rate in the last step; zero after a collision."),
        "goal": field((2,), "m", "Where the goal is, in the frame of the position."),
        "lidar": field((beams,), "m", "Distance to what each beam meets, the lidar's range at most; the first beam "
                       "looks ahead, the others follow counter-clockwise."),
        "distance_to_goal": field((), "m", "Straight distance to the goal, through walls."),
        "path_distance": planned((), "Shortest way to the goal through doors and around clutter that leads from "
                                 "cell middle to cell middle in eight directions."),
        "planned_distance": planned((), "The path distance at the start of the episode."),
        "waypoint": planned((2,), "Where the shortest way leaves the cell the robot is in, or the goal when it is "
                            "near, in the frame of the position."),
        "coverage": field((), "1", "Share of the building's cells that a beam or the robot has been in."),
        "collision": field((), "1", "Whether the robot has run into something.", torch.bool),
    }  # fmt: skip
