"""What pictures look like: where cameras hang, how lights shine, what surfaces look like. The physics is as it was.

The OpenGL renderer draws all of it. The ray tracer of the driver "warp" has one field of view for all worlds and no
reflectance; the rest it draws, too.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.world import put
from cairngym.sim2real.randomization.elements import label, select
from cairngym.sim2real.randomization.events import CameraEvent, LightEvent, MaterialEvent
from cairngym.sim2real.randomization.fields import nominal
from cairngym.sim2real.randomization.parts import Draws, PhysicsContext, PhysicsPart
from cairngym.sim2real.randomization.rotations import from_vector, product, rotated

TRACKING = (int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM))
GLOSS = ("mat_shininess", "mat_specular", "mat_reflectance")
FOVY_RANGE = (1.0, 179.0)
"""Degrees."""


class _Scenery(PhysicsPart):
    """Writes fields of the model that only pictures show, where episodes begin.

    Args:
        events: the events, in order; no two may change the same element.
        draws: of each.
        context: whose driver.
    """

    def __init__(self, events: Sequence[Any], draws: Sequence[Draws], context: PhysicsContext) -> None:
        self.driver, self.model = context.driver, context.driver.model
        self._events = list(zip(events, draws, strict=True))
        self._live: dict[str, torch.Tensor] = {}
        self._own: dict[str, torch.Tensor] = {}

    def _take(self, *names: str) -> None:
        """Have fields kept for each world."""
        for name in names:
            self._live[name] = self.driver.field(name)
            self._own[name] = nominal(self.model, name).to(self.driver.device)

    def begin(self, mask: torch.Tensor, number: torch.Tensor) -> None:
        """Draw what holds in the new episodes, and write it."""
        for place, (event, draws) in enumerate(self._events):
            count = self._count(place)
            draw = draws.startup(count) if event.mode == "startup" else draws.reset(number, count)
            self._write(place, mask, draw.double())

    @abstractmethod
    def _count(self, place: int) -> int:
        """How many numbers an event draws for each world."""

    @abstractmethod
    def _write(self, place: int, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Write an event by numbers `(N, count)` in [0, 1) into the masked worlds."""

    def _put(self, name: str, ids: torch.Tensor, mask: torch.Tensor, values: torch.Tensor) -> None:
        """Write values `(N, K, …)` of K elements."""
        live = self._live[name]
        chosen = live[:, ids]
        put(mask, chosen, values)
        live[:, ids] = chosen

    def get_state(self) -> dict[str, Any]:
        """Nothing: the driver keeps the fields."""
        return {}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Nothing to return to."""


class Cameras(_Scenery):
    """Moves and turns cameras of the model, and changes their field of view.

    A camera that is no part of the model (one given to the wrapper "pixels" as numbers) stays where it is.

    Raises:
        UnknownNameError: no such camera.
        ValueError: a camera that follows something in its own way, or is in two events.
    """

    def __init__(self, events: Sequence[CameraEvent], draws: Sequence[Draws], context: PhysicsContext) -> None:
        super().__init__(events, draws, context)
        self._ids = _select(self.model, "camera", [event.cameras for event in events], context)
        self._take("cam_pos", "cam_quat", *(["cam_fovy"] if any(event.fovy for event in events) else []))

    def _count(self, place: int) -> int:
        return 7 * len(self._ids[place])

    def _write(self, place: int, mask: torch.Tensor, draw: torch.Tensor) -> None:
        event, ids = self._events[place][0], self._ids[place]
        u = draw.view(len(draw), len(ids), 7)
        position, quaternion = self._own["cam_pos"][ids], self._own["cam_quat"][ids]
        self._put("cam_pos", ids, mask, position + event.position * (2.0 * u[..., :3] - 1.0))
        turn = from_vector(_random_turn(u[..., 3:6], event.rotation))
        self._put("cam_quat", ids, mask, product(quaternion.expand_as(turn), turn))
        if "cam_fovy" in self._live:
            fovy = self._own["cam_fovy"][ids] + event.fovy * (2.0 * u[..., 6] - 1.0)
            self._put("cam_fovy", ids, mask, fovy.clamp(*FOVY_RANGE))


class Lights(_Scenery):
    """Moves and turns lights of the model, and makes them brighter or darker; the headlight stays as it is.

    Raises:
        UnknownNameError: no such light.
        ValueError: a light that follows something in its own way, or is in two events.
    """

    def __init__(self, events: Sequence[LightEvent], draws: Sequence[Draws], context: PhysicsContext) -> None:
        super().__init__(events, draws, context)
        self._ids = _select(self.model, "light", [event.lights for event in events], context)
        bright = any(event.brightness != (1.0, 1.0) for event in events)
        self._take("light_pos", "light_dir", *(["light_diffuse", "light_ambient"] if bright else []))

    def _count(self, place: int) -> int:
        return 7 * len(self._ids[place])

    def _write(self, place: int, mask: torch.Tensor, draw: torch.Tensor) -> None:
        event, ids = self._events[place][0], self._ids[place]
        u = draw.view(len(draw), len(ids), 7)
        position, direction = self._own["light_pos"][ids], self._own["light_dir"][ids].double()
        self._put("light_pos", ids, mask, position + event.position * (2.0 * u[..., :3] - 1.0))
        turn = from_vector(_random_turn(u[..., 3:6], event.rotation))
        self._put("light_dir", ids, mask, rotated(turn, direction.expand(*turn.shape[:-1], 3)))
        low, high = event.brightness
        for name in ("light_diffuse", "light_ambient"):
            if name in self._live:
                factor = (low + (high - low) * u[..., 6:]).to(self._own[name].dtype)
                self._put(name, ids, mask, self._own[name][ids] * factor)


class Materials(_Scenery):
    """Changes colours of materials and of geoms without one, gloss, and which texture a material has.

    Textures are exchanged as permutations among the materials of an event that have one.

    Raises:
        UnknownNameError: no such material or geom.
        ValueError: an element in two events, or a geom named in full whose colour is its material's.
    """

    def __init__(self, events: Sequence[MaterialEvent], draws: Sequence[Draws], context: PhysicsContext) -> None:
        super().__init__(events, draws, context)
        self._materials = _select(self.model, "material", [event.materials for event in events], context)
        self._geoms = _select(self.model, "geom", [event.geoms for event in events], context)
        self._textured = [self._exchanging(event, ids) for event, ids in zip(events, self._materials, strict=True)]
        self._take(*(["mat_rgba"] if any(map(len, self._materials)) else []))
        self._take(*(["geom_rgba"] if any(map(len, self._geoms)) else []))
        if any(event.shininess for event in events):
            self._take(*(name for name in GLOSS if self._kept_by_driver(name)))
        self._take(*(["geom_matid"] if any(map(len, self._textured)) else []))

    def _kept_by_driver(self, name: str) -> bool:
        """Whether worlds can differ in a field; the driver "warp" has no reflectance, nor does its ray tracer."""
        try:
            self.driver.field(name)
        except UnknownNameError:
            return False
        return True

    def _exchanging(self, event: MaterialEvent, ids: torch.Tensor) -> torch.Tensor:
        """Places among `ids` of the materials that exchange textures."""
        if not event.textures:
            return ids[:0]
        has = torch.as_tensor((self.model.mat_texid >= 0).any(axis=1), device=ids.device)
        return has[ids].nonzero()[:, 0]

    def _count(self, place: int) -> int:
        materials, geoms, textured = len(self._materials[place]), len(self._geoms[place]), len(self._textured[place])
        return 6 * materials + 3 * geoms + textured

    def _write(self, place: int, mask: torch.Tensor, draw: torch.Tensor) -> None:
        event, ids, geoms = self._events[place][0], self._materials[place], self._geoms[place]
        colors, gloss, own, order = draw.split(
            (3 * len(ids), 3 * len(ids), 3 * len(geoms), len(self._textured[place])), 1
        )
        if len(geoms):
            self._put("geom_rgba", geoms, mask, self._color("geom_rgba", geoms, own, event.color))
        if not len(ids):
            return
        places = self._exchange(place, mask, order)
        values = {"mat_rgba": self._color("mat_rgba", ids, colors, event.color)}
        for name, u in zip(GLOSS, gloss.view(len(draw), 3, len(ids)).unbind(1), strict=True):
            if name in self._live:
                values[name] = (self._own[name][ids] + event.shininess * (2.0 * u - 1.0)).clamp(0.0, 1.0)
        for name, value in values.items():
            index = places.view(*places.shape, *(1,) * (value.ndim - 2)).expand_as(value)
            self._put(name, ids, mask, torch.gather(value, 1, index))

    def _color(self, name: str, ids: torch.Tensor, draw: torch.Tensor, reach: float) -> torch.Tensor:
        """Colours `(N, K, 4)`; opacity stays."""
        own = self._own[name][ids].double()
        moved = own[:, :3] + reach * (2.0 * draw.view(len(draw), len(ids), 3) - 1.0)
        return torch.cat((moved.clamp(0.0, 1.0), own[:, 3:].expand(len(draw), -1, -1)), dim=-1)

    def _exchange(self, place: int, mask: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """Have geoms take other materials' textures; returns `(N, K)`, whose looks each material's slot must hold.

        Textures hang on a material's slot in the renderer. So geoms move to the slot that has the texture, and the
        looks of their own material are put there.
        """
        ids, textured = self._materials[place], self._textured[place]
        places = torch.arange(len(ids), device=ids.device).repeat(len(order), 1)
        if not len(textured):
            return places
        permuted = order.argsort(dim=1, stable=True)  # slot of place textured[i]: textured[permuted[:, i]]
        slots = torch.arange(self.model.nmat, device=ids.device).repeat(len(order), 1)
        slots[:, ids[textured]] = ids[textured][permuted]
        own = self._own["geom_matid"].long()
        of_event = torch.isin(own, ids[textured])
        taken = slots[:, own[of_event]]
        self._put("geom_matid", of_event.nonzero()[:, 0], mask, taken)
        places[:, textured] = textured[permuted.argsort(dim=1)]
        return places


def _random_turn(u: torch.Tensor, degrees: float) -> torch.Tensor:
    """Rotation vectors `(..., 3)`: any axis alike, angles uniform up to a greatest one."""
    height = 2.0 * u[..., 0] - 1.0
    around, angle = 2.0 * math.pi * u[..., 1], math.radians(degrees) * u[..., 2]
    radius = (1.0 - height * height).sqrt()
    axis = torch.stack((radius * torch.cos(around), radius * torch.sin(around), height), dim=-1)
    return angle.unsqueeze(-1) * axis


def _select(
    model: mujoco.MjModel, element: str, names: Sequence[tuple[str, ...]], context: PhysicsContext
) -> list[torch.Tensor]:
    """Ids of the elements of each event."""
    chosen = []
    for patterns in names:
        ids = select(model, element, patterns) if patterns else {}
        chosen.append([index for index, named in ids.items() if _shown(model, element, index, named)])
    flat = [index for ids in chosen for index in ids]
    for index in flat:
        if flat.count(index) > 1:
            raise ValueError(f"Expected {label(model, element, index)} in at most one event, got it in several.")
    return [torch.tensor(ids, dtype=torch.int64, device=context.driver.device) for ids in chosen]


def _shown(model: mujoco.MjModel, element: str, index: int, named: bool) -> bool:
    """Whether an element shows what is written; one named in full must."""
    if element == "geom":
        shown, why = int(model.geom_matid[index]) < 0, "has a material, whose colour it shows; name that one"
    elif element in ("camera", "light"):
        modes = model.cam_mode if element == "camera" else model.light_mode
        shown, why = int(modes[index]) not in TRACKING, "keeps a fixed offset from a body, whatever its own pose"
    else:
        return True
    if named and not shown:
        raise ValueError(f"Expected one that shows its own values, got {label(model, element, index)}, which {why}.")
    return shown
