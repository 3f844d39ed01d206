"""Pictures of all worlds at once by `mujoco_warp`'s ray tracer: no OpenGL, on a GPU or, slowly, on the CPU."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import mujoco
import torch
import warp as wp

from cairngym.envs.physics.camera import Camera, Marker, check_camera, check_size
from cairngym.envs.physics.driver import Driver
from cairngym.envs.physics.models import find_id
from cairngym.envs.physics.warp_fields import load_engine, put_model
from cairngym.envs.warp_setup import start_warp

POSES = {
    "geom_xpos": wp.vec3, "geom_xmat": wp.mat33, "light_xpos": wp.vec3, "light_xdir": wp.vec3,
    "cam_xpos": wp.vec3, "cam_xmat": wp.mat33, "flexvert_xpos": wp.vec3,
}  # fmt: skip
"""The derived fields that a picture is made of."""
DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)
"""A geom of this colour has its material's."""
UNSEEN_GROUP = 5
AMBIENT = 0.4
"""How bright the rim of a marker is."""


class WarpRenderer:
    """Draws every world of a driver from one camera.

    Poses are read from the driver's derived views, so worlds are drawn as of the last `forward` or `refresh`. Geoms are
    drawn, sites and tendons are not; the ray tracer knows no transparency, so geoms are opaque, or left out where their
    opacity is below one half. Sizes and colours that differ from world to world are seen on the driver "warp"; on
    "threads" every world has those of the shared model. Textures, lights, shadows and the sky are the model's.

    Args:
        driver: whose worlds to draw.
        camera: one of its own, the name of one in the model, or None for one that sees the whole model.
        width: pixels.
        height: pixels.

    Raises:
        ImportError: `mujoco_warp` is not installed.
        UnknownNameError: the model has no such camera.
        ValueError: the model has no camera at all, whose place another could take, or what `mujoco_warp` can't draw.
    """

    def __init__(self, driver: Driver, camera: Camera | str | None, width: int, height: int) -> None:
        check_size(width, height)
        self._engine, model = load_engine(), driver.model
        start_warp()
        if model.ncam == 0:
            raise ValueError(
                "Expected a model with a camera, whose place the picture's takes in the ray tracer, got none. Add "
                "<camera/> to its worldbody, or draw with renderer='opengl'."
            )
        self.driver, self.camera, self.width, self.height = driver, check_camera(model, camera), width, height
        self._slot = find_id(model, "camera", self.camera) if isinstance(self.camera, str) else 0
        self._device = wp.device_from_torch(driver.device)
        model = self._prepare(model)
        with self._ordered():
            self._context = self._engine.create_render_context(
                model, driver.num_worlds, cam_res=(width, height), cam_active=[self._slot], render_rgb=True,
                render_depth=True, render_skybox=True, use_shadows=bool(model.light_castshadow.any()),
            )  # fmt: skip
            self._model = getattr(driver, "engine_model", None) or put_model(model, deterministic=False)
        self._standing = self._place_camera()
        self._views = {name: driver.view(name) for name in POSES if name not in self._standing}
        self.refresh()

    def _prepare(self, model: mujoco.MjModel) -> mujoco.MjModel:
        """A model in which a camera of one's own has taken the place of the first, and what is faint is not seen."""
        model = copy.copy(model)
        if isinstance(self.camera, Camera):
            model.cam_projection[0] = int(mujoco.mjtProjection.mjPROJ_PERSPECTIVE)
            model.cam_sensorsize[0], model.cam_fovy[0] = 0.0, model.vis.global_.fovy
        opacity = model.geom_rgba[:, 3].copy()
        of_material = (model.geom_rgba == DEFAULT_RGBA).all(1) & (model.geom_matid >= 0)
        opacity[of_material] = model.mat_rgba[model.geom_matid[of_material], 3]
        model.geom_group[opacity < 0.5] = UNSEEN_GROUP
        return model

    def refresh(self) -> None:
        """Make the derived views current, and change nothing that decides the future."""
        warm_start = self.driver.view("qacc_warmstart")
        kept = warm_start.clone()
        self.driver.forward()
        warm_start.copy_(kept)

    def _place_camera(self) -> dict[str, torch.Tensor]:
        """Poses of a camera that stands still, in all worlds; none for one of the model's, which may move."""
        if isinstance(self.camera, str):
            return {}
        shape = (self.driver.num_worlds, self.driver.model.ncam)
        position, axes = (
            torch.as_tensor(each, dtype=torch.float32).to(self.driver.device) for each in self.camera.pose()
        )
        return {
            "cam_xpos": position.expand(*shape, 3).contiguous(),
            "cam_xmat": axes.expand(*shape, 3, 3).contiguous(),
        }

    def draw(self, markers: Sequence[Marker] = ()) -> torch.Tensor:
        """Draw all worlds, uint8 `(N, height, width, 3)` on the driver's device.

        Args:
            markers: balls to add, as opaque as they say and lit from the camera.
        """
        poses = self._poses()
        scene = SimpleNamespace(nworld=self.driver.num_worlds)
        with self._ordered():
            for name, values in poses.items():
                setattr(scene, name, wp.from_torch(values, dtype=POSES[name]))
            self._engine.refit_bvh(self._model, scene, self._context)
            self._engine.render(self._model, scene, self._context)
        shape = (self.driver.num_worlds, self.height, self.width, 4)
        packed = wp.to_torch(self._context.rgb_data).view(torch.uint8).view(shape)
        image = packed[..., :3].flip(-1)  # each pixel is a little-endian 0xAARRGGBB
        if markers:
            image = self._add_balls(image, markers, poses["cam_xpos"][:, self._slot], poses["cam_xmat"][:, self._slot])
        return image

    def _poses(self) -> dict[str, torch.Tensor]:
        """The driver's derived views in single precision, and the camera."""
        poses, n = {}, self.driver.num_worlds
        for name, dtype in POSES.items():
            matrix = (3, 3) if dtype is wp.mat33 else (3,)
            values = self._standing[name] if name in self._standing else self._views[name].float()
            poses[name] = values.reshape(n, -1, *matrix).contiguous()
        return poses

    def _add_balls(
        self, image: torch.Tensor, markers: Sequence[Marker], position: torch.Tensor, axes: torch.Tensor
    ) -> torch.Tensor:
        """Blend balls over the picture wherever they are nearer than what it shows.

        Args:
            image: uint8 `(N, H, W, 3)`.
            markers: the balls.
            position: of the camera, `(N, 3)`.
            axes: of the camera, `(N, 3, 3)`.
        """
        context, pixels = self._context, (self.height, self.width)
        rays, offsets = (wp.to_torch(each).view(*pixels, 3) for each in (context.ray, context.ray_offset))
        depth = wp.to_torch(context.depth_data).view(-1, *pixels)
        depth = torch.where(depth > 0.0, depth, torch.inf)
        color = image.float()
        for marker in markers:
            center = (axes * (marker.position.float() - position)[:, :, None]).sum(1)[:, None, None]
            shade, near = ball(rays, center - offsets, marker.radius)
            seen = (near * -rays[..., 2] < depth)[..., None]
            paint = torch.stack([255.0 * channel * shade for channel in marker.rgba[:3]], dim=-1)
            opacity = 1.0 - (1.0 - marker.rgba[3]) ** 2  # OpenGL draws the far half through the near one
            color = torch.where(seen, torch.lerp(color, paint, opacity), color)
        return color.round().to(torch.uint8)

    @contextlib.contextmanager
    def _ordered(self) -> Iterator[None]:
        """Work on PyTorch's current stream."""
        if not self._device.is_cuda:
            with wp.ScopedDevice(self._device):
                yield
            return
        with wp.ScopedDevice(self._device), wp.ScopedStream(wp.stream_from_torch(self.driver.device)):
            yield


def ball(rays: torch.Tensor, center: torch.Tensor, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where unit rays `(..., 3)` from the origin enter a ball at `center` `(..., 3)`, and how bright it is there.

    Returns:
        Brightness in [0, 1] by a light at the origin, and distance, infinite where a ray misses.
    """
    along = (rays * center).sum(-1)
    inside = radius**2 - (center * center).sum(-1) + along**2
    half_chord = inside.clamp(min=0.0).sqrt()
    distance = along - half_chord
    hit = (inside > 0.0) & (distance > 0.0)
    return AMBIENT + (1.0 - AMBIENT) * half_chord / radius, torch.where(hit, distance, torch.inf)
