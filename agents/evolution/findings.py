"""What a search has found: the best genome of every cell, and what is reported of it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from cairngym.agents.core import Metrics
from cairngym.agents.evolution.individuals import Individuals, best_first
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.fused import Played
from cairngym.envs.world import TaskSpec
from cairngym.reward_shaping.quality_diversity.grid import GridRecord, RewardArea

if TYPE_CHECKING:
    from cairngym.agents.evolution.evolution import Evolution


def reward_areas(task: TaskSpec) -> tuple[RewardArea, ...]:
    """Where the task pays in its behavior space."""
    return tuple(RewardArea(center=tuple(center), radius=radius) for *center, radius in task.reward_areas)


class Findings:
    """The grid of a task's descriptor with everything a search ever played, whatever the search itself keeps.

    Args:
        task: gives the reward areas and the least fitness.
        descriptor: gives the grid.
        size: numbers of a genome.
    """

    def __init__(self, task: TaskSpec, descriptor: BehaviorDescriptor, size: int) -> None:
        self.record = GridRecord(
            descriptor, areas=reward_areas(task), offset=min(0.0, task.reward_range[0] * task.horizon)
        )
        self.genome = torch.zeros(len(self.record.visits), size)

    def add(self, played: Individuals) -> None:
        """Take in a generation."""
        before = self.record.evaluations
        self.record.add(played.descriptor, played.fitness)
        cells = (self.record.who >= before).nonzero().squeeze(1)
        self.genome[cells] = played.genome[self.record.who[cells] - before]

    @property
    def elites(self) -> Individuals:
        """The best of every cell reached, in the order of the cells; descriptors clipped into the bounds."""
        cells = self.record.reached
        return Individuals(self.genome[cells], self.record.fitness[cells], self.record.behavior[cells])

    def examples(self, count: int = 12) -> Individuals:
        """Up to `count` elites for pictures: the better half of them the fittest, the others from all over the grid."""
        elites = self.elites
        best = best_first(elites.fitness)
        spread = best[count // 2 :]
        spread = spread[:: max(1, math.ceil(len(spread) / max(1, count - count // 2)))]
        return elites.rows(torch.cat((best[: count // 2], spread)))

    def get_state(self) -> dict[str, Any]:
        """Copy everything."""
        return {"record": self.record.get_state(), "genome": self.genome[self.record.reached]}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.record.set_state(snapshot["record"])
        self.genome.zero_()
        self.genome[self.record.reached] = snapshot["genome"].cpu()


class Report:
    """Gathers what callbacks hear of.

    Args:
        agent: whose search it is.
    """

    def __init__(self, agent: Evolution) -> None:
        self.agent = agent
        self._begin()

    def _begin(self) -> None:
        self.sums, self.episodes = torch.zeros(3, dtype=torch.float64), 0
        self.evaluations, self.steps = self.agent.evaluations, self.agent.steps_done
        self.clock = time.perf_counter()

    @property
    def due(self) -> bool:
        """Whether enough was evaluated since the last report."""
        return self.agent.evaluations - self.evaluations >= self.agent.config.report_every

    def add(self, played: Played) -> None:
        """Take in a generation."""
        columns = torch.stack([played.success, played.returns, played.length]).to(torch.float64)
        self.sums += columns.sum(1).cpu()
        self.episodes += len(played.returns)

    def take(self) -> Metrics:
        """The metrics since the last report, which begins the next one."""
        agent, episodes = self.agent, max(1, self.episodes)
        elapsed = time.perf_counter() - self.clock
        names = ("success_rate", "episode_return", "episode_length")
        metrics: Metrics = {
            "step": agent.steps_done, **dict(zip(names, (self.sums / episodes).tolist(), strict=True)),
            "episodes": self.episodes, "generation": agent.generations_done,
            "elite_fitness": float(agent.elite.fitness), "best_fitness": float(agent.elite.fitness),
            **({} if agent.findings is None else agent.findings.record.metrics()),
            **agent.progress(),
            "evaluations": agent.evaluations, "reevaluations": agent.reevaluations,
            "evaluations_per_s": (agent.evaluations - self.evaluations) / elapsed,
            "steps_per_s": (agent.steps_done - self.steps) / elapsed,
        }  # fmt: skip
        self._begin()
        return metrics
