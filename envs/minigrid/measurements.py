"""The named measurements of MiniGrid worlds at one moment, each computed when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import warp as wp

from cairngym.envs.minigrid.outputs import Outputs
from cairngym.envs.minigrid.step_kernels import measure
from cairngym.envs.minigrid.store import array

if TYPE_CHECKING:
    from cairngym.envs.minigrid.world import MiniGridWorld

PLAN_FIELDS = ("stage", "distance", "remaining", "planned")


class Moment:
    """The worlds as they are now, or as they were at the end of a step before any of them was reset.

    Args:
        world: what is measured.
        ended: the outputs of that step; None for now.
        before: where `ended` is None, the moment before the resets of the last step, whose values still hold elsewhere.
    """

    def __init__(self, world: MiniGridWorld, ended: Outputs | None, before: Moment | None = None) -> None:
        self.world, self.ended, self._before = world, ended, before
        self._plan: torch.Tensor | None = None

    def __call__(self, name: str) -> torch.Tensor:
        """Measure one field, `(N, *shape)`."""
        if name in PLAN_FIELDS:
            if self._plan is None:
                self._plan = self._measure_plan()
            return self._plan[PLAN_FIELDS.index(name)]
        if name == "step_count":
            return (self.ended.length if self.ended else self.world.episodes.length).clone()
        if name == "grid":
            return self._grid()
        agent = self.world.agent if self.ended is None else self.world.ended_agent
        if name == "agent_pos":
            return agent[:, :2].long()
        if name == "agent_dir":
            return agent[:, 2].long()
        return agent.view(torch.uint8)[:, 12:14].long()  # of the object carried: type, colour

    def reset(self) -> torch.Tensor:
        """Worlds whose episode ended with the step and was followed by a reset, bool `(N,)`."""
        if self.ended is None:
            return self._nobody()
        return self.ended.done & (self.world.episodes.length == 0)

    def _nobody(self) -> torch.Tensor:
        return torch.zeros(self.world.num_envs, dtype=torch.bool, device=self.world.device)

    def _grid(self) -> torch.Tensor:
        world, cells = self.world, self.world.cells
        if self.ended is not None:
            cells = torch.where(self.reset().unsqueeze(1), world.ended_cells, cells)
        planes = cells.view(torch.uint8).view(world.num_envs, world.height, world.width, 4)  # type, colour, state first
        return planes[..., :3].transpose(1, 2).contiguous()

    def _measure_plan(self) -> torch.Tensor:
        world, over, skipped = self.world, self.reset(), self._nobody()
        if self._before is not None and self._before._plan is not None:
            values, skipped = self._before._plan.clone(), ~self._before.reset()
        else:
            values = torch.empty((len(PLAN_FIELDS), world.num_envs), dtype=torch.int64, device=world.device)
        inputs = [*world.measured(), array(over), array(skipped), array(values)]
        wp.launch(measure, dim=world.num_envs, inputs=inputs, device=str(world.device), **world.stream())
        return values
