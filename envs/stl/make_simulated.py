"""From an id and its options to a TensorEnv whose world MuJoCo moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cairngym.envs.checks import check_options
from cairngym.envs.core import TensorEnv
from cairngym.envs.physics.options import ENV_OPTIONS, PhysicsOptions
from cairngym.envs.stl.make import assemble
from cairngym.envs.stl.navigate import NavigateTask
from cairngym.envs.stl.specs import parts_of
from cairngym.envs.stl.templates import check_horizon, get_template

if TYPE_CHECKING:
    from cairngym.envs.stl.simulated import SimulatedWorld

OPTIONS = (*ENV_OPTIONS, "driver", "driver_options", "camera", "render_size")
"""Options beside those of every temporal task; what else `PhysicsOptions` has, layouts decide here."""


def make_simulated(
    world_type: Callable[..., SimulatedWorld],
    env_id: str,
    *,
    num_envs: int,
    device: str,
    seed: int,
    horizon: int,
    layout: int | None,
    options: Mapping[str, Any],
) -> TensorEnv:
    """Make an env in which a simulated robot has to satisfy a template's formula.

    Args:
        world_type: of the robot; called as `world_type(template, horizon, num_envs, device, layout=…, driver=…)`.
        env_id: `Stl<world>-<template>-v0`.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        horizon: steps of an episode.
        layout: the number of the layout of every env and episode; None draws one per episode.
        options: see `OPTIONS`.

    Raises:
        ValueError: an option out of range, or a horizon within which the template can't be done.
        TypeError: an option it does not have.
    """
    check_options(f"The env {env_id!r}", options, (*OPTIONS, "horizon", "layout"))
    shared = PhysicsOptions.take(env_id, options)
    template = get_template(parts_of(env_id)[1])
    world = world_type(template, check_horizon(horizon), num_envs, device, layout=layout, driver=shared.drive)
    world.aim(shared.camera, shared.render_size)
    return assemble(world, NavigateTask(world, horizon), template, horizon, seed=seed, **shared.env)
