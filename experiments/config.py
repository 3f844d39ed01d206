"""What a run and a comparison are made of, as frozen dataclasses read strictly from YAML.

A value comes from the dataclass's default, then the YAML file, then the command line; the later wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cairngym.envs.checks import check_seed, unknown_name
from cairngym.envs.strict_yaml import REST, ConfigError, build, load_yaml
from cairngym.experiments.extensions import import_modules
from cairngym.experiments.overlay import merge
from cairngym.experiments.threshold import Threshold

Options = Mapping[str, Any]
_NAME = re.compile(r"^[\w][\w.+-]*$")


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Which agent learns, and its own options."""

    name: str = "ppo"
    """One of `cairn list agents`."""
    options: Options = field(default_factory=dict, metadata=REST)


@dataclass(frozen=True, kw_only=True)
class ShaperConfig:
    """One term of the shaped reward."""

    name: str
    """One of `cairn list shapers`."""
    weight: float = 1.0
    """What the term is multiplied by in the reward."""
    term: str | None = None
    """The term's name in the records; default is the shaper's."""
    options: Options = field(default_factory=dict, metadata=REST)


@dataclass(frozen=True, kw_only=True)
class WrapperConfig:
    """One wrapper around the env, which training and evaluation both meet."""

    name: str
    """One of `cairn list wrappers`."""
    options: Options = field(default_factory=dict, metadata=REST)

    @property
    def text(self) -> str:
        """The name, with the options in brackets."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How success is measured while training: unshaped, on seeds of its own."""

    every: int = 200_000
    """Env steps between evaluations; one more closes the run."""
    episodes: int = 256
    """Episodes per evaluation and policy (sampled and greedy)."""
    success: Literal["once", "at_end"] = "once"
    """Whether an episode counts where the task was done at any of its steps, or only at its last."""
    seed: int = 1_000_003
    """Seed of the evaluation envs; every run of a comparison meets the same episodes."""
    env: Options = field(default_factory=dict)
    """Env options laid over the training ones, e.g. `split: test`."""
    wrappers: tuple[WrapperConfig, ...] | None = None
    """Wrappers around the evaluation env in place of the run's own, e.g. other robots; None: the same ones."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.episodes < 1:
            raise ConfigError(f"expected every >= 1 and episodes >= 1, got {self.every} and {self.episodes}")
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often a run saves what it needs to go on after a crash."""

    every_s: float = 30.0
    """Seconds between checkpoints."""
    every_steps: int | None = None
    """Env steps between checkpoints; whichever comes first."""


@dataclass(frozen=True, kw_only=True)
class SinkConfig:
    """Where metrics go beside metrics.jsonl, which is always written."""

    wandb: Literal["off", "offline", "online"] = "off"
    """Weights & Biases: off, offline (files only, `wandb sync` uploads them later) or online."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder."""
    project: str = "cairngym"
    """The W&B project."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: a task, an agent with its wrappers and shapers, and a seed."""

    experiment: str = "adhoc"
    task: str
    variant: str = "sparse"
    seed: int = 0
    steps: int = 2_000_000
    """Env steps to train for, all copies of the env counted, and those of a run that this one starts from."""
    start_from: str | None = None
    """Folder of a finished run whose agent this run goes on training, without its replay; as seen from this run's."""
    device: str = "cpu"
    agent: AgentConfig = AgentConfig()
    wrappers: tuple[WrapperConfig, ...] = ()
    """Around the env, the innermost first."""
    shapers: tuple[ShaperConfig, ...] = ()
    """Around the wrappers."""
    env: Options = field(default_factory=dict)
    """Options of the env."""
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sinks: SinkConfig = SinkConfig()
    imports: tuple[str, ...] = ()
    """Modules that register envs, wrappers, shapers or agents of your own; the working folder is searched too."""
    command: str = ""
    """What was typed; for the record only."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"expected steps >= 1, got {self.steps}")
        check_seed(self.seed)
        _check_names(experiment=self.experiment, variant=self.variant)

    @property
    def num_envs(self) -> int:
        """Copies of the task that step together: the agent's option, once the config is resolved."""
        return self.agent.options.get("num_envs", 1)

    @property
    def folder(self) -> Path:
        """Where the run lies under the folder of all runs."""
        return Path(self.experiment, self.task.replace("/", "__"), self.variant, f"seed_{self.seed}")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A task of a comparison."""

    id: str
    steps: int | None = None
    """Env steps for this task; default is the comparison's."""
    env: Options = field(default_factory=dict)
    """Env options for this task."""
    agent: Options = field(default_factory=dict)
    """Agent options for this task, laid over the comparison's; agents of another name do without them."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What `{word}` stands for in the options of wrappers on this task; `{task}` is always its id."""


@dataclass(frozen=True, kw_only=True)
class VariantConfig:
    """One way to learn: wrappers, shapers, and what differs from the comparison's agent and env options.

    An agent of another name takes none of the comparison's agent options.
    """

    wrappers: tuple[WrapperConfig, ...] = ()
    """Around the env in training and evaluation, the innermost first."""
    shapers: tuple[ShaperConfig, ...] = ()
    agent: Options = field(default_factory=dict)
    env: Options = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    """Env steps by task id, where they are not the task's: to compare at equal wall time, say."""
    start_from: str | None = None
    """The variant whose agent, trained on the same task with the same seed, goes on learning here; steps count on."""

    def on(self, tasks: tuple[str, ...]) -> VariantConfig:
        """The variant in a comparison of these tasks only."""
        return replace(self, steps={task: steps for task, steps in self.steps.items() if task in tasks})


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Tasks x variants x seeds, and what their results must meet."""

    name: str
    """The experiment's folder under the folder of all runs."""
    title: str = ""
    description: str = ""
    illustrative: bool = False
    """True where seeds or budgets are too few to conclude from; the report says so."""
    baseline: str = "sparse"
    """The variant that others are held against."""
    tasks: tuple[TaskConfig, ...]
    variants: Mapping[str, VariantConfig]
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 2_000_000
    device: str = "cpu"
    agent: AgentConfig = AgentConfig()
    env: Options = field(default_factory=dict)
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sinks: SinkConfig = SinkConfig()
    imports: tuple[str, ...] = ()
    """Modules that register envs, wrappers, shapers or agents of your own; the working folder is searched too."""
    thresholds: tuple[Threshold, ...] = ()
    """What `cairn check` holds the results against."""

    def __post_init__(self) -> None:
        _check_names(name=self.name, **{f"variants.{name}": name for name in self.variants})
        for what in ("tasks", "variants", "seeds"):
            if not getattr(self, what):
                raise ConfigError(f"{what}: expected at least one")
        check_unique("tasks", [task.id for task in self.tasks])
        check_unique("seeds", list(self.seeds))
        for seed in self.seeds:
            check_seed(seed)
        if self.baseline not in self.variants:
            raise ConfigError(str(unknown_name("baseline variant", self.baseline, self.variants)))
        tasks = [task.id for task in self.tasks]
        named = [("variants: steps", task, tasks) for variant in self.variants.values() for task in variant.steps]
        named += [("thresholds", threshold.task, ["all", *tasks]) for threshold in self.thresholds]
        for where, task, known in named:
            if task not in known:
                raise ConfigError(f"{where}: {unknown_name('task', task, known)}")
        for threshold in self.thresholds:
            if threshold.variant not in self.variants:
                raise ConfigError(f"thresholds: {unknown_name('variant', threshold.variant, self.variants)}")
        _check_starts(self.variants)

    def steps_of(self, task: TaskConfig, variant: str) -> int:
        """Env steps of a variant's runs on a task."""
        return self.variants[variant].steps.get(task.id, task.steps or self.steps)


def _check_starts(variants: Mapping[str, VariantConfig]) -> None:
    """Raise `ConfigError` where a variant starts from none of the comparison, or from one that starts from another."""
    for name, variant in variants.items():
        if variant.start_from is None:
            continue
        if variant.start_from not in variants:
            raise ConfigError(f"variants.{name}.start_from: {unknown_name('variant', variant.start_from, variants)}")
        if variants[variant.start_from].start_from is not None:
            raise ConfigError(
                f"variants.{name}.start_from: expected a variant that begins anew, got {variant.start_from!r}, which "
                f"starts from {variants[variant.start_from].start_from!r}."
            )


def _check_names(**names: str) -> None:
    for key, name in names.items():
        if not _NAME.match(name):
            raise ConfigError(f"{key}: expected letters, digits and _ . + - (it names a folder), got {name!r}")


def check_unique(key: str, values: list[Any]) -> None:
    """Raise `ConfigError` when a value stands more than once."""
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ConfigError(f"{key}: {', '.join(map(repr, twice))} stands more than once")


def load_run(path: Path, overrides: Options | None = None) -> RunConfig:
    """Read a run's config.yaml, with overrides laid on top.

    Raises:
        ConfigError: naming the file, the key path and the nearest valid key.
    """
    config = build(RunConfig, merge(load_yaml(path), overrides or {}), source=str(path))
    import_modules(config.imports)
    return config


def load_comparison(path: Path, overrides: Options | None = None) -> Comparison:
    """Read a comparison's YAML, with overrides laid on top.

    Raises:
        ConfigError: naming the file, the key path and the nearest valid key.
    """
    config = build(Comparison, merge(load_yaml(path), overrides or {}), source=str(path))
    import_modules(config.imports)
    return config
