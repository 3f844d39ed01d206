"""MiniGrid as Warp kernels: exact observations, rewards and rules of the reference, batched."""

from __future__ import annotations

from cairngym.envs.registry import EnvSpec

SUFFIXES = {
    "BlockedUnlockPickup": [""],
    "LavaCrossing": ["S9N1", "S9N2", "S9N3", "S11N5"],
    "SimpleCrossing": ["S9N1", "S9N2", "S9N3", "S11N5"],
    "DistShift": ["1", "2"],
    "DoorKey": ["-5x5", "-6x6", "-8x8", "-16x16"],
    "Dynamic-Obstacles": ["-5x5", "-Random-5x5", "-6x6", "-Random-6x6", "-8x8", "-16x16"],
    "Empty": ["-5x5", "-Random-5x5", "-6x6", "-Random-6x6", "-8x8", "-16x16"],
    "Fetch": ["-5x5-N2", "-6x6-N2", "-8x8-N3"],
    "FourRooms": [""],
    "GoToDoor": ["-5x5", "-6x6", "-8x8"],
    "GoToObject": ["-6x6-N2", "-8x8-N2"],
    "KeyCorridor": ["S3R1", "S3R2", "S3R3", "S4R3", "S5R3", "S6R3"],
    "LavaGap": ["S5", "S6", "S7"],
    "LockedRoom": [""],
    "Memory": ["S17Random", "S13Random", "S13", "S11", "S9", "S7"],
    "MultiRoom": ["-N2-S4", "-N4-S5", "-N6"],
    "ObstructedMaze": ["-1Dl", "-1Dlh", "-1Dlhb", "-2Dl", "-2Dlh", "-2Dlhb", "-1Q", "-2Q", "-Full"],
    "Playground": [""],
    "PutNear": ["-6x6-N2", "-8x8-N3"],
    "RedBlueDoors": ["-6x6", "-8x8"],
    "Unlock": [""],
    "UnlockPickup": [""],
}
SECOND_VERSIONS = ("MultiRoom-N4-S5", "ObstructedMaze-2Dlhb", "ObstructedMaze-1Q", "ObstructedMaze-2Q",
                   "ObstructedMaze-Full")  # fmt: skip
WFC = ("MazeSimple", "DungeonMazeScaled", "RoomsFabric", "ObstaclesBlackdots", "ObstaclesAngular", "ObstaclesHogs3")


def ids() -> list[str]:
    """The 76 ids that reset from minigrid's wheel."""
    first = [f"MiniGrid-{family}{suffix}-v0" for family, suffixes in SUFFIXES.items() for suffix in suffixes]
    return first + [f"MiniGrid-{name}-v1" for name in SECOND_VERSIONS]


def specs() -> list[EnvSpec]:
    """Every MiniGrid id; the WFC ids need pattern images that the wheel does not carry."""
    maker = "cairngym.envs.minigrid.make:make_minigrid"
    wfc = [f"MiniGrid-WFC-{name}-v0" for name in WFC]
    return [EnvSpec(id=env_id, maker=maker, family="minigrid") for env_id in ids()] + [
        EnvSpec(id=env_id, maker=maker, family="minigrid-wfc", reset_from_wheel=False) for env_id in wfc
    ]
