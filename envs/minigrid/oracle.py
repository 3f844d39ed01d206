"""A scripted policy that carries out the plans of MiniGrid levels: proof that they can be solved, and demonstrations.

What to do next follows from the level as it is and the plan's stage, so that the policy copes with noise on its
actions. Ways are found anew at every step, by relaxing the costs of all places and directions at once. A way costs its
turns, steps and closed doors; an object that stands in it costs so much that it is moved only where there is no way
around it.

It sees what the agent does not, the whole level: it knows in `MiniGrid-Memory*` which end is the right one. Of rolling
balls it knows only where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import warp as wp

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.family import BESIDE, CARRY, CLEARED, NEAR, OPENED, UNLOCKED
from cairngym.envs.minigrid.world import MiniGridWorld

MOVED, FAR = 200, 100_000
"""What moving an object out of the way costs, and a cost that no way has; a step costs one."""
NARROW = 50
"""What putting a thing down in a narrow place costs."""
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Forward vectors: right, down, left, up."""
RING = ((-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1))
"""The eight neighbours, in order around."""
CHECKS = 8
"""Relaxations between two looks at whether anything still changes."""


class MiniGridOracle:
    """Goes from subgoal to subgoal of the plan, clearing the way and its hands where need be.

    Args:
        env: of a MiniGrid id.

    Raises:
        TypeError: another env.
    """

    def __init__(self, env: TensorEnv) -> None:
        world = env.unwrapped.world
        if not isinstance(world, MiniGridWorld):
            raise TypeError(f"Expected an env of a MiniGrid id, got one with a {type(world).__name__}.")
        self.world = world
        self.tools = int(world.single_action_space.n) > c.FORWARD + 1  # type: ignore[attr-defined]

    def __call__(self, state: State) -> torch.Tensor:
        """Actions int64 `(B,)` for the present state of the first B envs."""
        scene = Scene(state)
        kind, cell, detail = self._subgoal(state["stage"])
        places, deed = self._deed(scene, kind, cell, detail)
        blocked, beyond = self._blocked(scene, state["stage"], kind)
        places = torch.where(_wide(blocked), beyond, places)
        deed = torch.where(blocked, c.TOGGLE, deed)
        costs = scene.ways(places)
        wrong = (scene.carried & c.KIND != detail) & (kind == CARRY)
        full = scene.carrying & (wrong | blocked | (scene.hindered(costs) & self.tools))
        if bool(full.any()):
            rooms = scene.rooms()
            places, deed = torch.where(_wide(full), rooms, places), torch.where(full, c.DROP, deed)
            costs = torch.where(_wide(full), scene.ways(rooms), costs)
        return self._move(scene, costs, places, deed)

    def _subgoal(self, stage: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Kind, cell and detail `(B,)` of the subgoals at `stage`, of the last ones where the plan is done."""
        plans = self.world.store.plans
        rows = self.world.store.current[: len(stage)].long()
        counts = wp.to_torch(plans.steps)[rows, -1].long()
        place = torch.minimum(stage, counts - 1).clamp_min(0)
        kind, cell, detail = wp.to_torch(plans.subgoals)[rows, place].long().unbind(1)
        return torch.where(counts > 0, kind, 0), cell, detail

    def _deed(
        self, scene: Scene, kind: torch.Tensor, cell: torch.Tensor, detail: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From where subgoals can be met, int64 `(B, 4, W, H)` as `Scene.ways` takes it, and by which action `(B,)`."""
        there = scene.at(cell)
        fitting = (scene.packed & c.KIND == detail.view(-1, 1, 1)) & scene.loose
        thing = torch.where(fitting.flatten(1).any(1).view(-1, 1, 1), fitting, there)
        near = (kind == NEAR) & (detail > 0)
        ahead = torch.where((kind == CARRY).view(-1, 1, 1), thing, there)
        ahead = torch.where((kind == BESIDE).view(-1, 1, 1), around(there) & scene.empty, ahead)
        facing = scene.facing(torch.where(ahead, 0, FAR))
        stand = torch.where(there, 0, FAR).unsqueeze(1).expand_as(facing)
        beside = torch.stack([scene.shifted(torch.where(there, 0, FAR), d) for d in range(4)]).amin(0)
        beside = beside.unsqueeze(1).expand_as(facing)
        places = torch.where(_wide((kind == NEAR) & ~near), stand, torch.where(_wide(near), beside, facing))
        deed = torch.full_like(kind, c.DONE)
        for kinds, action in (((CARRY,), c.PICKUP), ((OPENED, UNLOCKED, CLEARED), c.TOGGLE), ((BESIDE,), c.DROP)):
            for number in kinds:
                deed = torch.where(kind == number, action, deed)
        return places, deed

    def _blocked(self, scene: Scene, stage: torch.Tensor, kind: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the door after a key is blocked by an object, which is moved before hands are full: bool `(B,)`."""
        following, cell, detail = self._subgoal(stage + 1)
        places, _ = self._deed(scene, following, cell, detail)
        asked = (kind == CARRY) & ((following == UNLOCKED) | (following == OPENED))
        if not bool(asked.any()):
            return asked, places
        cost = scene.here(scene.ways(places))
        return asked & (cost >= MOVED) & (cost < FAR), places

    def _move(self, scene: Scene, costs: torch.Tensor, places: torch.Tensor, deed: torch.Tensor) -> torch.Tensor:
        left, right = (scene.here(costs.roll(turn, dims=1)) + 1 for turn in (1, -1))
        ahead = scene.here(scene.entering + scene.following(costs))
        action = torch.where(right < left, c.RIGHT, c.LEFT)
        best = torch.minimum(left, right)
        obstacle, door = scene.here(scene.facing(scene.loose)), scene.here(scene.facing(scene.closed))
        forward = torch.where(door, c.TOGGLE, torch.where(obstacle, c.PICKUP, c.FORWARD))
        # Where nothing can be picked up, a ball in the way is waited for by turning.
        may = (ahead <= best) & (ahead < FAR) & ~(obstacle & (not self.tools))
        action = torch.where(may, forward, action)
        now = scene.here(places)
        return torch.where((now <= torch.minimum(best, ahead)) & (now < FAR), deed, action)


@dataclass
class Scene:
    """B levels as they are: what is where, and what ways cost."""

    state: State

    def __post_init__(self) -> None:
        grid = self.state["grid"].long()
        kind, color, door = grid.unbind(-1)
        self.packed = kind | color << c.COLOR
        held, tint = self.state["carrying"].unbind(1)
        self.carried = held | tint << c.COLOR
        self.carrying = held != c.EMPTY
        self.empty = kind == c.EMPTY
        self.loose = (kind == c.KEY) | (kind == c.BALL) | (kind == c.BOX)
        self.doors = kind == c.DOOR
        key = self.doors & (held == c.KEY).view(-1, 1, 1) & (color == tint.view(-1, 1, 1))
        self.closed = self.doors & ((door == c.CLOSED) | (door == c.LOCKED) & key)
        cost = torch.where((kind == c.WALL) | (kind == c.LAVA) | self.doors & (door == c.LOCKED), FAR, 1)
        cost = torch.where(self.closed, 2, torch.where(self.loose, MOVED, cost))
        cost[:, (0, -1)] = cost[:, :, (0, -1)] = FAR  # doors in the outer wall lead nowhere
        self.entering = self.facing(cost)
        self.rows = torch.arange(len(held), device=held.device)
        self.place = (self.rows, self.state["agent_dir"], *self.state["agent_pos"].unbind(1))
        x, y = self.state["agent_pos"].unbind(1)
        self.empty[self.rows, x, y] = False

    @staticmethod
    def shifted(values: torch.Tensor, direction: int) -> torch.Tensor:
        """At every cell the value of the cell ahead, `(B, W, H)`; levels are walled in, so rolling over is harmless."""
        dx, dy = STEPS[direction]
        return values.roll((-dx, -dy), dims=(1, 2))

    def facing(self, values: torch.Tensor) -> torch.Tensor:
        """Values of cells `(B, W, H)` as seen by who faces them, `(B, 4, W, H)`."""
        return torch.stack([self.shifted(values, d) for d in range(4)], dim=1)

    def following(self, costs: torch.Tensor) -> torch.Tensor:
        """Values of places `(B, 4, W, H)` one step ahead of each."""
        return torch.stack([self.shifted(costs[:, d], d) for d in range(4)], dim=1)

    def here(self, values: torch.Tensor) -> torch.Tensor:
        """The value `(B,)` where the agent is."""
        return values[self.place]

    def at(self, cell: torch.Tensor) -> torch.Tensor:
        """Bool `(B, W, H)`, true at the cell of index x + W y."""
        width = self.packed.shape[1]
        mask = torch.zeros_like(self.packed, dtype=torch.bool)
        mask[self.rows, cell % width, cell // width] = True
        return mask

    def ways(self, places: torch.Tensor) -> torch.Tensor:
        """The least cost from everywhere to a place, plus what `places` itself says of it; int64 `(B, 4, W, H)`."""
        costs = places
        while True:
            before = costs
            for _ in range(CHECKS):
                ahead = self.entering + self.following(costs)
                turned = torch.minimum(costs.roll(1, dims=1), costs.roll(-1, dims=1)) + 1
                costs = torch.minimum(costs, torch.minimum(ahead, turned))
            if torch.equal(costs, before):
                return costs

    def hindered(self, costs: torch.Tensor) -> torch.Tensor:
        """Whether the next step of the best way meets an object, bool `(B,)`."""
        ahead = self.here(self.entering + self.following(costs))
        turned = torch.minimum(*(self.here(costs.roll(turn, dims=1)) + 1 for turn in (1, -1)))
        blocks = self.here(self.facing(self.loose))
        return blocks & (ahead < turned) & (ahead < FAR) & (ahead <= self.here(costs))

    def rooms(self) -> torch.Tensor:
        """From where a thing can be put down, and how much that is in the way; as `ways` takes it."""
        penalty = torch.where(self.narrow(), NARROW, 0)
        return self.facing(torch.where(self.empty, penalty, FAR))

    def narrow(self) -> torch.Tensor:
        """Cells that hold those around them together, bool `(B, W, H)`: their connectivity (Yokoi 1975) is not 1."""
        kind = self.packed & c.BYTE
        open_ = ((kind != c.WALL) & (kind != c.LAVA) & ~self.loose).long()
        ring = [open_.roll(shift, dims=(1, 2)) for shift in RING]
        count = sum(ring[k] - ring[k] * ring[k + 1] * ring[(k + 2) % 8] for k in (0, 2, 4, 6))
        return torch.as_tensor(count) != 1


def around(mask: torch.Tensor) -> torch.Tensor:
    """The cells of a mask `(B, W, H)` and the eight around each."""
    wide = mask | mask.roll(1, 1) | mask.roll(-1, 1)
    return wide | wide.roll(1, 2) | wide.roll(-1, 2)


def _wide(mask: torch.Tensor) -> torch.Tensor:
    return mask.view(-1, 1, 1, 1)
