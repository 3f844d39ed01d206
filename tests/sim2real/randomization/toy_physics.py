"""Small MuJoCo models as envs, whose motion has a closed form."""

import mujoco
import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, Task, TensorEnv
from cairngym.envs.physics.world import PhysicsWorld, put
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.wrapper import Randomization

FALLING = """<mujoco><option timestep="0.002"/><worldbody>
<body name="ball" pos="0 0 100"><freejoint name="free"/>
<geom name="ball" type="sphere" size="0.1" density="500"/></body>
</worldbody></mujoco>"""
SPRING = """<mujoco><option timestep="0.001" gravity="0 0 0" integrator="RK4"/><worldbody>
<body name="cart"><joint name="slide" type="slide" axis="1 0 0" stiffness="40"/>
<geom name="cart" type="box" size="0.1 0.1 0.1" mass="2"/></body>
</worldbody><actuator>
<motor name="motor" joint="slide" gear="5" ctrlrange="-1 1" ctrllimited="true"/></actuator></mujoco>"""
SLIDER = """<mujoco><option timestep="0.002" cone="elliptic" impratio="100"/><worldbody>
<geom name="floor" type="plane" size="50 50 1" friction="0.2"/>
<body name="block" pos="0 0 0.1"><freejoint name="free"/>
<geom name="block" type="box" size="0.1 0.1 0.1" mass="1" friction="0.2"/></body>
</worldbody></mujoco>"""
ARM = """<mujoco><option timestep="0.002"/><worldbody>
<body name="upper" pos="0 0 1"><joint name="shoulder" axis="0 1 0" damping="0.1" armature="0.01" frictionloss="0.01"/>
<geom name="upper" type="capsule" fromto="0 0 0 0.4 0 0" size="0.04" density="{upper}"/>
<body name="lower" pos="0.4 0 0"><joint name="elbow" axis="0 0 1" damping="0.1"/>
<geom name="lower" type="box" pos="0.15 0 0" size="0.15 0.03 0.02" density="{lower}"/></body></body>
</worldbody><actuator>
<position name="servo" joint="shoulder" kp="30" kv="2"/><velocity name="speed" joint="elbow" kv="3"/>
</actuator></mujoco>"""


def arm(upper=1000, lower=800):
    return ARM.format(upper=upper, lower=lower)


class ToyWorld(PhysicsWorld):
    """Any model; actions are its controls. `start` sets joint positions and velocities."""

    def __init__(self, model, num_envs, substeps, start, driver=None):
        spec = {
            name: StateField(shape=(size,), unit="1", description="MuJoCo's.", dtype=torch.float64)
            for name, size in (("qpos", model.nq), ("qvel", model.nv))
        }
        super().__init__(
            model, num_envs, "cpu", substeps=substeps, action_size=max(model.nu, 1), state_spec=spec,
            dtype=torch.float64, driver=driver or {},
        )  # fmt: skip
        self.start_values = start or {}
        self._qpos, self._qvel = self.driver.view("qpos"), self.driver.view("qvel")
        self._ctrl = self.driver.view("ctrl")

    def place(self, mask, draw):
        for name, values in self.start_values.items():
            view = self.driver.view(name)
            put(mask, view, torch.as_tensor(values).to(view.dtype).expand_as(view))

    def control(self, action):
        self._ctrl.copy_(action[:, : self._ctrl.shape[1]])

    def measure(self):
        return {"qpos": self._qpos, "qvel": self._qvel}

    def adopt(self, world, reference):
        del world, reference


class ToyTask(Task):
    """Watch; nothing is ever reached."""

    horizon = 10_000

    def __init__(self, size):
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float64)

    def observe(self, state):
        return torch.cat((state["qpos"], state["qvel"]), dim=-1)

    def success(self, state):
        return torch.zeros(len(state["qpos"]), dtype=torch.bool)


def make_toy(xml, *, num_envs=2, substeps=4, start=None, seed=0, driver=None, **options):
    model = xml if isinstance(xml, mujoco.MjModel) else mujoco.MjModel.from_xml_string(xml)
    world = ToyWorld(model, num_envs, substeps, start, driver)
    return TensorEnv(world, ToyTask(model.nq + model.nv), seed=seed, **options)


def randomized(env, *events, **options):
    return Randomization(env, config=RandomizationConfig(events=events), **options)


def run(env, steps, action=None):
    """States after each step, `(steps, N, …)` by field; `action(t)` gives `(N, A)`, zeros by default."""
    shape = (env.num_envs, *env.single_action_space.shape)
    states = []
    for t in range(steps):
        env.step(torch.zeros(shape) if action is None else action(t))
        states.append({name: value.clone() for name, value in dict(env.state).items()})
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}
