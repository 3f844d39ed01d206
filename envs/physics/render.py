"""Pictures of MuJoCo worlds, drawn by OpenGL off screen, one world after another."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mujoco
import numpy as np

from cairngym.envs.physics.camera import Camera, Marker, check_camera, check_size
from cairngym.envs.physics.driver import Driver
from cairngym.envs.physics.models import find_id
from cairngym.envs.physics.opengl import Context, make_context

MAX_GEOMS = 10_000
OFFSCREEN = int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN)
ALL = int(mujoco.mjtCatBit.mjCAT_ALL)
SITE = int(mujoco.mjtObj.mjOBJ_SITE)
SPHERE = int(mujoco.mjtGeom.mjGEOM_SPHERE)


class OffscreenRenderer:
    """Draws the worlds of a driver.

    OpenGL is loaded by the first picture; from then on pictures must be asked for in the same thread.

    Args:
        driver: whose worlds to draw.
        hidden_sites: sites of the model that are left out, such as targets that the world does not move.

    Raises:
        UnknownNameError: a hidden site that the model does not have.
    """

    def __init__(self, driver: Driver, hidden_sites: Sequence[str] = ()) -> None:
        self.driver, self.model = driver, driver.model
        self._hidden = frozenset(find_id(self.model, "site", name) for name in hidden_sites)
        self._canvas: Canvas | None = None

    def frames(
        self,
        env_ids: Sequence[int],
        camera: Camera | str | None,
        width: int,
        height: int,
        markers: Sequence[Marker] = (),
    ) -> tuple[np.ndarray, ...]:
        """Draw worlds as they stand.

        Args:
            env_ids: which.
            camera: one of its own, the name of one in the model, or None for one that sees the whole model.
            width: pixels.
            height: pixels.
            markers: balls to add.

        Returns:
            uint8 `(height, width, 3)` each.

        Raises:
            IndexError: a world that is not there.
            UnknownNameError: the model has no such camera.
            RuntimeError: no OpenGL, or not in the thread of the first picture.
        """
        check_size(width, height)
        self._check_ids(env_ids)
        view = as_mujoco(self.model, check_camera(self.model, camera))
        if self._canvas is None:
            self._canvas = Canvas(self.model, width, height)
        balls = [(marker, marker.position.detach().to("cpu").numpy()) for marker in markers]
        images = np.empty((len(env_ids), height, width, 3), np.uint8)
        canvas = self._canvas
        with canvas.opened(width, height):
            for image, world in zip(images, env_ids, strict=True):
                canvas.set_scene(self.driver, world, view, self._hidden)
                for marker, positions in balls:
                    canvas.add_ball(positions[world], marker)
                canvas.read(image)
        return tuple(images)

    def _check_ids(self, env_ids: Sequence[int]) -> None:
        count = self.driver.num_worlds
        for world in env_ids:
            if not 0 <= world < count:
                raise IndexError(f"Expected env ids from 0 to {count - 1}, got {world}.")

    def close(self) -> None:
        """Free the OpenGL context; the next picture makes a new one."""
        if self._canvas is not None:
            self._canvas.free()
            self._canvas = None


class Canvas:
    """An OpenGL context with a model's meshes and textures in it.

    Args:
        model: compiled model.
        width: pixels it should hold.
        height: pixels it should hold.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self._context = make_context(width, height)
        with self._context.as_current():
            self._mujoco = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self.free = weakref.finalize(self, release, self._context, self._mujoco)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._data = mujoco.MjData(model)
        self._option, self._thread = mujoco.MjvOption(), threading.get_ident()
        self._rectangle = mujoco.MjrRect(0, 0, width, height)

    @contextmanager
    def opened(self, width: int, height: int) -> Iterator[None]:
        """Make it the one to draw on, for pictures of this size."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "Expected pictures to be asked for in the thread of the first one; OpenGL is bound to it."
            )
        buffer = self._mujoco
        with self._context.as_current():
            if width > buffer.offWidth or height > buffer.offHeight:
                mujoco.mjr_resizeOffscreen(max(width, buffer.offWidth), max(height, buffer.offHeight), buffer)
            mujoco.mjr_setBuffer(OFFSCREEN, buffer)
            self._rectangle = mujoco.MjrRect(0, 0, width, height)
            yield

    def set_scene(self, driver: Driver, world: int, view: mujoco.MjvCamera, hidden: frozenset[int]) -> None:
        """Take over how a world stands, less the hidden sites."""
        model, data, scene = driver.write_data(world, self._data), self._data, self._scene
        for stage in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight, mujoco.mj_flex, mujoco.mj_tendon):
            stage(model, data)
        mujoco.mjv_updateScene(model, data, self._option, None, view, ALL, scene)
        for geom in scene.geoms[: scene.ngeom] if hidden else ():
            if geom.objtype == SITE and geom.objid in hidden:
                geom.rgba[3] = 0.0

    def add_ball(self, position: np.ndarray, marker: Marker) -> None:
        """Put a marker into the scene."""
        scene = self._scene
        if scene.ngeom >= scene.maxgeom:
            return
        size, rgba = np.full(3, marker.radius), np.array(marker.rgba, np.float32)
        ball = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(ball, SPHERE, size, position.astype(np.float64), np.eye(3).ravel(), rgba)
        scene.ngeom += 1

    def read(self, image: np.ndarray) -> None:
        """Draw the scene into `image`, uint8 `(height, width, 3)`."""
        mujoco.mjr_render(self._rectangle, self._scene, self._mujoco)
        upside_down = np.empty_like(image)
        mujoco.mjr_readPixels(upside_down, None, self._rectangle, self._mujoco)
        image[:] = upside_down[::-1]


def release(context: Context, contents: mujoco.MjrContext) -> None:
    """Free an OpenGL context and what MuJoCo keeps in it."""
    with context.as_current():
        contents.free()
    context.free()


def as_mujoco(model: mujoco.MjModel, camera: Camera | str) -> mujoco.MjvCamera:
    """MuJoCo's own description of a camera that has been checked."""
    view = mujoco.MjvCamera()
    if isinstance(camera, str):
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED.value, find_id(model, "camera", camera)
    else:
        view.type, view.lookat[:] = mujoco.mjtCamera.mjCAMERA_FREE.value, camera.lookat
        view.distance, view.azimuth, view.elevation = camera.distance, camera.azimuth, camera.elevation
    return view
