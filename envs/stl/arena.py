"""A world of regions and obstacles in an arena, moved by differentiable dynamics in torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.data import State, StateField, refreshed
from cairngym.envs.episodes import Episodes
from cairngym.envs.random import Stream, uniform
from cairngym.envs.stl.layouts import Arena, Layouts
from cairngym.envs.stl.picture import Trail, draw
from cairngym.envs.stl.regions import Coordinates, region_fields, region_measures
from cairngym.envs.stl.templates import Template
from cairngym.envs.world import World


class ArenaWorld(World):
    """N agents, each among regions and obstacles.

    Obstacles and regions stop nobody: only predicates tell. A moving field is stored one coordinate after another, so
    that every computation runs element by element along the envs: fast, and the same for any N.

    Args:
        template: which regions and obstacles there are.
        horizon: steps within which the template's task can be done.
        num_envs: N.
        device: "cpu" or "cuda".
        layout: the number of the layout of every env and episode; None draws one per episode.

    Attributes:
        predicates: `in_<region>` for every region, and `in_obstacle`.
        layouts: where everything lies, and which plan is known to succeed.
    """

    arena: ClassVar[Arena]
    """Where agents, regions and obstacles are."""
    action_size: ClassVar[int]
    time_step: ClassVar[float]
    """Seconds a step takes."""
    moving: ClassVar[Mapping[str, StateField]]
    """The fields that `dynamics` changes; `position` is one of them."""
    num_draws: ClassVar[int] = 0
    """How many random numbers `place` wants."""

    def __init__(
        self, template: Template, horizon: int, num_envs: int, device: str | torch.device, *, layout: int | None = 0
    ) -> None:
        self.template, self.num_envs, self.device = template, num_envs, torch.device(device)
        self.layouts = Layouts(template, self.arena, horizon, num_envs, device, layout=layout)
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.action_size,), np.float32)
        names, dims = template.names, self.arena.dims
        self.state_spec = {**self.moving, **region_fields(names, template.obstacles, dims)}
        self.predicates = region_measures(names, template.obstacles, dims, self.arena.scale, self.in_frame)
        shapes = {name: (num_envs, *field.shape) for name, field in self.moving.items()}
        self._now: dict[str, torch.Tensor] = {n: torch.zeros(shape, device=self.device) for n, shape in shapes.items()}
        self._trail: Trail | None = None

    # What a subclass says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def dynamics(self, state: State, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """The moving fields one step later: a pure function, differentiable in the state and the action.

        Args:
            state: the moving fields, `(B, ...)`.
            action: `(B, action_size)`; what lies outside of [-1, 1] is clipped.
        """

    @abstractmethod
    def place(self, start: torch.Tensor, draw: torch.Tensor) -> dict[str, torch.Tensor]:
        """The moving fields of an episode's beginning.

        Args:
            start: `(N, D)`, where it begins, m.
            draw: `(N, num_draws)` uniform in [0, 1).
        """

    def in_frame(self, state: State, parts: Coordinates) -> Coordinates:
        """A displacement along the world's axes in the agent's frame; the same by default."""
        del state
        return parts

    @abstractmethod
    def ego(self, state: State) -> list[torch.Tensor]:
        """What the agent observes of itself: tensors `(B,)`, scaled to about one."""

    def heading(self, state: State) -> torch.Tensor | None:
        """Where the agent looks in the plane, `(B,)` rad; None by default."""
        del state
        return None

    # The world --------------------------------------------------------------------------------------------------------

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Start new episodes in the masked worlds."""
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        self.layouts.begin(mask, episodes)
        self._now = refreshed(mask, self._now, lambda rows: self._placed(rows, episodes))
        if self._trail is not None:
            self._trail.begin(mask, self._now["position"])

    def _placed(self, rows: torch.Tensor | None, episodes: Episodes) -> dict[str, torch.Tensor]:
        """The moving fields with which the episodes of some envs begin; of all for None."""
        given = (self.layouts.start, episodes.env_id, episodes.number)
        start, env_id, number = given if rows is None else (part[rows] for part in given)
        if not self.num_draws:
            return self.place(start, start.new_zeros(len(start), 0))
        return self.place(start, uniform(episodes.seed, env_id, number, Stream.DYNAMICS, self.num_draws))

    def advance(self, action: torch.Tensor) -> None:
        """Move every world one step; actions that are not numbers, which only a GPU lets through, count as zero."""
        sound = action if self.device.type == "cpu" else torch.nan_to_num(action, 0.0, 0.0, 0.0)
        with torch.no_grad():
            self._now = self.dynamics(self._now, sound)
        if self._trail is not None:
            self._trail.add(self._now["position"])

    @property
    def state(self) -> State:
        """The moving fields, `regions` and `obstacles`."""
        return {**self._now, "regions": self.layouts.regions, "obstacles": self.layouts.obstacles}

    def get_state(self) -> dict[str, Any]:
        """Copy the moving fields and the layouts."""
        return {"now": {name: value.clone() for name, value in self._now.items()}, "layouts": self.layouts.get_state()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: it is of another template, number of envs or fixed layout.
        """
        self.layouts.set_state(snapshot["layouts"])
        self._now = {name: snapshot["now"][name].clone() for name in self._now}
        self._trail = None

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Pictures from above; an agent's path is drawn from the first call on."""
        if self._trail is None:
            self._trail = Trail(self._now["position"], self.layouts.horizon)
        return tuple(draw(self, self._trail, env_id) for env_id in env_ids)


def stacked(*rows: torch.Tensor) -> torch.Tensor:
    """Coordinates `(B,)` as one field `(B, D)`, stored one coordinate after another."""
    return torch.stack(rows).T


def split(field: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The coordinates `(B,)` of a field `(B, D)`, each contiguous.

    Sines and cosines are then taken by the same vector code wherever a row stands.
    """
    return tuple(part.contiguous() for part in field.unbind(-1))
