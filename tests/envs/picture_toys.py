"""A MuJoCo world that is seen in pictures: a red ball pushed along x and y, and a goal on the plane."""

import mujoco
import numpy as np
import pytest
import torch

from cairngym.envs.core import StateField, TensorEnv
from cairngym.envs.goals import GoalTask
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.opengl import make_context
from cairngym.envs.physics.world import PhysicsWorld, between, put

XML = """
<mujoco>
  <option timestep="0.02" gravity="0 0 0"/>
  <visual><quality offsamples="0" shadowsize="0"/><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>
  <worldbody>
    <camera name="side" pos="0 -3 0" xyaxes="1 0 0 0 0 1"/>
    <site name="stale" pos="0.5 0.5 0" size="0.2" rgba="0 1 0 1"/>
    <body>
      <joint name="x" type="slide" axis="1 0 0" damping="1"/>
      <joint name="y" type="slide" axis="0 1 0" damping="1"/>
      <geom name="ball" type="sphere" size="0.1" rgba="1 0 0 1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" gear="20"/><motor joint="y" gear="20"/></actuator>
</mujoco>
"""


class BallWorld(PhysicsWorld):
    """Measures where the ball is, from its joints or, with kinematics, from its body."""

    camera = Camera(lookat=(0.0, 0.0, 0.0), distance=3.0, azimuth=90.0, elevation=-90.0)
    render_size = (64, 48)
    hidden_sites = ("stale",)
    num_draws = 4
    goal_radius = 0.1

    def __init__(self, num_envs=1, device="cpu", *, kinematics=True, xml=XML, **driver):
        self.kinematics = kinematics
        field = StateField(shape=(2,), unit="m", description="A place on the plane.")
        super().__init__(
            mujoco.MjModel.from_xml_string(xml), num_envs, device, substeps=2, action_size=2,
            state_spec={"ball": field, "goal": field}, driver=driver,
        )  # fmt: skip
        self.variables["goal"] = torch.zeros(num_envs, 2, dtype=self.driver.dtype, device=self.device)
        self._qpos, self._ctrl, self._xpos = (self.driver.view(name) for name in ("qpos", "ctrl", "xpos"))

    def place(self, mask, draw):
        put(mask, self._qpos, between(draw[:, :2], -0.8, 0.8))
        put(mask, self.variables["goal"], between(draw[:, 2:], -0.8, 0.8))

    def control(self, action):
        self._ctrl[:] = action

    def measure(self):
        ball = self._xpos[:, 1, :2] if self.kinematics else self._qpos
        return {"ball": ball, "goal": self.variables["goal"]}

    def adopt(self, world, reference):
        raise TypeError("No reference env has a ball like this.")


class MovingGoalWorld(BallWorld):
    """Its goal moves after every step, which only the next observation may show."""

    def settle(self, success, episodes):
        self.variables["goal"].add_(0.05)
        self._measured = None


class BallTask(GoalTask):
    """Bring the ball to the goal."""

    def __init__(self):
        super().__init__(
            observation_size=2, goal_size=2, threshold=0.1, horizon=12, reward_range=(0.0, 1.0),
            terminate_on_success=True,
        )  # fmt: skip

    def features(self, state):
        return state["ball"]

    def achieved_goal(self, state):
        return state["ball"]


def make_ball(num_envs=1, device="cpu", seed=0, *, world=None, kinematics=True, **options):
    return TensorEnv(world or BallWorld(num_envs, device, kinematics=kinematics), BallTask(), seed=seed, **options)


def needs_opengl():
    """Skip where nothing can draw."""
    try:
        make_context(16, 16).free()
    except RuntimeError as error:
        pytest.skip(f"no OpenGL here: {error}")


def spot(image, channel=0):
    """The centre (x, y) in pixels of what is bright in one channel alone."""
    image = np.asarray(image).astype(int)
    others = np.delete(image, channel, axis=-1).max(-1)
    y, x = np.nonzero((image[..., channel] > 60) & (others < image[..., channel] // 2))
    assert len(x), "nothing of that colour"
    return np.array((x.mean() + 0.5, y.mean() + 0.5))


def projected(camera, point, width, height, fovy=45.0):
    """Where a pinhole camera shows a point, in pixels."""
    position, axes = camera.pose()
    right, up, back = axes.T @ (np.asarray(point) - position)
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(fovy))
    return np.array((0.5 * width - focal * right / back, 0.5 * height + focal * up / back))
