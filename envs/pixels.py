"""Pictures as observations: a wrapper for worlds on MuJoCo."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.checks import unknown_name
from cairngym.envs.core import Observation, State, TensorEnv, where
from cairngym.envs.goals import GOAL_KEYS
from cairngym.envs.wrapper import TensorWrapper

if TYPE_CHECKING:
    from cairngym.envs.physics.camera import Camera
    from cairngym.envs.physics.world import PhysicsWorld

PIXELS = "pixels"
RENDERERS = ("auto", "opengl", "warp")
KEEP = ("replace", "add")

Draw = Callable[[torch.Tensor], torch.Tensor]
"""Draws the masked worlds at least, uint8 `(N, height, width, 3)`; other rows hold anything."""


class PixelObservation(TensorWrapper):
    """Shows a picture of each world under the entry "pixels", uint8 `(height, width, 3)`.

    `final_obs` holds the true last picture, drawn before the world was reset. `state` stays as it is.

    Two renderers: "opengl" is MuJoCo's own, in double precision poses, one world after another (tens of milliseconds a
    picture in software, so meant for few worlds); "warp" is `mujoco_warp`'s ray tracer, all worlds at once, on a GPU or
    on the CPU, without OpenGL. It draws geoms and no sites, and its colours differ a little.

    Args:
        env: a TensorEnv on a `PhysicsWorld`.
        width: pixels.
        height: pixels.
        camera: a `Camera`, the name of one in the model, or None for the world's.
        keep: "replace" puts the picture in the place of the observation (of the entry "observation" where there are
            goals, which stay); "add" shows it beside every entry, and a plain observation as "observation".
        renderer: "opengl", "warp", or "auto": "warp" where the physics runs on `mujoco_warp`, else "opengl".
        markers: whether to draw the goal. Hindsight gives an episode other goals, which no picture follows.

    Raises:
        TypeError: the env does not run on MuJoCo.
        UnknownNameError: no such renderer or camera, or `keep` is neither.
        ValueError: an observation that has "pixels" already, or a picture without size.
        RuntimeError: no OpenGL; the message names the packages to install.
    """

    def __init__(
        self,
        env: TensorEnv,
        *,
        width: int = 64,
        height: int = 64,
        camera: Camera | str | None = None,
        keep: str = "replace",
        renderer: str = "auto",
        markers: bool = False,
    ) -> None:
        for what, given, valid in (("renderer", renderer, RENDERERS), ("choice of keep", keep, KEEP)):
            if given not in valid:
                raise unknown_name(what, given, valid)
        self.world = physics_world(env)
        from cairngym.envs.physics.camera import check_size

        check_size(width, height)
        inner = env.single_observation_space
        entries = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {"observation": inner}
        if PIXELS in entries:
            raise ValueError(f"Expected an observation without {PIXELS!r}, got one. Wrap the env without that entry.")
        self._kept = kept_entries(tuple(entries), keep)
        shown = {name: entries[name] for name in self._kept}
        picture = spaces.Box(0, 255, (height, width, 3), np.uint8)
        super().__init__(env, observation_space=spaces.Dict({**shown, PIXELS: picture}))
        self.task = copy.copy(env.task)
        self.task.single_observation_space = self.single_observation_space
        self.task.categories = {name: codes for name, codes in env.task.categories.items() if name in shown}
        view = self.world.camera if camera is None else camera
        self._draw = make_draw(self.world, renderer, view, width, height, markers)
        self._pixels = torch.zeros((self.num_envs, height, width, 3), dtype=torch.uint8, device=self.device)
        self._everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self.world.spectators = (*self.world.spectators, self._look)

    def _look(self) -> None:
        """Draw every world as `final_obs` describes it."""
        self._pixels = self._draw(self._everyone)

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Draw the worlds that have begun an episode."""
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        self._pixels = where(mask, self._draw(mask), self._pixels)

    def observation(self, obs: Observation, state: State) -> Observation:
        """The pictures, and the entries that are kept."""
        entries = obs if isinstance(obs, dict) else {"observation": obs}
        return {**{name: entries[name] for name in self._kept}, PIXELS: self._pixels}

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env and the pictures shown last."""
        return {"env": self.env.get_state(), PIXELS: self._pixels.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._pixels = snapshot[PIXELS].clone()

    def close(self, **kwargs: Any) -> None:
        """Stop looking, and close the inner env."""
        self.world.spectators = tuple(look for look in self.world.spectators if look != self._look)
        super().close(**kwargs)


def physics_world(env: TensorEnv) -> PhysicsWorld:
    """The MuJoCo world under `env`.

    Raises:
        TypeError: it runs on something else.
    """
    from cairngym.envs.physics.world import PhysicsWorld

    world = env.unwrapped.world
    while not isinstance(world, PhysicsWorld) and hasattr(world, "inner"):
        world = world.inner
    if not isinstance(world, PhysicsWorld):
        raise TypeError(
            f"Expected an env whose world runs on MuJoCo, got {type(world).__name__}. Take one such as FetchReach-v4."
        )
    return world


def kept_entries(entries: tuple[str, ...], keep: str) -> tuple[str, ...]:
    """Which entries of an observation stay beside the picture."""
    if keep == "add":
        return entries
    return GOAL_KEYS[1:] if set(GOAL_KEYS) <= set(entries) else ()


def make_draw(
    world: PhysicsWorld, renderer: str, camera: Camera | str | None, width: int, height: int, markers: bool
) -> Draw:
    """What draws the worlds by the renderer of that name."""
    from cairngym.envs.physics.camera import check_camera
    from cairngym.envs.physics.threads import ThreadsDriver

    view = check_camera(world.model, camera)
    if renderer == "opengl" or (renderer == "auto" and isinstance(world.driver, ThreadsDriver)):
        return lambda mask: draw_one_by_one(world, view, (width, height), markers, mask)
    from cairngym.envs.physics.warp_render import WarpRenderer

    tracer = WarpRenderer(world.driver, view, width, height)

    def draw(mask: torch.Tensor) -> torch.Tensor:
        del mask
        if not world.kinematics:
            tracer.refresh()
        return tracer.draw(world.markers() if markers else ())

    return draw


def draw_one_by_one(
    world: PhysicsWorld, camera: Camera | str, size: tuple[int, int], markers: bool, mask: torch.Tensor
) -> torch.Tensor:
    """Draw the masked worlds by OpenGL, uint8 `(N, height, width, 3)`; the others stay black."""
    width, height = size
    image = torch.zeros((world.num_envs, height, width, 3), dtype=torch.uint8, device=world.device)
    ids = mask.nonzero()[:, 0].tolist()
    if ids:
        frames = world.frames(ids, camera, width, height, world.markers() if markers else ())
        image[ids] = torch.from_numpy(np.stack(frames)).to(world.device)
    return image
