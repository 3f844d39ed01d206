"""A Franka arm whose end effector is wanted in balls of space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import mujoco
import torch

from cairngym.envs.core import State, StateField, TensorEnv
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.models import find_id
from cairngym.envs.physics.world import put
from cairngym.envs.stl.franka_kinematics import POINTS, FrankaKinematics
from cairngym.envs.stl.franka_model import HOME, SPEEDS, franka_model
from cairngym.envs.stl.layouts import Arena
from cairngym.envs.stl.make_simulated import make_simulated
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.regions import towards_nearest
from cairngym.envs.stl.simulated import SimulatedWorld, numbers
from cairngym.envs.stl.templates import Template

HORIZON = 100
"""Steps of an episode unless asked for otherwise: 5 s."""
START = (0.448, 0.0, 0.446)
"""Where the end effector is at `HOME`, m, to the millimetre."""
OBSTACLES = 1
"""One among the regions is much for an arm: its hand and forearm have to keep clear of it as well."""
SPREAD = 0.06
"""Episodes begin with the end effector within about this of `START` along each axis, m."""


class FrankaWorld(SimulatedWorld):
    """N Franka arms on a floor.

    An action drives the seven joints by shares of their torque, for 0.05 s (five physics steps). The joints are damped,
    so that within about a step each turns at its share of `SPEEDS`: 1.09 rad/s, in the wrist 1.3 rad/s; one that comes
    near its limit slows down and stops there. The gripper stays closed. Episodes begin at rest, near one posture.

    `position` is the end effector's, between the fingertips; regions are reached by it. Obstacles are touched by any of
    the arm's check points from the elbow to the end effector (`links`). The agent sees its joint angles and their
    velocities as shares of `SPEEDS`, where the end effector is from the middle of the arena, and where regions and
    obstacles lie from there, along the world's axes.

    Args:
        template: which regions and obstacles there are.
        horizon: steps within which the template's task can be done.
        num_envs: N.
        device: "cpu" or "cuda".
        layout: the number of the layout of every env and episode; None draws one per episode.
        driver: options of `make_driver`.

    Attributes:
        arm: the arm's kinematics, for controllers.
    """

    arena = Arena(
        low=(0.25, -0.6, 0.05), high=(0.75, 0.6, 0.51),
        start_low=tuple(x - SPREAD for x in START), start_high=tuple(x + SPREAD for x in START),
        region_radius=(0.08, 0.08), obstacle_radius=(0.1, 0.1), gap=0.03, passage=0.06, speed=0.02, lag=4.0, scale=0.5,
    )  # fmt: skip
    action_size = 7
    frame_skip = 5
    camera = Camera(lookat=(0.35, 0.0, 0.35), distance=1.9, azimuth=140.0, elevation=-25.0)
    moving: ClassVar[Mapping[str, StateField]] = {
        "position": StateField(shape=(3,), unit="m", description="Where the end effector is; the base is the origin."),
        "joint_angles": StateField(shape=(7,), unit="rad", description="Angles of the joints, from the base on."),
        "joint_velocities": StateField(shape=(7,), unit="rad/s", description="How fast the joints turn."),
        "links": StateField(
            shape=(len(POINTS), 3), unit="m",
            description="Where the arm's check points are, from the elbow to the end effector.",
        ),
    }  # fmt: skip

    def __init__(
        self,
        template: Template,
        horizon: int,
        num_envs: int,
        device: str | torch.device,
        *,
        layout: int | None = 0,
        driver: Mapping[str, Any] | None = None,
    ) -> None:
        template, model = replace(template, obstacles=OBSTACLES), franka_model()
        super().__init__(model, template, horizon, num_envs, device, layout=layout, driver=driver)
        rest = mujoco.MjData(model)
        rest.qpos[:] = HOME
        self.driver.set_initial(rest)
        self.arm = FrankaKinematics(model, self.device)
        self._qpos, self._qvel, self._ctrl = (self.driver.view(name) for name in ("qpos", "qvel", "ctrl"))
        self._home, self._start = self._qpos.new_tensor(HOME), self._qpos.new_tensor(START)
        self._bend = posture_per_metre(FrankaKinematics(model)).to(self._qpos)
        self._limits = (self.arm.low.to(self._qpos), self.arm.high.to(self._qpos))
        self._stride = self._qpos.new_tensor(SPEEDS) * self.time_step
        self._sites = self.driver.view("site_xpos")
        self._points = torch.tensor([find_id(model, "site", name) for name in POINTS], device=self.device)
        self.predicates["in_obstacle"] = Measure(
            margin=partial(touches, obstacles=template.obstacles), unit="m", scale=self.arena.scale,
            target=partial(towards_nearest, scale=self.arena.scale, frame=None), target_size=3,
            description="Depth in the nearest obstacle: its radius minus distance, the greatest of all check points.",
        )  # fmt: skip

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Bend the arm from its posture at rest so that the end effector is at the layout's start, to first order."""
        del draw
        angles, shift = self._home, self.layouts.start.to(self._start.dtype) - self._start
        for axis in range(3):
            angles = angles + shift[:, axis, None] * self._bend[:, axis]
        put(mask, self._qpos, angles)

    def control(self, action: torch.Tensor) -> None:
        """Drive the motors, less where a joint would pass its limit within the step."""
        low, high = ((limit - self._qpos) / self._stride for limit in self._limits)
        self._ctrl.copy_(torch.minimum(torch.maximum(action, low), high))

    def move(self) -> dict[str, torch.Tensor]:
        """The joints, and where they have brought the arm."""
        links = self._sites[:, self._points]
        return {
            "position": links[:, -1], "joint_angles": self._qpos, "joint_velocities": self._qvel, "links": links
        }  # fmt: skip

    def ego(self, state: State) -> list[torch.Tensor]:
        """Joint angles, their velocities as shares of `SPEEDS`, and the end effector's place in the arena."""
        shares = [rate / speed for rate, speed in zip(numbers(state["joint_velocities"]), SPEEDS, strict=True)]
        middle = [(low + high) / 2 for low, high in zip(self.arena.low, self.arena.high, strict=True)]
        place = [(x - m) / self.arena.scale for x, m in zip(numbers(state["position"]), middle, strict=True)]
        return [*numbers(state["joint_angles"]), *shares, *place]


def make_franka(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    horizon: int = HORIZON,
    layout: int | None = 0,
    **options: Any,
) -> TensorEnv:
    """Make an env in which an arm has to satisfy a template's formula.

    Args:
        env_id: `StlFranka-<template>-v0`.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        horizon: steps of an episode, 50 to 1000; the template's intervals grow with it.
        layout: the number of the layout of every env and episode, whose starts alone differ; None draws a layout per
            episode.
        options: `autoreset_mode`, and of `PhysicsOptions` `driver`, `driver_options`, `camera` and `render_size`.

    Raises:
        ImportError: the package with the robot's model is not installed.
        ValueError: an option out of range, or a horizon within which the template can't be done.
        TypeError: an option it does not have.
    """
    return make_simulated(
        FrankaWorld, env_id, num_envs=num_envs, device=device, seed=seed, horizon=horizon, layout=layout,
        options=options,
    )  # fmt: skip


def touches(state: State, *, obstacles: int) -> torch.Tensor:
    """The greatest depth of any check point inside any obstacle, `(B,)`, m."""
    links, circles = state["links"], state["obstacles"]
    depths = []
    for index in range(obstacles):
        x, y, z = (links[:, :, axis] - circles[:, index, None, axis] for axis in range(3))
        depths.append(circles[:, index, None, 3] - (x * x + y * y + z * z).sqrt())
    return torch.cat(depths, dim=-1).amax(-1)


def posture_per_metre(arm: FrankaKinematics) -> torch.Tensor:
    """The least joint angles that move the end effector from `HOME` by a metre along each axis, rad/m, `(7, 3)`."""
    _, jacobians = arm.jacobians(torch.tensor([HOME]))
    return torch.linalg.pinv(jacobians[0, -1])
