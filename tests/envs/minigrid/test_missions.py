"""What a task says of itself in words."""

from __future__ import annotations

import gymnasium
import minigrid  # noqa: F401  (registers the ids)
import pytest

import cairngym
from cairngym.envs.minigrid import missions


@pytest.mark.parametrize(
    ("env_id", "text"),
    [
        ("MiniGrid-DoorKey-5x5-v0", "use the key to open the door and then get to the goal"),
        ("MiniGrid-KeyCorridorS3R3-v0", "pick up the [colour] ball"),
        ("MiniGrid-ObstructedMaze-1Dlh-v0", "pick up the blue ball"),
        ("MiniGrid-Fetch-5x5-N2-v0", "[verb] [colour] [object]"),
    ],
)
def test_pattern_puts_what_differs_between_levels_in_brackets(env_id: str, text: str) -> None:
    space = gymnasium.make(env_id).observation_space["mission"]
    assert missions.pattern(space) == text
    assert text in cairngym.make(env_id, bank_size=1).task.instruction


def test_plan_fields_are_privileged_and_what_can_be_seen_is_not() -> None:
    spec = cairngym.make("MiniGrid-DoorKey-5x5-v0", bank_size=1).state_spec
    privileged = {name for name, field in spec.items() if field.privileged}
    assert privileged == {"stage", "distance", "remaining", "planned"}


@pytest.mark.parametrize(
    ("env_id", "word"),
    [
        ("FetchPush-v4", "Push"), ("FetchReach-v4", "gripper"), ("AdroitHandDoorSparse-v1", "door"),
        ("PointMaze_UMaze-v3", "0.45 m"), ("LidarRooms-Small-v0", "goal"), ("StlLinear-ReachAvoid-v0", "F[0,"),
        ("Chain-N10-v0", "node"),
    ],
)  # fmt: skip
def test_every_family_states_what_is_wanted(env_id: str, word: str) -> None:
    assert word in cairngym.make(env_id).task.instruction
