"""Levels and their plans on the device: the bank's, injected ones, and room for those a generator makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import warp as wp

from cairngym.envs.minigrid import missions
from cairngym.envs.minigrid.family import Generator
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.envs.minigrid.plan import MAX_SUBGOALS, Plans, plan_levels
from cairngym.envs.minigrid.step_kernels import Levels


def array(tensor: torch.Tensor, dtype: Any = None) -> wp.array:
    """View a torch tensor as a Warp array."""
    tensor = tensor.view(torch.uint8) if tensor.dtype is torch.bool else tensor
    return cast(wp.array, wp.from_torch(tensor, dtype=dtype))


class LevelStore:
    """What episodes begin from.

    Rows of the plans: two a world for generated levels (this episode's and the last one's), or the bank's levels; then
    one for every injected world.

    Args:
        bank: the levels drawn from, or those whose missions a generator uses.
        generator: makes the levels in the kernel instead.
        num_envs: N.
        size: cells of a level.
        words: T, words of a mission.
        constant: whether every level has the same mission.
        device: where.
    """

    def __init__(
        self,
        bank: LevelBank,
        generator: Generator | None,
        *,
        num_envs: int,
        width: int,
        height: int,
        words: int,
        constant: bool,
        device: torch.device,
    ) -> None:
        self.generator, self.device = generator, device
        self.num_envs, self.width, self.height = num_envs, width, height
        self.words, self.constant = words, constant
        self.drawn = dataclasses.replace(bank.take(0), missions=generator.missions) if generator else bank
        self.current = torch.zeros(num_envs, dtype=torch.int32, device=device)
        self.current_mission = torch.zeros_like(self.current)
        self._injected: list[LevelBank] = []
        self._upload()

    @property
    def output_words(self) -> int:
        """Words of a mission that the kernel writes: none where all missions are one."""
        return 0 if self.constant else self.words

    def inject(self, levels: Sequence[LevelBank]) -> list[int]:
        """Give the first worlds levels of their own; returns their rows in `bank`. Other worlds keep theirs."""
        self._injected[: len(levels)] = levels
        self._upload()
        return [len(self.drawn) + i for i in range(len(levels))]

    def plan_row(self, row: int) -> int:
        """Row of the plans that belongs to a row of `bank`."""
        return row + (2 * self.num_envs if self.generator else 0)

    def _upload(self) -> None:
        self.bank = bank = LevelBank.join([self.drawn, *self._injected])
        texts = np.stack([missions.encode(text, self.words) for text in bank.missions])
        tokens = torch.from_numpy(texts).to(self.device)
        self.mission = tokens[:1].expand(self.num_envs, -1) if self.constant else None
        levels = Levels()
        for name in ("cells", "agent", "variables", "mission"):
            setattr(levels, name, array(torch.from_numpy(getattr(bank, name)).to(self.device)))
        levels.tokens = array(tokens[:, :0].contiguous() if self.constant else tokens)
        levels.count = len(self.drawn)
        levels.current, levels.current_mission = array(self.current), array(self.current_mission)
        parameters = self.generator.parameters if self.generator else ()
        levels.parameters = array(torch.tensor(parameters, dtype=torch.int32, device=self.device))
        self.levels = levels
        self.plans = self._plan()

    def _plan(self) -> Plans:
        size, offset = self.width * self.height, self.plan_row(0)
        rows, subgoals = offset + len(self.bank), self.generator.subgoals if self.generator else MAX_SUBGOALS

        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> wp.array:
            return array(torch.zeros(shape, dtype=dtype, device=self.device))

        targets = torch.zeros((rows, *self.bank.targets.shape[1:]), dtype=torch.int32)
        targets[offset:] = torch.from_numpy(self.bank.targets)
        plans = Plans()
        plans.targets, plans.queue = array(targets.to(self.device)), zeros(rows, size)
        plans.subgoals, plans.steps = zeros(rows, subgoals, 3), zeros(rows, subgoals + 1)
        plans.distance = zeros(rows, subgoals, size, dtype=torch.int16)
        inputs = [self.levels.cells, self.levels.agent, self.width, self.height, plans, offset]
        wp.launch(plan_levels, dim=len(self.bank), inputs=inputs, device=str(self.device))
        return plans
