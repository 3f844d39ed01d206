"""Adroit's sparse tasks: open a door, drive in a nail, turn a pen, carry a ball, with Gymnasium-Robotics' observations.

No scripted oracle comes with them: to grasp a handle or to turn a pen in the hand is contact-rich control of 24 to 30
servos, for which no short controller is known. Minari publishes human demonstrations of all four (`D4RL/door/human-v2`
and so on). That success is rewarded is shown by states put where the task is done.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import State, Task, TensorEnv
from cairngym.envs.goals import goal_distance
from cairngym.envs.manipulation.adroit_config import ADROIT
from cairngym.envs.manipulation.adroit_scenes import SCENES
from cairngym.envs.physics.options import PhysicsOptions

HORIZON = 200
MISSED, DONE = -0.1, 10.0
"""Reward of a step whose end is no success, and of one whose end is."""
REACH_SHARE = 0.2
"""Part of the progress that is owed for every approach: palm to thing, tool to target."""
REACH = 0.5
"""Distance at which an approach is worth nothing, m."""


class AdroitTask(Task):
    """What the four have in common: -0.1 a step, 10 where the task is done, and episodes that go on until the horizon.

    Nothing fails for good: a dropped object lies on, and the episode with it.

    Args:
        dtype: of the observations.
        terminate_on_success: end an episode at success.
    """

    observation_size: int
    reward_range = (MISSED, DONE)

    def __init__(self, dtype: torch.dtype, *, terminate_on_success: bool) -> None:
        self.dtype, self.terminate_on_success, self.horizon = dtype, terminate_on_success, HORIZON
        number = np.dtype(str(dtype).removeprefix("torch."))
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (self.observation_size,), number.type)

    @abstractmethod
    def parts(self, state: State) -> tuple[torch.Tensor, ...]:
        """What the observation is made of, in order: numbers `(B,)` and vectors `(B, n)`."""

    @abstractmethod
    def approach(self, state: State) -> torch.Tensor:
        """The progress but for success, `(B,)`, to be clamped to [0, 1]."""

    def observe(self, state: State) -> torch.Tensor:
        """What the agent sees, `(B, observation_size)`."""
        columns = [part.unsqueeze(-1) if part.ndim == 1 else part for part in self.parts(state)]
        return torch.cat(columns, dim=-1).to(self.dtype)

    def reward(self, state: State, success: torch.Tensor, failure: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """10 at success, else -0.1, float32 `(B,)`."""
        del state, failure, length
        return torch.where(success, DONE, MISSED).to(torch.float32)

    def progress(self, state: State) -> torch.Tensor:
        """How far the hand's approaches and the task itself have come, one at success, float32 `(B,)`."""
        return torch.where(self.success(state), 1.0, self.approach(state).clamp(0.0, 1.0)).to(torch.float32)


def near(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """One where two points `(B, 3)` meet, falling to zero at `REACH`, `(B,)`."""
    return (1.0 - goal_distance(a, b) / REACH).clamp(0.0, 1.0)


class DoorTask(AdroitTask):
    """Turn the latch by the handle and open the door by 1.35 rad.

    The observation is the hand's hinges (27), the latch's angle, the door's, the palm's position (3), the handle's (3),
    the palm's relative to the handle (3), and whether the door is open by more than 1 rad (1 or -1).
    """

    observation_size = 39
    instruction = "Turn the latch by its handle and open the door by 1.35 rad."
    angle = 1.35
    """Success, rad."""
    ajar = 1.0
    """Angle above which the door is shown as open, rad."""
    progress_fields = ("palm_position", "handle_position", "door_angle")
    count_fields = ("handle_position", "latch_angle")

    def parts(self, state: State) -> tuple[torch.Tensor, ...]:
        """Hinges, latch, door, palm, handle, their difference, and whether the door is open."""
        palm, handle, door = state["palm_position"], state["handle_position"], state["door_angle"]
        shown = torch.where(door > self.ajar, 1.0, -1.0)
        return state["hinge_angle"], state["latch_angle"], door, palm, handle, palm - handle, shown.to(door.dtype)

    def success(self, state: State) -> torch.Tensor:
        """Whether the door is open by 1.35 rad, bool `(B,)`."""
        return state["door_angle"] >= self.angle

    def approach(self, state: State) -> torch.Tensor:
        """The palm at the handle, then the door's angle."""
        reached = near(state["palm_position"], state["handle_position"])
        return REACH_SHARE * reached + (1.0 - REACH_SHARE) * state["door_angle"] / self.angle


class HammerTask(AdroitTask):
    """Take the hammer and drive the nail in until its head is within 1 cm of its goal.

    The observation is the hand's hinges (26) and the nail's depth, the rates of the hammer's slides and hinges clipped
    to 1 (6), the palm's position (3), the hammer's position and angles (6), the nail's position (3), and the force on
    it clipped to 1 N.
    """

    observation_size = 46
    instruction = "Take the hammer and drive the nail in."
    threshold = 0.01
    """Success, m."""
    travel = 0.091
    """How far the nail's head is from its goal at the start, m."""
    progress_fields = ("palm_position", "object_position", "head_position", "nail_position", "nail_distance")
    count_fields = ("object_position", "nail_depth")

    def parts(self, state: State) -> tuple[torch.Tensor, ...]:
        """Hinges, depth, rates, palm, hammer, nail and force."""
        rates = (state["object_velocity"].clamp(-1.0, 1.0), state["object_rotation_velocity"].clamp(-1.0, 1.0))
        places = (state["palm_position"], state["object_position"], state["object_rotation"], state["nail_position"])
        return state["hinge_angle"], state["nail_depth"], *rates, *places, state["nail_force"].clamp(-1.0, 1.0)

    def success(self, state: State) -> torch.Tensor:
        """Whether the nail is in, bool `(B,)`."""
        return state["nail_distance"] < self.threshold

    def approach(self, state: State) -> torch.Tensor:
        """The palm at the hammer, the hammer's head at the nail, then the nail's depth."""
        reached = near(state["palm_position"], state["object_position"])
        aimed = near(state["head_position"], state["nail_position"])
        driven = (self.travel - state["nail_distance"]) / (self.travel - self.threshold)
        return REACH_SHARE * (reached + aimed) + (1.0 - 2.0 * REACH_SHARE) * driven.clamp(0.0, 1.0)


class PenTask(AdroitTask):
    """Turn the pen in the hand until it points within acos(0.95) of the wanted direction, no farther than 7.5 cm away.

    The observation is the hand's hinges (24), the pen's position (3), the rates of its slides and hinges (6), its axis
    (3) and the one wanted (3), and how the pen's position (3) and axis (3) differ from those wanted.
    """

    observation_size = 45
    instruction = "Turn the pen in the hand until it points in the wanted direction."
    threshold = 0.075
    """Greatest distance at success, m."""
    similarity = 0.95
    """Least cosine between the axes at success."""
    progress_fields = ("object_distance", "axis_similarity")
    count_fields = ("object_position", "object_axis")

    def parts(self, state: State) -> tuple[torch.Tensor, ...]:
        """Hinges, the pen's place, rates and axis, the axis wanted, and the differences."""
        place, axis, wanted = state["object_position"], state["object_axis"], state["target_axis"]
        rates = (state["object_velocity"], state["object_rotation_velocity"])
        return state["hinge_angle"], place, *rates, axis, wanted, place - state["target_position"], axis - wanted

    def success(self, state: State) -> torch.Tensor:
        """Whether the pen points where it is wanted and is still held, bool `(B,)`."""
        return (state["object_distance"] < self.threshold) & (state["axis_similarity"] > self.similarity)

    def approach(self, state: State) -> torch.Tensor:
        """How alike the axes are, lost with the distance beyond what is allowed."""
        alike = (1.0 + state["axis_similarity"]) / (1.0 + self.similarity)
        away = (state["object_distance"] - self.threshold).clamp(min=0.0)
        return alike.clamp(max=1.0) * (1.0 - away / REACH).clamp(min=0.0)


class RelocateTask(AdroitTask):
    """Take the ball and hold it within 10 cm of a place in the air.

    The observation is the forearm's slides (3), the hand's hinges (27), and the differences of palm and ball, palm and
    target, ball and target (3 each).
    """

    observation_size = 39
    instruction = "Take the ball and hold it at the target in the air."
    threshold = 0.1
    """Success, m."""
    progress_fields = ("palm_position", "object_position", "object_distance")
    count_fields = ("object_position",)

    def parts(self, state: State) -> tuple[torch.Tensor, ...]:
        """Slides, hinges and differences."""
        palm, ball, target = state["palm_position"], state["object_position"], state["target_position"]
        return state["slide_position"], state["hinge_angle"], palm - ball, palm - target, ball - target

    def success(self, state: State) -> torch.Tensor:
        """Whether the ball is at the target, bool `(B,)`."""
        return state["object_distance"] < self.threshold

    def approach(self, state: State) -> torch.Tensor:
        """The palm at the ball, then the ball at the target."""
        reached = near(state["palm_position"], state["object_position"])
        brought = 1.0 - (state["object_distance"] - self.threshold) / REACH
        return REACH_SHARE * reached + (1.0 - REACH_SHARE) * brought.clamp(0.0, 1.0)


TASKS: Mapping[str, type[AdroitTask]] = {
    "door": DoorTask,
    "hammer": HammerTask,
    "pen": PenTask,
    "relocate": RelocateTask,
}
"""Tasks by `AdroitConfig.scene`."""


def make_adroit(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    terminate_on_success: bool = False,
    **options: Any,
) -> TensorEnv:
    """Make an Adroit env.

    Args:
        env_id: one of `ADROIT`.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        terminate_on_success: end an episode at success; upstream goes on.
        options: see `PhysicsOptions`, and `autoreset_mode`.

    Raises:
        TypeError: an option it does not have.
    """
    config, shared = ADROIT[env_id], PhysicsOptions.take(env_id, options, ("terminate_on_success",))
    world = SCENES[config.scene](config, num_envs, device, dtype=shared.number, driver=shared.drive)
    task = TASKS[config.scene](shared.number, terminate_on_success=terminate_on_success)
    return shared.assemble(world, task, seed)
