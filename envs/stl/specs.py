"""The ids of the temporal tasks, listed without importing torch or a simulator."""

from __future__ import annotations

from cairngym.envs.registry import EnvSpec

WORLDS = {
    "Linear": "cairngym.envs.stl.make:make_arena",
    "Unicycle": "cairngym.envs.stl.make:make_arena",
    "Quadrotor": "cairngym.envs.stl.make:make_arena",
    "Franka": "cairngym.envs.stl.franka:make_franka",
    "Ant": "cairngym.envs.stl.ant:make_ant",
}
"""Worlds and the functions that make their envs."""
TEMPLATES = ("ReachAvoid", "Sequence", "ReachStay", "Until", "Nested", "Branch", "Patrol")
"""Names of the templates of `cairngym.envs.stl.templates`."""


def parts_of(env_id: str) -> tuple[str, str]:
    """World and template of `Stl<world>-<template>-v0`."""
    world, template, _ = env_id.removeprefix("Stl").split("-")
    return world, template


def specs() -> list[EnvSpec]:
    """Every world with every template."""
    return [
        EnvSpec(id=f"Stl{world}-{template}-v0", maker=maker, family="stl")
        for world, maker in WORLDS.items()
        for template in TEMPLATES
    ]
