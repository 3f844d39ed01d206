"""When a subgoal is reached, in batches."""

from __future__ import annotations

import torch

from cairngym.envs.core import State
from cairngym.envs.minigrid.cells import BOX, BYTE, COLOR, DOOR, KIND, OPEN, STATE
from cairngym.envs.minigrid.world import MiniGridWorld
from cairngym.reward_shaping.llm.beacons import subgoals as s

FORWARD = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Forward vectors of the directions right, down, left, up."""
AROUND = tuple((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


class Ground:
    """The cells of N worlds, read where they are asked for.

    `state["grid"]` unpacks every cell of every world at each step; a subgoal is about one of them.

    Args:
        world: the worlds.
    """

    def __init__(self, world: MiniGridWorld) -> None:
        self.world = world

    def __call__(self, index: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        """Packed cells int64 `(N, K)` at `index` `(N, K)`; where `ended` `(N,)`, as the last episode left them."""
        now = self.world.cells.gather(1, index)
        if ended.device.type == "cpu" and not bool(ended.any()):
            return now.long()
        return torch.where(ended.unsqueeze(1), self.world.ended_cells.gather(1, index), now).long()


def reached(
    entry: torch.Tensor, state: State, ground: Ground, ended: torch.Tensor, *, beside: bool = True
) -> torch.Tensor:
    """Whether each world's subgoal is reached, bool `(N,)`.

    Args:
        entry: int64 `(N, 6)`, rows of `SubgoalTable.entries`; NOTHING is never reached.
        state: of the worlds: `agent_pos`, `agent_dir` and `carrying` are read.
        ground: their cells.
        ended: the worlds whose `state` is the last one before a reset.
        beside: whether PUT occurs at all; it reads nine cells.
    """
    deed, cell, kind, color, _, detail = entry.unbind(1)
    width = ground.world.width
    place, offset = torch.stack((cell % width, cell // width), dim=1), state["agent_pos"]
    steps = (place - offset).abs().sum(1)
    ahead = offset + torch.tensor(FORWARD, device=cell.device)[state["agent_dir"]]
    faced = (steps == 0) | (ahead == place).all(1)
    held = (state["carrying"] == torch.stack((kind, color), dim=1)).all(1)
    found = ground(cell.unsqueeze(1), ended)[:, 0]
    is_door, is_box = found & BYTE == DOOR, found & BYTE == BOX
    opened = torch.where(kind == DOOR, is_door & ((found >> STATE) & BYTE == OPEN), ~is_box)
    outcome = (deed == s.GO) & (steps <= detail) | (deed == s.TAKE) & held
    outcome = outcome | (deed == s.OPEN) & opened & exists(kind, color, found) | (deed == s.FACE) & faced
    if beside:
        outcome = outcome | (deed == s.PUT) & lies_beside(place, detail, ground, ended)
    return outcome


def exists(kind: torch.Tensor, color: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """False for a door whose colour is not that of the one found: a subgoal about a door that is not there."""
    return (kind != DOOR) | ((found >> COLOR) & BYTE == color)


def lies_beside(place: torch.Tensor, thing: torch.Tensor, ground: Ground, ended: torch.Tensor) -> torch.Tensor:
    """Whether an object of packed type and colour `thing` lies within one cell of `place` `(N, 2)`, bool `(N,)`."""
    world = ground.world
    near = place.unsqueeze(1) + torch.tensor(AROUND, device=place.device)
    inside = (near >= 0).all(2) & (near[..., 0] < world.width) & (near[..., 1] < world.height)
    index = torch.where(inside, near[..., 0] + world.width * near[..., 1], 0)
    found = ground(index, ended) & KIND
    return (inside & (found == thing.unsqueeze(1))).any(1)
