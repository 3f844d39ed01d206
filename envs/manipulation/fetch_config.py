"""The four Fetch tasks: where the gripper, the object and the goal begin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """What tells the Fetch tasks apart (Plappert et al. 2018, "Multi-Goal Reinforcement Learning")."""

    instruction: str
    """What is wanted."""
    xml: str
    """The model's file among Gymnasium-Robotics' Fetch assets."""
    joints: tuple[tuple[str, tuple[float, ...]], ...]
    """Joint positions before the arm moves to its start, m, rad and quaternions."""
    has_object: bool
    block_gripper: bool
    """Whether the fingers are locked at zero."""
    extra_height: float
    """Added to the gripper's starting height, m."""
    target_in_the_air: bool
    """Whether half of the goals are above the table."""
    target_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Added to the goal, m."""
    object_range: float = 0.15
    """The object starts within this of the gripper in x and y, m, but no nearer than 0.1 m."""
    target_range: float = 0.15
    """The goal lies within this of the gripper's start in x and y (and z without an object), m."""
    threshold: float = 0.05
    """Distance at which the goal is reached, m."""


ON_TABLE = ("object0:joint", (1.25, 0.53, 0.4, 1.0, 0.0, 0.0, 0.0))


def _base(x: float) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return (("robot0:slide0", (x,)), ("robot0:slide1", (0.48,)), ("robot0:slide2", (0.0,)))


FETCH = {
    "FetchReach-v4": FetchConfig(
        instruction="Move the gripper to the goal.",
        xml="reach.xml", joints=_base(0.4049), has_object=False, block_gripper=True, extra_height=0.2,
        target_in_the_air=True,
    ),
    "FetchPush-v4": FetchConfig(
        instruction="Push the block along the table to the goal; the fingers stay closed.",
        xml="push.xml", joints=(*_base(0.405), ON_TABLE), has_object=True, block_gripper=True, extra_height=0.0,
        target_in_the_air=False,
    ),
    "FetchSlide-v4": FetchConfig(
        instruction="Hit the puck so that it slides to the goal, which is out of the arm's reach, and stops there.",
        xml="slide.xml", joints=(*_base(0.05), ("object0:joint", (1.7, 1.1, 0.41, 1.0, 0.0, 0.0, 0.0))),
        has_object=True, block_gripper=True, extra_height=-0.02, target_in_the_air=False,
        target_offset=(0.4, 0.0, 0.0), object_range=0.1, target_range=0.3,
    ),
    "FetchPickAndPlace-v4": FetchConfig(
        instruction="Grasp the block and bring it to the goal, on the table or in the air.",
        xml="pick_and_place.xml", joints=(*_base(0.405), ON_TABLE), has_object=True, block_gripper=False,
        extra_height=0.2, target_in_the_air=True,
    ),
}  # fmt: skip
"""By the ids of the Gymnasium-Robotics 1.4 versions they equal."""
