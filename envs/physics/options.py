"""What every physics env can be made with, beside the options of its own task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from cairngym.envs.checks import check_dtype, check_options, unknown_name
from cairngym.envs.core import Task, TensorEnv
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.world import PhysicsWorld

GOALS = ("random", "evaluation")
ENV_OPTIONS = ("autoreset_mode",)


@dataclass(frozen=True, kw_only=True)
class PhysicsOptions:
    """Options that all physics envs share."""

    dtype: torch.dtype | str = torch.float32
    """Of observations and measurements: float32 or float64."""
    horizon: int | None = None
    """Steps after which an episode is truncated; None is the task's own."""
    goals: str = "random"
    """"random" draws every episode anew; "evaluation" goes through the few fixed beginnings of the task."""
    driver: str = "auto"
    """"threads" (MuJoCo C on CPU threads), "warp" (mujoco_warp), or the one for the device."""
    driver_options: Mapping[str, Any] = field(default_factory=dict)
    """What the driver takes: `threads`; `nconmax`, `njmax`, …"""
    camera: Camera | str | None = None
    """Where pictures look from: a camera, or the name of one in the model; None is the task's own."""
    render_size: tuple[int, int] | None = None
    """Width and height of pictures, pixels; None is 480 x 480."""
    env: Mapping[str, Any] = field(default_factory=dict)
    """Options of `TensorEnv`."""

    def __post_init__(self) -> None:
        if self.goals not in GOALS:
            raise unknown_name("kind of goals", self.goals, GOALS)
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"Expected horizon >= 1, got {self.horizon}.")

    @classmethod
    def take(cls, env_id: str, options: Mapping[str, Any], own: Iterable[str] = ()) -> PhysicsOptions:
        """Sort the options an env is made with.

        Args:
            env_id: named in errors.
            options: as they were given.
            own: names of the maker's own options, for the error that lists the valid ones.

        Raises:
            TypeError: an option that the env does not have, naming the nearest one it has.
            UnknownNameError: an unknown kind of goals.
            ValueError: a dtype or a horizon out of range.
        """
        shared = {entry.name for entry in fields(cls)} - {"env"}
        check_options(f"The env {env_id!r}", options, {*shared, *ENV_OPTIONS, *own})
        given = {name: value for name, value in options.items() if name in shared}
        given["dtype"] = check_dtype(given.get("dtype", torch.float32))
        return cls(**given, env={name: value for name, value in options.items() if name in ENV_OPTIONS})

    @property
    def number(self) -> torch.dtype:
        """`dtype` as torch's."""
        return check_dtype(self.dtype)

    @property
    def drive(self) -> dict[str, Any]:
        """Options of `make_driver`."""
        return {"driver": self.driver, **self.driver_options}

    def assemble(self, world: PhysicsWorld, task: Task, seed: int) -> TensorEnv:
        """Join a world and its task as the options say."""
        world.evaluates = self.goals == "evaluation"
        world.aim(self.camera, self.render_size)
        if self.horizon is not None:
            task.horizon = self.horizon
        return TensorEnv(world, task, seed=seed, **self.env)
