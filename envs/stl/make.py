"""From an id and its options to a TensorEnv."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode

from cairngym.envs.checks import check_options, unknown_name
from cairngym.envs.core import Task, TensorEnv, World
from cairngym.envs.stl.arena import ArenaWorld
from cairngym.envs.stl.linear import LinearWorld
from cairngym.envs.stl.monitored import MonitoredWorld
from cairngym.envs.stl.navigate import NavigateTask
from cairngym.envs.stl.quadrotor import QuadrotorWorld
from cairngym.envs.stl.specs import parts_of
from cairngym.envs.stl.task import StlTask
from cairngym.envs.stl.templates import Template, check_horizon, get_template
from cairngym.envs.stl.unicycle import UnicycleWorld

OPTIONS = ("autoreset_mode", "horizon", "layout")
HORIZON = 100
"""Steps of an episode unless asked for otherwise."""
ARENAS: dict[str, type[ArenaWorld]] = {
    "Linear": LinearWorld, "Unicycle": UnicycleWorld, "Quadrotor": QuadrotorWorld,
}  # fmt: skip


def make_arena(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    horizon: int = HORIZON,
    layout: int | None = 0,
    **options: Any,
) -> TensorEnv:
    """Make an env in which an agent has to satisfy a template's formula.

    Args:
        env_id: `Stl<Linear | Unicycle | Quadrotor>-<template>-v0`.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        horizon: steps of an episode, 50 to 1000; the template's intervals grow with it.
        layout: the number of the layout of every env and episode, whose starts alone differ; None draws a layout per
            episode.
        options: `autoreset_mode`.

    Raises:
        ValueError: an option out of range, or a horizon within which the template can't be done.
        TypeError: an option it does not have.

    Example:
        >>> env = make_arena("StlLinear-ReachAvoid-v0", num_envs=2)
        >>> obs, info = env.reset(seed=0)
        >>> str(env.task.formula)
        'F[0,100] in_a & F[0,100] in_b & G[0,100] !in_obstacle'
    """
    check_options(env_id, options, OPTIONS)
    kind, name = parts_of(env_id)
    if kind not in ARENAS:
        raise unknown_name("arena", kind, ARENAS)
    template = get_template(name)
    world = ARENAS[kind](template, check_horizon(horizon), num_envs, device, layout=layout)
    return assemble(world, NavigateTask(world, horizon), template, horizon, seed=seed, **options)


def assemble(
    world: World,
    base: Task,
    template: Template,
    horizon: int,
    *,
    seed: int,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
) -> TensorEnv:
    """An env that asks for a template's formula in a world that publishes its predicates.

    Args:
        world: with `predicates`, among them those of the template.
        base: the task whose observation is shown.
        template: the kind of task.
        horizon: steps of an episode.
        seed: every draw derives from it.
        autoreset_mode: of the env.
    """
    formula, predicates = template.formula(horizon), world.predicates  # type: ignore[attr-defined]
    watched = MonitoredWorld(world, formula, predicates, horizon)
    task = StlTask(formula, watched.measures, horizon, base, count_fields=base.count_fields)
    return TensorEnv(watched, task, seed=seed, autoreset_mode=autoreset_mode)
