"""Going to the first region of a layout: what an agent of an arena sees of itself, regions and obstacles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import State, Task
from cairngym.envs.data import StateField
from cairngym.envs.stl.layouts import Arena
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.regions import Coordinates, circle_rows, columns
from cairngym.envs.stl.templates import Template


class Explorer(Protocol):
    """What the task reads of a world of regions: `ArenaWorld` is one."""

    state_spec: Mapping[str, StateField]
    template: Template

    @property
    def predicates(self) -> Mapping[str, Measure]:
        """Among them `in_<name>` of every region."""

    @property
    def arena(self) -> Arena:
        """Where everything lies."""

    def ego(self, state: State) -> list[torch.Tensor]:
        """What the agent knows of itself, tensors `(B,)`."""

    def in_frame(self, state: State, parts: Coordinates) -> Coordinates:
        """A displacement in the agent's frame."""


class NavigateTask(Task):
    """Be in the layout's first region; obstacles do not matter.

    The observation is a vector of float32, lengths in units of half the arena, in this order: what the agent knows of
    itself (`world.ego`), then for every region and every obstacle the displacement to its centre in the agent's frame
    and its radius.

    Args:
        world: the arena's.
        horizon: steps after which an episode is truncated.
    """

    instruction = "Be in the first region; obstacles do not matter."

    def __init__(self, world: Explorer, horizon: int) -> None:
        self.horizon, self._world = horizon, world
        first = world.template.names[0]
        self._goal = world.predicates[f"in_{first}"]
        self.progress_fields = ("position", "regions")
        self.count_fields = ("position",)
        blank = {name: torch.zeros(1, *field.shape) for name, field in world.state_spec.items()}
        size = len(self._rows(blank))
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._seen: tuple[torch.Tensor, ...] = ()
        self._shown = torch.zeros(0)

    def observe(self, state: State) -> torch.Tensor:
        """The vector, `(B, F)`; a state observed a moment ago is not observed anew."""
        fields = tuple(state[name] for name in self._world.state_spec)
        if len(fields) != len(self._seen) or any(a is not b for a, b in zip(fields, self._seen, strict=True)):
            self._seen, self._shown = fields, columns(self._rows(state))
        return self._shown

    def _rows(self, state: State) -> list[torch.Tensor]:
        world = self._world
        return [*world.ego(state), *circle_rows(state, world.arena.scale, world.in_frame)]

    def success(self, state: State) -> torch.Tensor:
        """Whether the agent is in the region, bool `(B,)`."""
        return self._goal.margin(state) >= 0.0

    def progress(self, state: State) -> torch.Tensor:
        """One minus the way left to the region in units of half the arena, `(B,)` in [0, 1]; one inside."""
        return (1.0 + self._goal.margin(state) / self._goal.scale).clamp(0.0, 1.0)
