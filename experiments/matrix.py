"""A comparison as its runs: every task with every variant and every seed, or a part of them."""

from __future__ import annotations

from dataclasses import replace

from cairngym.envs.checks import unknown_name
from cairngym.envs.strict_yaml import ConfigError, build
from cairngym.experiments.config import (
    AgentConfig,
    Comparison,
    RunConfig,
    TaskConfig,
    VariantConfig,
    WrapperConfig,
)
from cairngym.experiments.overlay import merge, plain
from cairngym.experiments.words import spelled


def choose_seeds(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The first `count` of the seeds, continued upward where there are fewer."""
    if count < 1:
        raise ConfigError(f"expected at least one seed, got {count}")
    return (*seeds, *range(max(seeds) + 1, max(seeds) + 1 + count))[:count]


def only(comparison: Comparison, tasks: tuple[str, ...] = (), variants: tuple[str, ...] = ()) -> Comparison:
    """The part of a comparison with these tasks and variants (none: all), its baseline and fitting thresholds kept.

    Raises:
        UnknownNameError: a task or variant that the comparison does not have.
    """
    known = [task.id for task in comparison.tasks]
    for kind, names, valid in (("task", tasks, known), ("variant", variants, list(comparison.variants))):
        for name in names:
            if name not in valid:
                raise unknown_name(f"{kind} of {comparison.name}", name, valid)
    judged = tasks or ("all", *known)  # a bound on all tasks together says nothing about some of them
    tasks = tasks or tuple(known)
    variants = (*variants, comparison.baseline) if variants else tuple(comparison.variants)
    variants += tuple(start for name in variants if (start := comparison.variants[name].start_from))
    return replace(
        comparison,
        tasks=tuple(task for task in comparison.tasks if task.id in tasks),
        variants={name: comparison.variants[name].on(tasks) for name in comparison.variants if name in variants},
        thresholds=tuple(t for t in comparison.thresholds if t.task in judged and t.variant in variants),
    )


def expand(comparison: Comparison) -> list[RunConfig]:
    """Every run of a comparison; seeds vary slowest, so that a half-finished comparison already compares."""
    return [
        RunConfig(
            experiment=comparison.name, task=task.id, variant=name, seed=seed,
            steps=comparison.steps_of(task, name), device=comparison.device,
            agent=_agent(comparison, task, variant, f"variants.{name}.agent"),
            start_from=f"../../{variant.start_from}/seed_{seed}" if variant.start_from else None,
            wrappers=_spell(task, variant.wrappers) or (), shapers=variant.shapers,
            env=merge(merge(comparison.env, task.env), variant.env),
            evaluation=replace(comparison.evaluation, wrappers=_spell(task, comparison.evaluation.wrappers)),
            checkpoint=comparison.checkpoint, sinks=comparison.sinks, imports=comparison.imports,
        )
        for seed in comparison.seeds
        for task in comparison.tasks
        for name, variant in comparison.variants.items()
    ]  # fmt: skip


def _spell(task: TaskConfig, wrappers: tuple[WrapperConfig, ...] | None) -> tuple[WrapperConfig, ...] | None:
    """The wrappers with the task's words in their options."""
    if wrappers is None:
        return None
    words = {"task": task.id, **task.words}
    return tuple(replace(w, options=spelled(w.options, words, f"wrapper {w.name!r}")) for w in wrappers)


def _agent(comparison: Comparison, task: TaskConfig, variant: VariantConfig, source: str) -> AgentConfig:
    """The variant's agent: the task's and the comparison's with other options, or one of another name with its own."""
    shared = merge(plain(comparison.agent), task.agent)
    other = variant.agent.get("name", comparison.agent.name) != comparison.agent.name
    return build(AgentConfig, variant.agent if other else merge(shared, variant.agent), source=source)
