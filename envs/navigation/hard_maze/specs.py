"""The id of the hard maze, listed without importing torch or Warp."""

from __future__ import annotations

from cairngym.envs.registry import EnvSpec


def specs() -> list[EnvSpec]:
    """The hard maze."""
    maker = "cairngym.envs.navigation.hard_maze.make:make_hard_maze"
    return [EnvSpec(id="HardMaze-v0", maker=maker, family="hard_maze")]
