"""Reach the green goal square: the base step's own rule."""

from __future__ import annotations

from typing import Any

from cairngym.envs.minigrid import WFC
from cairngym.envs.minigrid.family import Family, Target


def no_targets(env: Any) -> list[Target]:
    """Nothing is asked for."""
    del env
    return []


GENERATORS = "cairngym.envs.minigrid.procedural"

FAMILIES = (
    Family(references=("EmptyEnv",), generator=f"{GENERATORS}.empty:make"),
    Family(references=("FourRoomsEnv",), generator=f"{GENERATORS}.four_rooms:make"),
    Family(references=("CrossingEnv",), generator=f"{GENERATORS}.crossing:make"),
    Family(references=("LavaGapEnv",), generator=f"{GENERATORS}.lava_gap:make"),
    Family(references=("DoorKeyEnv",), generator=f"{GENERATORS}.door_key:make"),
    Family(references=("MultiRoomEnv",), generator=f"{GENERATORS}.multi_room:make"),
    Family(references=("LockedRoomEnv",), colors=True),
    Family(references=("DistShiftEnv", "WFCEnv", *(f"WFC{name}Env" for name in WFC))),
    Family(references=("PlaygroundEnv",), targets=no_targets, colors=True),
)
