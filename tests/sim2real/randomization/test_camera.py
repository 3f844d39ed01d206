"""Cameras, lights and surfaces: what pictures show, what fields hold, and that the physics does not notice."""

import math

import mujoco
import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.driver import make_driver
from cairngym.envs.physics.opengl import make_context
from cairngym.envs.physics.render import OffscreenRenderer
from cairngym.sim2real.randomization.camera import Cameras, Lights, Materials
from cairngym.sim2real.randomization.events import CameraEvent, LightEvent, MaterialEvent
from cairngym.sim2real.randomization.parts import Draws, Lives, PhysicsContext

XML = """
<mujoco><option timestep="0.01"/>
 <visual><quality offsamples="0" shadowsize="0"/>
  <headlight ambient="0.3 0.3 0.3" diffuse="0 0 0" specular="0 0 0"/></visual>
 <asset>
  <texture name="red" type="2d" builtin="flat" rgb1="1 0 0" width="4" height="4"/>
  <texture name="blue" type="2d" builtin="flat" rgb1="0 0 1" width="4" height="4"/>
  <material name="brick" texture="red"/><material name="sky" texture="blue"/>
  <material name="plain" rgba="0.2 0.9 0.2 1" shininess="0.5" specular="0.4" reflectance="0.1"/>
 </asset>
 <worldbody>
  <camera name="top" pos="0 0 3" fovy="50"/><camera name="follow" mode="track" pos="0 0 3"/>
  <light name="lamp" pos="0 0 4" dir="0 0 -1" diffuse="0.5 0.5 0.5" ambient="0.1 0.1 0.1" directional="true"/>
  <geom name="left" type="box" size="0.3 0.3 0.1" pos="-0.8 0 0" material="brick"/>
  <geom name="right" type="box" size="0.3 0.3 0.1" pos="0.8 0 0" material="sky"/>
  <geom name="middle" type="box" size="0.3 0.3 0.1" pos="0 0.8 0" material="plain"/>
  <body pos="0 -0.6 0.5"><freejoint/><geom name="ball" size="0.2" rgba="0.6 0.6 0.1 1"/></body>
 </worldbody></mujoco>
"""
N = 3


def draws(count, seed=3, units=None):
    ids = torch.arange(N)
    unit = None if units is None else torch.tensor(units)
    return [Draws(index, lambda: Lives(seed, ids, unit)) for index in range(count)]


class Scene:
    """N worlds of the model under one kind of events."""

    def __init__(self, make=None, *events, units=None, **options):
        model = mujoco.MjModel.from_xml_string(XML)
        self.driver = make_driver(model, N, "cpu", threads=1)
        self.part = make and make(events, draws(len(events), units=units), PhysicsContext(self.driver, 1, 0.01))
        self.begin(torch.ones(N, dtype=torch.bool), 0)

    def begin(self, mask, number):
        if self.part:
            self.part.begin(mask, torch.full((N,), number))

    def frames(self, camera="top"):
        try:
            make_context(16, 16).free()
        except RuntimeError as error:
            pytest.skip(f"no OpenGL here: {error}")
        renderer = OffscreenRenderer(self.driver)
        try:
            return [frame.astype(int) for frame in renderer.frames(range(N), camera, 48, 48)]
        finally:
            renderer.close()

    def positions(self, steps=60):
        for _ in range(steps):
            self.driver.step(1)
        return self.driver.view("qpos").clone()


EVENTS = [
    (Cameras, CameraEvent(cameras=("top",), position=0.3, rotation=10.0, fovy=15.0)),
    (Lights, LightEvent(rotation=60.0, brightness=(0.2, 1.5))),
    (Materials, MaterialEvent(materials=("*",), geoms=("*",), color=0.4, shininess=0.3, textures=True)),
]


@pytest.mark.parametrize(("make", "event"), EVENTS)
def test_two_worlds_look_different_and_move_alike(make, event):
    plain, scene = Scene(), Scene(make, event)
    assert torch.equal(plain.positions(), scene.positions())
    flat, frames = plain.frames(), scene.frames()
    assert np.array_equal(flat[0], flat[1])
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(frames[one] - frames[other]).mean() > 1.0


@pytest.mark.parametrize(("make", "event"), EVENTS)
def test_looks_are_drawn_by_unit_or_by_episode(make, event):
    for mode in ("startup", "reset"):
        changed = type(event)(**{**vars(event), "mode": mode})
        scene = Scene(make, changed, units=(5, 5, 8))
        fields = {name: live.clone() for name, live in scene.part._live.items()}
        alike = all(torch.equal(value[0], value[1]) for value in fields.values())
        assert alike == (mode == "startup")
        assert not all(torch.equal(value[0], value[2]) for value in fields.values())
        scene.begin(torch.tensor([True, False, False]), 1)
        now = scene.part._live
        assert all(torch.equal(value[1:], now[name][1:]) for name, value in fields.items())
        same = all(torch.equal(value[0], now[name][0]) for name, value in fields.items())
        assert same == (mode == "startup")


def test_a_camera_stays_within_its_reach():
    scene = Scene(Cameras, CameraEvent(cameras=("top",), position=0.3, rotation=10.0, fovy=15.0, mode="reset"))
    offsets, angles, views = [], [], []
    for number in range(60):
        scene.begin(torch.ones(N, dtype=torch.bool), number)
        offsets.append(scene.driver.field("cam_pos")[:, 0] - torch.tensor([0.0, 0.0, 3.0]))
        quaternion = scene.driver.field("cam_quat")[:, 0]
        assert torch.allclose(quaternion.norm(dim=1), torch.ones(N, dtype=torch.float64))
        angles.append(2 * torch.acos(quaternion[:, 0].clamp(max=1.0)))
        views.append(scene.driver.field("cam_fovy")[:, 0] - 50.0)
    reach = torch.cat(offsets).abs().max()
    assert 0.28 < float(reach) <= 0.3
    assert 0.9 * math.radians(10.0) < float(torch.cat(angles).max()) <= math.radians(10.0) + 1e-6
    assert 14.0 < float(torch.cat(views).abs().max()) <= 15.0
    assert torch.equal(scene.driver.field("cam_pos")[:, 1], torch.tensor([[0.0, 0.0, 3.0]]).expand(N, 3).double())


def test_a_light_turns_and_dims():
    scene = Scene(Lights, LightEvent(lights=("lamp",), rotation=30.0, position=0.5, brightness=(0.4, 0.6)))
    direction = scene.driver.field("light_dir")[:, 0]
    assert torch.allclose(direction.norm(dim=1), torch.ones(N, dtype=torch.float64), atol=1e-6)
    assert float(direction[:, 2].max()) < -math.cos(math.radians(30.0)) + 1e-6
    factor = scene.driver.field("light_diffuse")[:, 0] / 0.5
    assert bool(((factor >= 0.4) & (factor <= 0.6)).all())
    assert bool((factor[:, :1] == factor).all())
    assert torch.allclose(scene.driver.field("light_ambient")[:, 0] / 0.1, factor, atol=1e-5)


def test_colours_stay_colours_and_opacity_stays():
    scene = Scene(Materials, MaterialEvent(materials=("plain",), geoms=("ball",), color=0.6, shininess=1.0))
    for name, index in (("mat_rgba", 2), ("geom_rgba", 3)):
        rgba = scene.driver.field(name)[:, index]
        assert bool(((rgba >= 0.0) & (rgba <= 1.0)).all())
        assert bool((rgba[:, 3] == 1.0).all())
        assert len(rgba.unique(dim=0)) > 1
    brick = scene.driver.field("mat_rgba")[:, 0]
    assert bool((brick == brick[0]).all())
    assert len(scene.driver.field("mat_shininess")[:, 2].unique()) == N


def middle(frame, column):
    """The mean colour of a patch in the middle row."""
    return frame[21:27, column - 2 : column + 3].mean((0, 1))


def test_exchanged_textures_show_with_the_colour_of_the_material_they_are_put_on():
    scene = Scene(Materials, MaterialEvent(materials=("brick", "sky"), color=0.0, textures=True))
    kinds = set()
    for number in range(8):
        scene.begin(torch.ones(N, dtype=torch.bool), number)
        kinds |= {tuple(row) for row in scene.driver.field("geom_matid")[:, :2].tolist()}
    assert kinds == {(0, 1), (1, 0)}
    own = scene.driver.field("geom_matid")[:, :2].tolist()
    columns = (14, 34)
    for frame, materials in zip(scene.frames(), own, strict=True):
        for column, material in zip(columns, materials, strict=True):
            colour = middle(frame, column)
            assert np.argmax(colour) == (0 if material == 0 else 2)
            assert colour.max() > 3 * np.median(colour)


def test_looks_of_a_material_follow_it_to_the_slot_of_its_new_texture():
    model = mujoco.MjModel.from_xml_string(XML)
    scene = Scene(Materials, MaterialEvent(materials=("brick", "sky"), color=0.5, textures=True))
    alone = Scene(Materials, MaterialEvent(materials=("brick", "sky"), color=0.5))
    slots = scene.driver.field("geom_matid").long()
    for geom in (0, 1):
        material = int(model.geom_matid[geom])
        shown = scene.driver.field("mat_rgba")[torch.arange(N), slots[:, geom]]
        assert torch.equal(shown[:, 3], torch.ones(N))
        assert len(shown.unique(dim=0)) == N
        assert material in (0, 1)
    colours = [scene.driver.field("mat_rgba")[:, :2].sort(dim=1).values, alone.driver.field("mat_rgba")[:, :2]]
    assert torch.allclose(colours[0].sum(1), colours[1].sum(1), atol=1e-6)


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'top'"):
        Scene(Cameras, CameraEvent(cameras=("topp",), position=0.1))
    with pytest.raises(ValueError, match="keeps a fixed offset"):
        Scene(Cameras, CameraEvent(cameras=("follow",), position=0.1))
    with pytest.raises(ValueError, match="has a material"):
        Scene(Materials, MaterialEvent(geoms=("left",)))
    with pytest.raises(ValueError, match="at most one event"):
        Scene(Lights, LightEvent(lights=("lamp",)), LightEvent(lights=("*",)))
