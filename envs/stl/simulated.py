"""A world of regions and obstacles in an arena around a robot that MuJoCo moves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import mujoco
import torch

from cairngym.envs.data import State, StateField
from cairngym.envs.episodes import Episodes
from cairngym.envs.physics.camera import Marker
from cairngym.envs.physics.world import PhysicsWorld
from cairngym.envs.random import Stream, uniform
from cairngym.envs.stl.layouts import Arena, Layouts
from cairngym.envs.stl.regions import Coordinates, region_fields, region_measures
from cairngym.envs.stl.templates import Template

REGION_COLORS = ((0.84, 0.38, 0.30), (0.26, 0.58, 0.76), (0.35, 0.68, 0.38), (0.95, 0.64, 0.25), (0.60, 0.44, 0.67))
OBSTACLE_COLOR = (0.35, 0.35, 0.38)
REGION_OPACITY, OBSTACLE_OPACITY = 0.4, 0.7


class SimulatedWorld(PhysicsWorld):
    """N robots, each among regions and obstacles that only predicates know of: the robot passes through both.

    Args:
        model: compiled model.
        template: which regions and obstacles there are.
        horizon: steps within which the template's task can be done.
        num_envs: N.
        device: "cpu" or "cuda".
        layout: the number of the layout of every env and episode; None draws one per episode.
        driver: options of `make_driver`.

    Attributes:
        predicates: `in_<region>` for every region, and `in_obstacle`.
        layouts: where everything lies, and which plan is known to succeed.
    """

    arena: ClassVar[Arena]
    """Where the robot, regions and obstacles are; circles have one radius, so that markers can show them."""
    action_size: ClassVar[int]
    frame_skip: ClassVar[int]
    """Physics steps per step."""
    moving: ClassVar[Mapping[str, StateField]]
    """The fields that the physics changes; `position` is one of them."""

    def __init__(
        self,
        model: mujoco.MjModel,
        template: Template,
        horizon: int,
        num_envs: int,
        device: str | torch.device,
        *,
        layout: int | None = 0,
        driver: Mapping[str, Any] | None = None,
    ) -> None:
        names, obstacles, dims = template.names, template.obstacles, self.arena.dims
        super().__init__(
            model, num_envs, device, substeps=self.frame_skip, action_size=self.action_size, driver=driver,
            state_spec={**self.moving, **region_fields(names, obstacles, dims)},
        )  # fmt: skip
        self.template, self.time_step = template, self.frame_skip * float(model.opt.timestep)
        self.layouts = Layouts(template, self.arena, horizon, num_envs, self.device, layout=layout)
        self.predicates = region_measures(names, obstacles, dims, self.arena.scale)

    # What a subclass says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def ego(self, state: State) -> list[torch.Tensor]:
        """What the agent observes of itself: tensors `(B,)`."""

    @abstractmethod
    def move(self) -> dict[str, torch.Tensor]:
        """The fields of `moving`, from the driver's views."""

    def in_frame(self, state: State, parts: Coordinates) -> Coordinates:
        """Displacements are along the world's axes."""
        del state
        return parts

    # The world --------------------------------------------------------------------------------------------------------

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Start new episodes in the masked worlds."""
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        self.layouts.begin(mask, episodes)
        super().begin(mask, episodes)

    def _draw(self, episodes: Episodes) -> torch.Tensor:
        # Layouts draw from Stream.LEVEL.
        return uniform(episodes.seed, episodes.env_id, episodes.number, Stream.DYNAMICS, self.num_draws)

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec`."""
        return {**self.move(), "regions": self.layouts.regions, "obstacles": self.layouts.obstacles}

    def markers(self) -> Sequence[Marker]:
        """Translucent balls: regions in colours of their own, obstacles grey."""
        radius, *_ = self.arena.region_radius
        balls = [
            self._ball(self.layouts.regions[:, i], radius * region.size, (*color, REGION_OPACITY))
            for i, (region, color) in enumerate(zip(self.template.regions, REGION_COLORS, strict=False))
        ]
        (grey, (radius, *_)) = ((*OBSTACLE_COLOR, OBSTACLE_OPACITY), self.arena.obstacle_radius)
        return [
            *balls,
            *(self._ball(self.layouts.obstacles[:, i], radius, grey) for i in range(self.template.obstacles)),
        ]

    @staticmethod
    def _ball(circle: torch.Tensor, radius: float, rgba: tuple[float, float, float, float]) -> Marker:
        """The marker of a circle `(N, D + 1)`; in the plane its centre lies on the floor."""
        center = torch.zeros(len(circle), 3, device=circle.device)
        center[:, : circle.shape[1] - 1] = circle[:, :-1]
        return Marker(position=center, radius=radius, rgba=rgba)

    def get_state(self) -> dict[str, Any]:
        """Copy the physics and the layouts."""
        return {**super().get_state(), "layouts": self.layouts.get_state()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: it is of another template, number of envs or fixed layout.
        """
        self.layouts.set_state(snapshot["layouts"])
        super().set_state(snapshot)

    def adopt(self, world: int, reference: Any) -> None:
        """A reference env has no regions; those of the world stay."""
        del world, reference


def numbers(field: torch.Tensor) -> list[torch.Tensor]:
    """The columns `(B,)` of a field `(B, F)`."""
    return list(field.unbind(-1))
