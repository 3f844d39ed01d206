"""Between our packed state and an upstream env: what it carries, and pictures drawn by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cairngym.envs.minigrid.cells import pack_object, unpack_object

if TYPE_CHECKING:
    from cairngym.envs.minigrid.world import MiniGridWorld


def carried_cell(env: Any) -> int:
    """Packed object in the agent's hand; EMPTY when there is none."""
    return pack_object(env.carrying)


def copy_into(env: Any, world: MiniGridWorld, index: int) -> None:
    """Copy the state of one of our worlds into an upstream env."""
    from minigrid.core.grid import Grid

    cells = world.cells[index].tolist()
    x, y, direction, carried = world.agent[index].tolist()
    env.grid = Grid(world.width, world.height)
    env.grid.grid = [unpack_object(cell) for cell in cells]
    env.agent_pos, env.agent_dir = np.array((x, y)), direction
    env.carrying = unpack_object(carried)
    env.step_count = int(world.episodes.length[index])
    env.mission = world.store.bank.missions[int(world.store.current_mission[index])]


def frame(env: Any, world: MiniGridWorld, index: int) -> np.ndarray:
    """RGB frame of one of our worlds, uint8 `(height, width, 3)`, drawn by an upstream env."""
    copy_into(env, world, index)
    return env.get_frame(env.highlight, env.tile_size)
