"""What a search for a reward program is made of, read strictly from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cairngym.envs.checks import check_seed
from cairngym.envs.strict_yaml import ConfigError, build, load_yaml
from cairngym.experiments.config import (
    AgentConfig,
    CheckpointConfig,
    Comparison,
    EvaluationConfig,
    Options,
    ShaperConfig,
    TaskConfig,
    VariantConfig,
    check_unique,
)
from cairngym.experiments.extensions import import_modules
from cairngym.experiments.overlay import merge, plain
from cairngym.experiments.threshold import Threshold

EVOLVED = "evolved"
"""The variant of the final comparison that learns with the best program."""
TERM = "program"
"""The shaper that runs a program, and its term's name in the records."""
_NAME = re.compile(r"^[\w][\w.+-]*$")


@dataclass(frozen=True, kw_only=True)
class RungConfig:
    """One rung of successive halving: how thoroughly its candidates are tried, and how many of them go on."""

    share: float
    """Of the search's steps, in (0, 1]."""
    seeds: int = 1
    """Runs of every candidate."""
    keep: float = 0.5
    """Share of the candidates that go on to the next rung, at least one; the last rung's is not used."""

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and 0 < self.keep <= 1 and self.seeds >= 1):
            raise ConfigError(
                f"expected share and keep in (0, 1] and seeds >= 1, got {self.share}, {self.keep} and {self.seeds}"
            )


@dataclass(frozen=True, kw_only=True)
class FinalConfig:
    """The comparison that the best program is judged by, on seeds that the search has not seen."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int | None = None
    """Env steps of every run; default is the search's."""
    variants: Mapping[str, VariantConfig] = field(default_factory=lambda: {"sparse": VariantConfig()})
    """What stands beside the variant "evolved"."""
    baseline: str = "sparse"
    """The variant that others are held against."""
    evaluation: Options = field(default_factory=dict)
    """Laid over the search's; its seed is another one than the search's unless given here."""
    illustrative: bool = False
    """True where seeds or budgets are too few to conclude from; the report says so."""
    thresholds: tuple[Threshold, ...] = ()
    """What `cairn check` holds the results against."""


def _default_rungs() -> tuple[RungConfig, ...]:
    return RungConfig(share=0.3, seeds=1), RungConfig(share=1.0, seeds=3)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """A search: who writes programs for which task, and how they are tried."""

    name: str
    """The search's folder."""
    title: str = ""
    description: str = ""
    task: str
    """The id of the task."""
    env: Options = field(default_factory=dict)
    """Options of the env."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    provider: str = "recorded:"
    """Who writes: "recorded:", "recorded:PATH", "openai:MODEL" or "endpoint:URL#MODEL"."""
    provider_options: Options = field(default_factory=dict)
    """Options of the provider, such as `token_budget` and `api_key_env`."""
    candidates: int = 4
    """Programs that are asked for in a round."""
    rounds: int = 3
    temperature: float | None = 1.0
    """Of sampling; null leaves it to the model."""
    max_tokens: int = 4096
    """Of one answer."""
    repair: Literal["all_failed", "each"] = "all_failed"
    """Whether refused programs are repaired only where no candidate of a round is accepted, or always."""
    repairs: int = 1
    """Rounds of repair of one candidate."""
    retries: int = 1
    """How often a round of which nothing could be trained is asked again."""
    verify: bool = True
    """Whether programs are tried in a sandbox on recorded transitions before they are trained with."""
    weight: float = 1.0
    """What the program's value is multiplied by in the reward."""
    keep_task: bool = True
    """Whether the sparse reward stays beside the program's."""
    program: Options = field(default_factory=dict)
    """Options of the shaper "program", such as `clip` or `invariant`."""
    rungs: tuple[RungConfig, ...] = field(default_factory=_default_rungs)
    """Of successive halving, the shortest first; the last one's fitness decides."""
    steps: int = 2_000_000
    """Env steps of a run that has a share of one."""
    seed: int = 1000
    """The first seed of the search's runs; further ones follow it."""
    device: str = "cpu"
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Of the search's runs, whose last tenth is the fitness."""
    final: FinalConfig = FinalConfig()
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    imports: tuple[str, ...] = ()
    """Modules that register envs, shapers or agents of your own; the working folder is searched too."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ConfigError(f"name: expected letters, digits and _ . + - (it names a folder), got {self.name!r}")
        for key, least in (("candidates", 1), ("rounds", 1), ("repairs", 0), ("retries", 0), ("steps", 1)):
            if getattr(self, key) < least:
                raise ConfigError(f"{key}: expected at least {least}, got {getattr(self, key)}")
        self._check_rungs()
        self._check_final()

    def _check_rungs(self) -> None:
        if not self.rungs:
            raise ConfigError("rungs: expected at least one")
        shares = [rung.share for rung in self.rungs]
        if shares != sorted(shares):
            raise ConfigError(f"rungs: expected shares that do not fall from rung to rung, got {shares}")

    def _check_final(self) -> None:
        final = self.final
        if not final.seeds:
            raise ConfigError("final.seeds: expected at least one")
        check_unique("final.seeds", list(final.seeds))
        seen = sorted(set(self.seeds(len(self.rungs) - 1)) & set(final.seeds))
        if seen:
            raise ConfigError(
                f"final.seeds: {seen} are seeds of the search too (it begins at seed: {self.seed}); the result must "
                "rest on others"
            )
        if EVOLVED in final.variants:
            raise ConfigError(f"final.variants: the name {EVOLVED!r} belongs to the best program; choose another")
        own = sorted(set(self.program) & {"source", "path"})
        if own:
            raise ConfigError(f"program.{own[0]}: the search gives it; leave it out")
        self.final_comparison(Path("program.py"))

    def seeds(self, rung: int) -> tuple[int, ...]:
        """The seeds of a rung and of all before it; every candidate meets the same ones."""
        most = max(rung.seeds for rung in self.rungs[: rung + 1])
        check_seed(self.seed + most - 1)
        return tuple(range(self.seed, self.seed + most))

    def final_evaluation(self) -> EvaluationConfig:
        """How success is measured in the final comparison.

        Raises:
            ConfigError: a key that there is not.
        """
        base = plain(replace(self.evaluation, seed=self.evaluation.seed + 1))
        return build(EvaluationConfig, merge(base, self.final.evaluation), source=self.name, path="final.evaluation")

    def shapers(self, path: Path) -> tuple[ShaperConfig, ...]:
        """The terms of an agent that learns with the program in a file."""
        term = ShaperConfig(name=TERM, weight=self.weight, options={"path": path.as_posix(), **self.program})
        return (term,) if self.keep_task else (term, ShaperConfig(name="task_reward", weight=-1.0))

    def rung_comparison(self, rung: int, programs: Mapping[str, Path]) -> Comparison:
        """The runs of one rung: candidates by name are variants, the first is nominally the baseline."""
        at = self.rungs[rung]
        return Comparison(
            name=f"rung_{rung}", title=f"{self.name}: candidates", baseline=next(iter(programs)), illustrative=True,
            tasks=(TaskConfig(id=self.task),), steps=max(1, round(at.share * self.steps)),
            variants={name: VariantConfig(shapers=self.shapers(path)) for name, path in programs.items()},
            seeds=self.seeds(rung)[: at.seeds], device=self.device, agent=self.agent, env=self.env,
            evaluation=self.evaluation, checkpoint=self.checkpoint, imports=self.imports,
        )  # fmt: skip

    def final_comparison(self, best: Path) -> Comparison:
        """The comparison that judges the best program."""
        final = self.final
        variants = {**final.variants, EVOLVED: VariantConfig(shapers=self.shapers(best))}
        return Comparison(
            name="final", title=self.title or self.name, description=self.description, baseline=final.baseline,
            illustrative=final.illustrative, tasks=(TaskConfig(id=self.task),), variants=variants, seeds=final.seeds,
            steps=final.steps or self.steps, device=self.device, agent=self.agent, env=self.env,
            evaluation=self.final_evaluation(), checkpoint=self.checkpoint, imports=self.imports,
            thresholds=final.thresholds,
        )  # fmt: skip


def is_search(path: Path) -> bool:
    """Whether a YAML file is a search's, which has one task, rather than a comparison's, which lists several.

    Raises:
        ConfigError: it can't be read.
    """
    return "task" in load_yaml(path)


def load_search(path: Path, overrides: Options | None = None) -> SearchConfig:
    """Read a search's YAML, with overrides laid on top.

    Raises:
        ConfigError: naming the file, the key path and the nearest valid key.
    """
    config = build(SearchConfig, merge(load_yaml(path), overrides or {}), source=str(path))
    import_modules(config.imports)
    return config
