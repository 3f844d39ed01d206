"""Where pictures of MuJoCo worlds are taken from, and what is drawn in them beside the physics."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from cairngym.envs.physics.models import find_id


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera that stands still and looks at a point, by MuJoCo's angles."""

    lookat: tuple[float, float, float]
    """The point in the middle of the picture, m."""
    distance: float
    """From the point, m."""
    azimuth: float = 90.0
    """Which way it looks, degrees counterclockwise from the x axis."""
    elevation: float = -45.0
    """How far it looks up, degrees; -90 looks straight down."""

    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Its position `(3,)` and its axes as columns `(3, 3)`: right, up and away from what it sees."""
        azimuth, elevation = np.deg2rad((self.azimuth, self.elevation))
        across, along = np.cos(elevation), np.sin(elevation)
        forward = np.array((across * np.cos(azimuth), across * np.sin(azimuth), along))
        right = np.array((np.sin(azimuth), -np.cos(azimuth), 0.0))
        axes = np.stack((right, np.cross(right, forward), -forward), axis=1)
        return np.array(self.lookat) - self.distance * forward, axes


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A translucent ball in every world's picture that is no part of its physics."""

    position: torch.Tensor
    """Its centres in the N worlds, `(N, 3)` in m."""
    radius: float
    """In m."""
    rgba: tuple[float, float, float, float] = (0.9, 0.15, 0.15, 0.5)
    """Colour and opacity, each in [0, 1]."""


def default_camera(model: mujoco.MjModel) -> Camera:
    """The camera that sees all of a model, as MuJoCo's viewer begins with."""
    free = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, free)
    x, y, z = free.lookat.tolist()
    return Camera(lookat=(x, y, z), distance=free.distance, azimuth=free.azimuth, elevation=free.elevation)


def check_camera(model: mujoco.MjModel, camera: Camera | str | None) -> Camera | str:
    """Return `camera`, or the default one for None.

    Raises:
        UnknownNameError: the model has no camera of that name; the message lists those it has.
        ValueError: a camera that is nowhere, or stands in the point it looks at.
        TypeError: something else.
    """
    if camera is None:
        return default_camera(model)
    if isinstance(camera, str):
        find_id(model, "camera", camera)
        return camera
    if not isinstance(camera, Camera):
        raise TypeError(f"Expected a Camera or the name of one in the model, got {camera!r}.")
    numbers = (*camera.lookat, camera.distance, camera.azimuth, camera.elevation)
    if len(camera.lookat) != 3 or not np.isfinite(numbers).all() or camera.distance <= 0.0:
        raise ValueError(f"Expected a lookat of three finite numbers and a distance above zero, got {camera}.")
    return camera


def check_size(width: int, height: int) -> None:
    """Raise `ValueError` unless a picture can have that many pixels."""
    if not (1 <= width <= 4096 and 1 <= height <= 4096):
        raise ValueError(f"Expected a picture of 1 to 4096 pixels across and up, got {width} x {height}.")
