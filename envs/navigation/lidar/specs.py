"""The ids of the lidar rooms and what tells them apart; listed without importing torch or Warp."""

from __future__ import annotations

from dataclasses import dataclass

from cairngym.envs.registry import EnvSpec


@dataclass(frozen=True, kw_only=True)
class FloorPlan:
    """How the floor plans of an id are drawn; one cell is one metre."""

    size: int
    """Cells along either side of the building."""
    min_side: int
    """Shortest side of a room, in cells."""
    max_side: int
    """A part of the building with a longer side is divided; at least 2 `min_side` - 1."""
    horizon: int
    """Steps after which an episode is truncated."""
    min_path: float
    """Least length of the way from start to goal in m, wherever the plan has one so long."""
    corridors: float = 0.0
    """Probability that a division of a large part puts a corridor between its halves."""
    loops: float = 0.25
    """Probability that a wall between two halves has a second door."""
    clutter: float = 0.12
    """Attempts per cell to put a box or a pillar into a room."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_side <= self.size or self.max_side < 2 * self.min_side - 1:
            raise ValueError(
                f"Expected 1 <= min_side <= size and max_side >= 2 min_side - 1, got min_side {self.min_side}, "
                f"max_side {self.max_side} and size {self.size}."
            )
        if self.size <= self.max_side:
            raise ValueError(
                f"Expected a size above max_side, or there is but one room, got {self.size} and {self.max_side}."
            )


FLOOR_PLANS = {
    "Small": FloorPlan(size=8, min_side=2, max_side=4, horizon=200, min_path=4.0),
    "Medium": FloorPlan(size=14, min_side=3, max_side=5, horizon=400, min_path=7.0, corridors=0.5),
    "Large": FloorPlan(size=20, min_side=3, max_side=6, horizon=800, min_path=12.0, corridors=0.6),
    "Maze": FloorPlan(size=12, min_side=1, max_side=1, horizon=600, min_path=8.0, loops=0.1, clutter=0.0),
}


def floor_plan_of(env_id: str) -> FloorPlan:
    """The floor plans of `LidarRooms-<name>-v0`."""
    return FLOOR_PLANS[env_id.split("-")[1]]


def specs() -> list[EnvSpec]:
    """Every id of the family."""
    maker = "cairngym.envs.navigation.lidar.make:make_lidar_rooms"
    return [EnvSpec(id=f"LidarRooms-{name}-v0", maker=maker, family="lidar") for name in FLOOR_PLANS]
