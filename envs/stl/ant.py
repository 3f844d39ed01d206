"""The ant of Gymnasium among regions in a walled arena."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from cairngym.envs.core import State, StateField, TensorEnv
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.world import between, put
from cairngym.envs.stl.ant_model import ant_model
from cairngym.envs.stl.layouts import Arena
from cairngym.envs.stl.make_simulated import make_simulated
from cairngym.envs.stl.simulated import SimulatedWorld, numbers
from cairngym.envs.stl.templates import Template

HORIZON = 200
"""Steps of an episode unless asked for otherwise: 10 s."""
HALF = 4.0
"""Half of the arena's side, m."""
MARGIN = 0.5
"""From the arena to the walls, m, so that legs have room where the torso is at its rim."""
NOISE = 0.1
"""Joint angles (rad) and velocities (m/s, rad/s) begin within this of rest, as they do in Gymnasium's Ant-v5."""


class AntWorld(SimulatedWorld):
    """N ants whose torsos are wanted in discs of the floor.

    An action drives the eight motors by shares of their torque, in the order of Gymnasium's ant, for 0.05 s (five
    physics steps). The agent sees Gymnasium's 27 numbers (`qpos` from the height on, and `qvel`), and where regions
    and obstacles lie from the torso, along the world's axes.

    An ant that falls over stays in its episode: a formula says nothing about posture, and whatever it takes to get up
    counts against the time. Regions are reached, and obstacles touched, by the middle of the torso.

    There is no scripted solution, since no simple rule makes this ant walk. A layout is accepted where one of the
    template's plans can be made at 0.6 m/s with half a second lost on each leg, ways around obstacles included;
    trained ants run at several m/s.

    Args:
        template: which regions and obstacles there are.
        horizon: steps within which the template's task can be done.
        num_envs: N.
        device: "cpu" or "cuda".
        layout: the number of the layout of every env and episode; None draws one per episode.
        driver: options of `make_driver`.
    """

    arena = Arena(
        low=(-HALF, -HALF), high=(HALF, HALF), start_low=(-0.5, -0.5), start_high=(0.5, 0.5),
        region_radius=(0.7, 0.7), obstacle_radius=(0.5, 0.5), gap=0.2, passage=0.6, speed=0.03, lag=10.0, scale=HALF,
    )  # fmt: skip
    action_size = 8
    frame_skip = 5
    kinematics = False
    num_draws = 22
    camera = Camera(lookat=(0.0, 0.0, 0.0), distance=13.5, azimuth=90.0, elevation=-65.0)
    moving: ClassVar[Mapping[str, StateField]] = {
        "position": StateField(shape=(2,), unit="m", description="Where the torso is; the arena is [-4, 4]^2."),
        "height": StateField(shape=(), unit="m", description="How high the torso is."),
        "orientation": StateField(shape=(4,), unit="quaternion", description="The torso's rotation, (w, x, y, z)."),
        "joint_angles": StateField(shape=(8,), unit="rad", description="Hip and ankle of each of the four legs."),
        "velocity": StateField(
            shape=(3,), unit="m/s", description="How fast the torso moves along the world's axes."
        ),
        "rotation_velocity": StateField(
            shape=(3,), unit="rad/s", description="How fast the torso turns about its own axes."
        ),
        "joint_velocities": StateField(shape=(8,), unit="rad/s", description="Hip and ankle of each of the four legs."),
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
        super().__init__(
            ant_model(HALF + MARGIN), template, horizon, num_envs, device, layout=layout, driver=driver
        )  # fmt: skip
        self._qpos, self._qvel, self._ctrl = (self.driver.view(name) for name in ("qpos", "qvel", "ctrl"))

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Put the torso at the layout's start, upright, and everything nearly at rest."""
        noise = between(draw, -NOISE, NOISE)
        put(mask, self._qpos[:, :2], self.layouts.start)
        put(mask, self._qpos[:, 7:], noise[:, :8])
        put(mask, self._qvel, noise[:, 8:])

    def control(self, action: torch.Tensor) -> None:
        """Drive the motors."""
        self._ctrl.copy_(action)

    def move(self) -> dict[str, torch.Tensor]:
        """Positions and velocities by their names."""
        qpos, qvel = self._qpos, self._qvel
        return {
            "position": qpos[:, :2], "height": qpos[:, 2], "orientation": qpos[:, 3:7], "joint_angles": qpos[:, 7:],
            "velocity": qvel[:, :3], "rotation_velocity": qvel[:, 3:6], "joint_velocities": qvel[:, 6:],
        }  # fmt: skip

    def ego(self, state: State) -> list[torch.Tensor]:
        """Gymnasium's 27 numbers, in their units."""
        fields = ("orientation", "joint_angles", "velocity", "rotation_velocity", "joint_velocities")
        return [state["height"], *(number for name in fields for number in numbers(state[name]))]


def make_ant(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    horizon: int = HORIZON,
    layout: int | None = 0,
    **options: Any,
) -> TensorEnv:
    """Make an env in which an ant has to satisfy a template's formula.

    Args:
        env_id: `StlAnt-<template>-v0`.
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
        AntWorld, env_id, num_envs=num_envs, device=device, seed=seed, horizon=horizon, layout=layout, options=options
    )  # fmt: skip
