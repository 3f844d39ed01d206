"""Pictures against pinhole geometry and against mujoco.Renderer, and what happens where nothing can draw."""

import os
import subprocess
import sys
import threading

import mujoco
import numpy as np
import pytest
import torch
from picture_toys import XML, BallWorld, make_ball, needs_opengl, projected, spot

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics import opengl
from cairngym.envs.physics.camera import Camera, Marker, check_camera, default_camera
from cairngym.envs.physics.render import OffscreenRenderer

ASLANT = Camera(lookat=(0.1, -0.2, 0.05), distance=2.5, azimuth=130.0, elevation=-35.0)


@pytest.fixture
def world():
    needs_opengl()
    world = BallWorld(3)
    yield world
    world.close()


def move(world, positions):
    world.driver.view("qpos").copy_(torch.tensor(positions))
    world.driver.forward()


@pytest.mark.parametrize("camera", [BallWorld.camera, ASLANT])
def test_the_ball_is_where_a_pinhole_camera_shows_it(world, camera):
    places = [(0.0, 0.0), (0.6, -0.3), (-0.5, 0.4)]
    move(world, places)
    for image, place in zip(world.frames(range(3), camera, 128, 96), places, strict=True):
        assert image.shape == (96, 128, 3)
        assert image.dtype == np.uint8
        assert spot(image) == pytest.approx(projected(camera, (*place, 0.0), 128, 96), abs=0.7)


@pytest.mark.parametrize("camera", [BallWorld.camera, ASLANT, default_camera(mujoco.MjModel.from_xml_string(XML))])
def test_pose_is_mujocos(camera):
    model = mujoco.MjModel.from_xml_string(XML)
    view, scene = mujoco.MjvCamera(), mujoco.MjvScene(model, maxgeom=100)
    view.lookat[:], view.distance = camera.lookat, camera.distance
    view.azimuth, view.elevation = camera.azimuth, camera.elevation
    mujoco.mjv_updateScene(model, mujoco.MjData(model), mujoco.MjvOption(), None, view, 7, scene)
    left, right = scene.camera
    position, axes = camera.pose()
    assert position == pytest.approx((left.pos + right.pos) / 2, abs=1e-6)
    assert -axes[:, 2] == pytest.approx(left.forward, abs=1e-6)
    assert axes[:, 1] == pytest.approx(left.up, abs=1e-6)
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)


REFERENCE = """
import mujoco, sys
from picture_toys import XML
model = mujoco.MjModel.from_xml_string(XML)
data = mujoco.MjData(model)
data.qpos[:] = 0.6, -0.3
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 48, 64) as renderer:
    renderer.update_scene(data, "side")
    sys.stdout.buffer.write(renderer.render().tobytes())
"""


def test_frames_equal_mujocos_renderer():
    needs_opengl()
    world = BallWorld(1)
    world.hidden_sites = ()
    move(world, [(0.6, -0.3)])
    folder = os.path.dirname(os.path.dirname(__file__))
    settings = {**os.environ, "MUJOCO_GL": opengl.choose_backend(), "PYTHONPATH": os.pathsep.join((folder, *sys.path))}
    done = subprocess.run([sys.executable, "-c", REFERENCE], capture_output=True, check=False, env=settings)
    reference = np.frombuffer(done.stdout, np.uint8).reshape(48, 64, 3)
    assert reference.max() > 100
    assert np.array_equal(world.frames([0], "side", 64, 48)[0], reference)
    world.close()


def test_sizes_may_differ_and_exceed_the_models_buffer(world):
    for size in ((64, 48), (900, 700), (32, 32)):
        image = world.frames([1], world.camera, *size)[0]
        assert image.shape == (size[1], size[0], 3)
        assert spot(image) == pytest.approx(np.array(size) / 2, abs=max(size) / 40)


def test_hidden_sites_are_left_out_and_others_are_not(world):
    green = (world.frames([0], world.camera, 64, 48)[0][..., 1] > 100).sum()
    assert green == 0
    shown = OffscreenRenderer(world.driver).frames([0], world.camera, 64, 48)[0]
    assert spot(shown, channel=1) == pytest.approx(projected(world.camera, (0.5, 0.5, 0.0), 64, 48), abs=0.7)


def test_markers_stand_in_their_own_world(world):
    positions = torch.tensor([(0.0, 0.5, 0.0), (0.5, 0.0, 0.2), (-0.5, 0.0, 0.0)])
    blue = Marker(position=positions, radius=0.1, rgba=(0.0, 0.0, 1.0, 0.8))
    for image, place in zip(world.frames(range(3), world.camera, 128, 96, [blue]), positions.tolist(), strict=True):
        assert spot(image, channel=2) == pytest.approx(projected(world.camera, place, 128, 96), abs=0.7)


def test_render_marks_the_goal():
    needs_opengl()
    env = make_ball(4)
    assert env.metadata["render_modes"] == ["rgb_array"]
    env.reset(seed=0)
    move(env.world, [(2.0, 2.0)] * 4)  # out of sight
    env.world.aim(render_size=(128, 96))
    for image, goal in zip(env.render([3, 1]), env.state["goal"][[3, 1]].tolist(), strict=True):
        assert spot(image) == pytest.approx(projected(env.world.camera, (*goal, 0.0), 128, 96), abs=0.7)
    assert len(env.render()) == 4
    env.close()


def test_fields_of_one_world_are_drawn_in_it(world):
    world.driver.field("geom_rgba")[1] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    red, blue, _ = world.frames(range(3), world.camera, 64, 48)
    assert red[24, 32].tolist() == [255, 0, 0]
    assert blue[24, 32].tolist() == [0, 0, 255]


def test_drawing_changes_nothing_and_repeats_itself(world):
    move(world, [(0.1, 0.2), (0.3, 0.4), (-0.1, -0.2)])
    state = world.driver.get_state()["state"]
    first = world.frames(range(3), ASLANT, 64, 48)
    assert torch.equal(state, world.driver.get_state()["state"])
    world.close()  # and the next picture is drawn in a new context
    again = world.frames([2, 0], ASLANT, 64, 48)
    assert np.array_equal(first[2], again[0])
    assert np.array_equal(first[0], again[1])
    assert world.frames([], ASLANT, 64, 48) == ()


def test_bad_requests(world):
    with pytest.raises(IndexError, match="from 0 to 2, got 3"):
        world.frames([3], None, 64, 48)
    with pytest.raises(UnknownNameError, match="Did you mean 'side'"):
        world.frames([0], "sid", 64, 48)
    with pytest.raises(ValueError, match="1 to 4096 pixels"):
        world.frames([0], None, 0, 48)
    with pytest.raises(ValueError, match="1 to 4096 pixels"):
        world.aim(render_size=(5000, 10))
    with pytest.raises(ValueError, match="distance above zero"):
        check_camera(world.model, Camera(lookat=(0.0, 0.0, 0.0), distance=0.0))
    with pytest.raises(TypeError, match="Expected a Camera"):
        world.aim(3)
    with pytest.raises(UnknownNameError, match="Did you mean 'stale'"):
        OffscreenRenderer(world.driver, ["stal"])


def test_another_thread_is_refused(world):
    world.frames([0], None, 8, 8)
    caught = []

    def draw():
        try:
            world.frames([0], None, 8, 8)
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert "thread" in caught[0]


# Backends -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """A Linux machine with nothing on it: `machine(egl=…, libraries=…, **variables)`."""

    def pretend(*, egl=False, libraries=(), **variables):
        for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(opengl, "egl_works", lambda: egl)
        monkeypatch.setattr(opengl.ctypes.util, "find_library", lambda name: name if name in libraries else None)

    return pretend


@pytest.mark.parametrize(
    ("settings", "backend"),
    [
        ({"egl": True, "libraries": ("OSMesa",)}, "egl"),
        ({"libraries": ("OSMesa",)}, "osmesa"),
        ({"egl": True, "MUJOCO_GL": "OSMesa"}, "osmesa"),
        ({"egl": True, "MUJOCO_GL": "glfw"}, "glfw"),
        ({"MUJOCO_GL": "egl"}, "egl"),
        ({"egl": True, "MUJOCO_GL": "glx"}, "default"),
        ({"egl": True, "PYOPENGL_PLATFORM": "osmesa"}, "osmesa"),
    ],
)
def test_choice_of_backend(machine, settings, backend):
    machine(**settings)
    assert opengl.choose_backend() == backend


def test_without_opengl_the_error_names_the_packages(machine):
    machine()
    with pytest.raises(RuntimeError, match=r"libegl1.*libosmesa6.*MUJOCO_GL"):
        BallWorld(1).render([0])
    machine(egl=True, MUJOCO_GL="off")
    with pytest.raises(RuntimeError, match="MUJOCO_GL=off disables drawing"):
        BallWorld(1).render([0])


def test_a_backend_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    with pytest.raises(RuntimeError, match=r"backend 'egl' can't draw here: .*libegl1"):
        opengl.make_context(8, 8)


PROCESS = """
from picture_toys import BallWorld
image = BallWorld(1).render([0])[0]
assert image[24, 32].tolist()[0] > 200, image[24, 32]
"""


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_a_process_draws_and_ends_in_silence(backend):
    if not (opengl.egl_works() if backend == "egl" else opengl.ctypes.util.find_library("OSMesa")):
        pytest.skip(f"no {backend} here")
    folder = os.path.dirname(os.path.dirname(__file__))
    settings = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    settings |= {"MUJOCO_GL": backend, "PYTHONPATH": os.pathsep.join((folder, *sys.path))}
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=False, env=settings)
    assert (done.returncode, done.stderr) == (0, "")
