"""Ending an episode with the ball in a goal: what is observed, when that is a success, and how far it has come."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.areas import AreaTask
from cairngym.envs.core import State, StateField
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.manipulation.curling import scene

AREAS = tuple((*goal, radius) for goal, radius in zip(scene.GOALS, scene.GOAL_RADII, strict=True))
PLACES = " and ".join(f"({x:g}, {y:g}) within {radius:g} m" for x, y, radius in AREAS)
MOST = np.array([1.5, 1.5, math.pi / 2.0, math.pi, 50.0, 50.0], dtype=np.float32)
"""The largest observation to either side."""


class CurlingTask(AreaTask):
    """Have the ball in a goal when the episode ends: reward (r - d) / r in its last step, zero in all others.

    d is the ball's distance to the middle of the goal and r the goal's radius, see `AreaTask`. The observation is what
    evolved policies are fed in the literature, without any scaling: the ball's x and y, m, the angles of the two
    joints, rad, and their speeds, rad/s.

    Attributes:
        reward_areas: middle and radius of each goal, in the descriptor's coordinates.
    """

    instruction = (
        "Push the ball with the arm so that it lies in a goal when the time is up, as near to the goal's middle as "
        f"possible; the goals are at {PLACES}."
    )
    horizon = scene.HORIZON
    distance_field = way_field = "distance_to_goals"
    progress_fields = ("distance_to_goals",)
    count_fields = ("ball",)
    descriptor = BehaviorDescriptor(
        entries=(("ball", 0), ("ball", 1)), low=(-scene.DESCRIPTOR_LIMIT,) * 2, high=(scene.DESCRIPTOR_LIMIT,) * 2,
        cells=(scene.DESCRIPTOR_CELLS,) * 2,
    )  # fmt: skip
    reward_areas = AREAS

    def __init__(self) -> None:
        self.single_observation_space = spaces.Box(-MOST, MOST, dtype=np.float32)
        super().__init__([math.dist(scene.BALL_START, goal) for goal in scene.GOALS])

    def observe(self, state: State) -> torch.Tensor:
        """Ball, angles and speeds, `(B, 6)`."""
        seen = torch.cat((state["ball"], state["joint_angles"], state["joint_speeds"]), dim=1)
        most = torch.from_numpy(MOST).to(seen.device)
        return torch.minimum(torch.maximum(seen, -most), most)


def state_spec() -> dict[str, StateField]:
    """What every curling world measures."""

    def field(shape: tuple[int, ...], unit: str, description: str, dtype: torch.dtype = torch.float32) -> StateField:
        return StateField(shape=shape, unit=unit, description=description, dtype=dtype)

    return {
        "ball": field((2,), "m", "Where the ball's middle is; the table's middle is (0, 0), its walls are at -1.45 and "
                      "1.45 m along both axes, and the ball's radius is 0.15 m."),
        "ball_velocity": field((2,), "m/s", "How fast the ball moves."),
        "joint_angles": field((2,), "rad", "Angle of the joint on the lower wall at (0, -1.5) and of the one between "
                              "the links, counter-clockwise, zero where the arm is stretched out along the second "
                              "axis."),
        "joint_speeds": field((2,), "rad/s", "How fast the joints turn."),
        "elbow": field((2,), "m", "Where the joint between the links is."),
        "tip": field((2,), "m", "Where the middle of the outer link's free end is."),
        "distance_to_goals": field((len(AREAS),), "m", f"From the ball to the middles of the goals, at {PLACES}."),
        "steps_left": field((), "step", "Steps until the episode ends.", torch.int64),
    }  # fmt: skip
