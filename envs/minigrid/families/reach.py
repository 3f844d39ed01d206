"""Reach the green goal square: the base step's own rule."""

from __future__ import annotations

from typing import Any

from cairngym.envs.minigrid.family import Family, Target


def no_targets(env: Any) -> list[Target]:
    """Nothing is asked for."""
    del env
    return []


GENERATORS = "cairngym.envs.minigrid.procedural"

FAMILIES = (
    Family(references=("EmptyEnv",)),
    Family(references=("FourRoomsEnv",)),
    Family(references=("CrossingEnv",)),
    Family(references=("LavaGapEnv",)),
    Family(references=("DoorKeyEnv",)),
    Family(references=("MultiRoomEnv",)),
    Family(references=("LockedRoomEnv",), colors=True),
    Family(references=("DistShiftEnv", "WFCEnv")),
    Family(references=("PlaygroundEnv",), targets=no_targets, colors=True),
)
