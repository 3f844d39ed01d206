"""What a MiniGrid task declares: its observation, its horizon, and its progress."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import State, StateField, TaskSpec
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.minigrid import missions
from cairngym.envs.minigrid.cells import AGENT, BALL, BOX, CLOSED, DOOR, EMPTY, GREY, KEY, LOCKED, UNSEEN
from cairngym.envs.minigrid.family import Family

GRID = (
    "Every cell, indexed [x, y], without the agent: type (1 empty, 2 wall, 3 floor, 4 door, 5 key, 6 ball, 7 box, "
    "8 goal, 9 lava), colour (0 red, 1 green, 2 blue, 3 purple, 4 yellow, 5 grey), door state (0 open, 1 closed, "
    "2 locked)."
)
"""What the codes of minigrid mean."""


class MiniGridTask(TaskSpec):
    """A MiniGrid task; its rule runs inside the world's step kernel.

    Success earns 1 - 0.9 t/T after t of T steps, everything else 0 (walking into a moving obstacle -1).

    Args:
        family: the rule it shares with its like.
        reference: one upstream env of the id.
        kinds: object types that occur in its levels.
    """

    progress_fields = ("remaining", "planned")
    count_fields = ("agent_pos", "carrying")

    def __init__(self, family: Family, reference: Any, kinds: set[int]) -> None:
        self.family = family
        self.horizon = int(reference.max_steps)
        self.num_actions = int(reference.action_space.n)
        self.mission_length, self.constant_mission = missions.longest(reference.observation_space["mission"])
        self.single_observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
                "direction": spaces.Box(0, 3, (1,), np.int64),
                "carrying": spaces.Box(0, AGENT, (2,), np.int64),
                "mission": spaces.Box(0, missions.VOCABULARY_SIZE - 1, (self.mission_length,), np.int64),
            }
        )
        text = missions.pattern(reference.observation_space["mission"])
        self.instruction = f"The mission: {text}." if text else ""
        self._words = missions.codes(reference.observation_space["mission"])
        self.categories = self._categories(kinds)
        sides = (int(reference.width), int(reference.height))
        self.descriptor = BehaviorDescriptor(  # bounds between cells, so that no rounding moves the agent to another
            entries=(("agent_pos", 0), ("agent_pos", 1)), low=(-0.5, -0.5), high=(sides[0] - 0.5, sides[1] - 0.5),
            cells=sides,
        )  # fmt: skip

    def _categories(self, kinds: set[int]) -> dict[str, tuple[tuple[int, ...], ...]]:
        seen = tuple(sorted(kinds | {UNSEEN, EMPTY}))
        carried = tuple(sorted({EMPTY} | kinds & {KEY, BALL, BOX}))
        colors = tuple(range(GREY + 1)) if self.family.colors else ()
        states = (CLOSED, LOCKED) if DOOR in kinds else ()  # all that is no door is as open as an open one
        return {
            "image": (seen, colors, states),
            "direction": ((0, 1, 2, 3),),
            "carrying": (carried if len(carried) > 1 else (), colors),
            "mission": tuple(words if len(words) > 1 else () for words in self._words),
        }

    def progress(self, state: State) -> torch.Tensor:
        """Share of the shortest plan (see `cairngym.envs.minigrid.plan`) that lies behind the agent, float32 `(B,)`."""
        planned = state["planned"].clamp(min=1).to(torch.float32)
        return torch.where(state["planned"] > 0, 1.0 - state["remaining"] / planned, 0.0)


def state_spec(width: int, height: int) -> dict[str, StateField]:
    """What every MiniGrid world measures."""

    def field(shape: tuple[int, ...], unit: str, description: str, dtype: torch.dtype = torch.int64) -> StateField:
        return StateField(shape=shape, unit=unit, description=description, dtype=dtype)

    def plan(unit: str, description: str) -> StateField:
        return StateField(shape=(), unit=unit, description=description, dtype=torch.int64, privileged=True)

    return {
        "agent_pos": field((2,), "cell", "Column x and row y of the agent."),
        "agent_dir": field((), "quarter turn", "Where the agent looks: 0 right, 1 down, 2 left, 3 up."),
        "carrying": field(
            (2,), "object type, colour", "What the agent carries, coded as in grid; type 1 when nothing."
        ),
        "grid": field((width, height, 3), "type, colour, state", GRID, torch.uint8),
        "step_count": field((), "step", "Steps taken in this episode."),
        "stage": plan("subgoal", "Subgoals of the shortest plan that are done: keys, doors, objects, places."),
        "distance": plan("step", "Steps to the next subgoal of the shortest plan."),
        "remaining": plan("step", "Steps left of the shortest plan in all."),
        "planned": plan("step", "Steps of the whole shortest plan from the start of the episode."),
    }
