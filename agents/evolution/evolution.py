"""The common loop of evolving agents: ask for genomes, let them play, tell what came of it, and keep the books."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from cairngym.agents.core import (
    Actor,
    Agent,
    Callback,
    Metrics,
    check_autoreset,
    check_discounts,
    update_shapers,
)
from cairngym.agents.evolution.controller import Controller
from cairngym.agents.evolution.evolution_config import EvolutionConfig
from cairngym.agents.evolution.findings import Findings, Report
from cairngym.agents.evolution.individuals import Individuals, restored
from cairngym.agents.evolution.judging import fused, judge
from cairngym.agents.evolution.population import PolicyActor
from cairngym.envs.core import Observation, TensorEnv
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.fused import Played
from cairngym.reward_shaping.quality_diversity.saved import FILE, save_record, write_archive


class Evolution(Agent):
    """A search over the genomes of small policies; the fittest one found is the policy that acts.

    A subclass says which genomes to play next (`ask`) and what it makes of them (`tell`). All of its books are kept on
    the CPU; only the playing happens on the env's device.

    Args:
        env: gives the spaces, the device and the task's behavior descriptor.
        config: settings.

    Attributes:
        evaluations: policies played so far, re-evaluations counted.
        generations_done: how often policies were asked for.
        elite: the policy that acts, one row, its fitness the mean of all episodes that confirmed it.
        findings: best genome of every cell of the descriptor's grid; None where the task has no descriptor.

    Raises:
        ValueError: the method lives by descriptors and the task has none.
    """

    stochastic: ClassVar[bool] = False
    needs_descriptor: ClassVar[bool] = True
    config: EvolutionConfig

    def __init__(self, env: TensorEnv, config: EvolutionConfig) -> None:
        self.env, self.config, self.device = env, config, env.device
        check_autoreset(env)
        task = env.unwrapped.task
        self.descriptor = task.descriptor
        self.descriptor_size = self.behavior_space.size if self.needs_descriptor or self.descriptor else 0
        self.controller = Controller(env, tuple(config.hidden), config.bias)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.steps_done = self.evaluations = self.reevaluations = self.generations_done = 0
        self.findings = None if self.descriptor is None else Findings(task, self.descriptor, self.controller.size)
        nothing = torch.zeros(1, self.controller.size)
        self.elite = Individuals(nothing, torch.full((1,), -math.inf), torch.zeros(1, self.descriptor_size))

    @property
    def behavior_space(self) -> BehaviorDescriptor:
        """The task's descriptor.

        Raises:
            ValueError: the task has none.
        """
        if self.descriptor is None:
            raise ValueError(
                f"Expected a task that says which numbers describe a behavior for {self.name!r}, got "
                f"{type(self.env.unwrapped.task).__name__} without `descriptor`. Declare one, or take deep_ga or cem."
            )
        return self.descriptor

    # What a method says -----------------------------------------------------------------------------------------------

    @abstractmethod
    def ask(self) -> torch.Tensor:
        """The genomes to play next, float32 `(P, size)`; every call is followed by one of `tell`."""

    @abstractmethod
    def tell(self, played: Individuals) -> None:
        """Take in what came of the genomes last asked for."""

    @abstractmethod
    def search_state(self) -> dict[str, Any]:
        """Copy what the method keeps between two generations."""

    @abstractmethod
    def set_search_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""

    def progress(self) -> Metrics:
        """What the method reports of itself."""
        return {}

    def contenders(self, played: Individuals) -> Individuals:
        """Those of a generation that may take the elite's place; the fittest where it is fitter by default."""
        best = int(played.fitness.argmax())
        return played.rows(slice(best, best + 1) if played.fitness[best] > self.elite.fitness else slice(0, 0))

    def crown(self, confirmed: Individuals) -> None:
        """Take in the contenders with the mean of all their episodes; a fitter one takes the elite's place."""
        best = int(confirmed.fitness.argmax())
        if confirmed.fitness[best] > self.elite.fitness:
            self.elite = confirmed.rows(slice(best, best + 1)).copy()

    # Genomes ----------------------------------------------------------------------------------------------------------

    def first_genomes(self, count: int) -> torch.Tensor:
        """Genomes to begin with, `(count, size)`."""
        noise = torch.randn(count, self.controller.size, generator=self.generator)
        return self.boxed(self.config.first_std * noise)

    def mutate(self, genomes: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        """Add normal noise of standard deviation `sigma` (one for all, or `(P, 1)`), within the box."""
        return self.boxed(genomes + sigma * torch.randn(genomes.shape, generator=self.generator))

    def boxed(self, genomes: torch.Tensor) -> torch.Tensor:
        """Bring genomes into the box."""
        return genomes.clamp(-self.config.bound, self.config.bound)

    # The loop ---------------------------------------------------------------------------------------------------------

    @property
    def budget_left(self) -> float:
        """Evaluations that the config still allows."""
        return math.inf if self.config.evaluations is None else self.config.evaluations - self.evaluations

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Search for at least `steps` more env steps, or until the config's evaluations are used, in whole generations.

        Args:
            env: has the spaces the agent was made for.
            steps: env steps, every one of the envs counted.
            callbacks: called with the metrics about every `report_every` evaluations, until one returns False.

        Raises:
            ValueError: a shaper is built for another discount than 1, a return or descriptor is not finite, or the env
                does not reset within the step.
        """
        check_discounts(env, 1.0)
        check_autoreset(env)
        self.env, callbacks = env, tuple(callbacks)
        report, target, going = Report(self), self.steps_done + steps, self.budget_left > 0 and steps > 0
        while going:
            genomes = self.ask()
            self.receive(genomes, *judge(env, self.controller, genomes, self.seeds(len(genomes))), report)
            going = self.goes_on(target, report, callbacks)

    def goes_on(self, target: int, report: Report, callbacks: tuple[Callback, ...]) -> bool:
        """Report where it is time to, and say whether to go on to `target` steps."""
        over = self.steps_done >= target or self.budget_left <= 0
        if over or report.due:
            metrics = report.take() | update_shapers(self.env)
            # Every callback hears of it, even where an earlier one asks to stop.
            over |= False in [callback(metrics) for callback in callbacks]
        return not over

    def seeds(self, count: int) -> torch.Tensor:
        """The lives that the next `count` evaluations play, int64 `(count,)`; no two of a run are the same."""
        return (self.config.seed % 2**30 + 1 << 32) + self.evaluations + torch.arange(count)

    def receive(self, genomes: torch.Tensor, played: Played, steps: int, report: Report) -> None:
        """Count a generation, let the method learn from it, and see whether there is a better elite."""
        found = Individuals(genomes, played.returns.cpu(), played.descriptor.cpu())
        self._count(len(genomes), steps)
        self.generations_done += 1
        if self.findings is not None:
            self.findings.add(found)
        report.add(played)
        self.tell(found)
        contenders = self.contenders(found)
        if contenders.size:
            self.crown(self._confirmed(contenders))

    def _confirmed(self, contenders: Individuals) -> Individuals:
        """The contenders with the mean of the return that made them so and of `elite_episodes` more."""
        again = self.config.elite_episodes
        if not again:
            return contenders
        genomes = contenders.genome.repeat_interleave(again, 0)
        played, steps = judge(self.env, self.controller, genomes, self.seeds(len(genomes)))
        self._count(len(genomes), steps)
        self.reevaluations += len(genomes)
        sums = contenders.fitness + played.returns.cpu().view(-1, again).sum(1)
        return contenders.with_fitness(sums / (1 + again))

    def _count(self, evaluations: int, steps: int) -> None:
        self.evaluations += evaluations
        self.steps_done += steps

    # Playing and saving -----------------------------------------------------------------------------------------------

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The elite; it follows the agent's later learning, keeps no memory and draws nothing."""
        del num_envs, deterministic, seed

        def policy(obs: Observation) -> torch.Tensor:
            return self.controller.act(self.elite.genome.to(self.device), obs)

        return PolicyActor(policy)

    def write_findings(self, folder: Path) -> None:
        """Write `archive.npz`, the grid of what was found and the ways of some elites; nothing without a descriptor."""
        if self.findings is None:
            return
        record, shown, ways = self.findings.record, self.findings.examples(), None
        if fused(self.env) is not None and shown.size:
            lives = torch.zeros(shown.size, dtype=torch.int64)
            ways = judge(self.env, self.controller, shown.genome, lives, record=True)[0].trajectory
        saved = save_record(
            record, genomes=self.findings.elites.genome, walls=np.array(record.descriptor.walls),
            paths=ways, path_fitness=None if ways is None else shown.fitness,
        )  # fmt: skip
        write_archive(folder / FILE, saved)

    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env."""
        return {
            "search": self.search_state(), "elite": tuple(self.elite.copy()), "generator": self.generator.get_state(),
            "findings": None if self.findings is None else self.findings.get_state(),
            "steps_done": self.steps_done, "evaluations": self.evaluations, "reevaluations": self.reevaluations,
            "generations_done": self.generations_done,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: it is of other policies or of another descriptor.
        """
        elite = restored(snapshot["elite"])
        expected, got = (1, self.controller.size), tuple(elite.genome.shape)
        if expected != got or elite.descriptor.shape[1] != self.descriptor_size:
            raise ValueError(
                f"Expected an elite with a genome of shape {expected} and {self.descriptor_size} descriptor numbers, "
                f"got {got} and {elite.descriptor.shape[1]}. Make the agent with the settings it was saved with."
            )
        if self.findings is not None:
            self.findings.set_state(snapshot["findings"])
        self.set_search_state(snapshot["search"])
        self.elite = elite
        self.generator.set_state(snapshot["generator"].cpu())
        for name in ("steps_done", "evaluations", "reevaluations", "generations_done"):
            setattr(self, name, snapshot[name])

    def forget_env(self) -> None:
        """Nothing to forget: every generation begins new episodes."""
