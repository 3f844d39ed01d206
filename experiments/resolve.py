"""A run's config held against the registries, and filled in so that it says all that bears on the results."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cairngym.envs.checks import check_options
from cairngym.envs.strict_yaml import ConfigError, build
from cairngym.experiments.config import Options, RunConfig, ShaperConfig, WrapperConfig, check_unique
from cairngym.experiments.overlay import plain


def resolve(config: RunConfig) -> RunConfig:
    """Check names and options against the registries, and fill in the defaults of agent, wrappers and shapers.

    A shaper built for a discount gets the agent's where none is given. The run's seed is the agent's too.

    Raises:
        UnknownNameError: no such task, agent, wrapper or shaper.
        TypeError: an option that the wrapper or shaper does not have.
        ConfigError: an option that the agent does not have, or one of a wrong type.
    """
    from cairngym.agents.registry import agent_config_class
    from cairngym.envs.registry import get_spec

    get_spec(config.task)
    if "seed" in config.agent.options:
        raise ConfigError("agent.seed: the agent draws from the run's seed; give that instead.")
    cls = agent_config_class(config.agent.name)
    options = plain(build(cls, config.agent.options, source=f"agent {config.agent.name!r}"))
    options.pop("seed", None)
    wrappers, evaluation = tuple(_resolve_wrapper(wrapper) for wrapper in config.wrappers), config.evaluation
    if evaluation.wrappers is not None:
        evaluation = replace(evaluation, wrappers=tuple(_resolve_wrapper(wrapper) for wrapper in evaluation.wrappers))
    shapers = tuple(_resolve_shaper(shaper, options, config.seed) for shaper in config.shapers)
    check_unique("shapers", [shaper.term or shaper.name for shaper in shapers])
    agent = replace(config.agent, options=options)
    return replace(config, agent=agent, wrappers=wrappers, shapers=shapers, evaluation=evaluation)


def _resolve_wrapper(wrapper: WrapperConfig) -> WrapperConfig:
    from cairngym.envs.wrapper_registry import get_wrapper

    parameters = dict(inspect.signature(get_wrapper(wrapper.name)).parameters)
    parameters.pop("env", None)
    check_options(f"The wrapper {wrapper.name!r}", wrapper.options, parameters)
    return replace(wrapper, options={**_defaults(parameters), **wrapper.options})


def _resolve_shaper(shaper: ShaperConfig, agent: Options, seed: int) -> ShaperConfig:
    from cairngym.reward_shaping.registry import get_shaper, make_shaper

    factory = get_shaper(shaper.name)
    parameters = inspect.signature(factory).parameters
    check_options(f"The shaper {shaper.name!r}", shaper.options, parameters)
    options = _defaults(parameters)
    separate = getattr(factory, "stream", "task") == "intrinsic" and agent.get("intrinsic_gamma") is not None
    ours = {"seed": seed, "gamma": agent.get("intrinsic_gamma" if separate else "gamma")}
    options |= {name: value for name, value in ours.items() if name in parameters and value is not None}
    options |= shaper.options
    make_shaper(shaper.name, **options)  # refuses values out of range before any run starts
    return replace(shaper, options=options)


def _defaults(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The default values that YAML can write."""
    return {n: p.default for n, p in parameters.items() if isinstance(p.default, bool | int | float | str)}
