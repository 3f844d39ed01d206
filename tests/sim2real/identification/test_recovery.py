"""The bar: parameters of hidden robots within 5 %, from noisy encoders."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hidden_models import hidden, record, segment, waves

from cairngym.envs.manipulation.franka_reach_model import franka_reach_model
from cairngym.envs.navigation.differential_drive_model import MAX_WHEEL_SPEED, WHEELS, differential_drive_model
from cairngym.envs.stl.franka_model import HOME, JOINTS
from cairngym.sim2real.identification.fit import experiments, identify
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Armature, Damping, FrictionLoss, Gain, InertiaScale, Mass
from cairngym.sim2real.identification.plant import plant_of
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.signal_parameters import ActionDelay


def scale(kind, name, factor):
    def change(model):
        at = getattr(model, kind)(name).id
        {"body": lambda: (model.body_mass.__setitem__(at, model.body_mass[at] * factor),
                          model.body_inertia.__setitem__(at, model.body_inertia[at] * factor)),
         "actuator": lambda: (model.actuator_gainprm.__setitem__((at, 0), model.actuator_gainprm[at, 0] * factor),
                              model.actuator_biasprm.__setitem__((at, 1), model.actuator_biasprm[at, 1] * factor)),
         }[kind]()  # fmt: skip

    return change


def dof(field, joint, value):
    def change(model):
        getattr(model, field)[model.joint(joint).dofadr[0]] = value

    return change


def check(found, truth):
    for label, value in truth.items():
        one = found.estimate(label)
        assert one.identified, label
        assert one.value == pytest.approx(value, rel=0.05), label


@pytest.mark.slow
def test_the_franka_arm_is_recovered():
    model, dt, random = franka_reach_model(), 0.05, np.random.default_rng(0)
    plant = replace(plant_of(model, control_dt=dt), home=np.array(HOME))
    twin = hidden(model, (
        scale("body", "panda0_link4", 1.3), scale("body", "panda0_link7", 1.8),
        scale("actuator", "panda0_joint2", 1.25),
        dof("dof_damping", JOINTS[1], 14.0), dof("dof_damping", JOINTS[3], 7.0),
        dof("dof_frictionloss", JOINTS[3], 1.5), dof("dof_armature", JOINTS[5], 0.16),
    ))  # fmt: skip
    command = np.array(HOME) + waves(0, 60, dt, 7, 0.35)
    qpos, qvel = record(twin, command, dt=dt, delay_steps=3, home=HOME)
    log = segment(
        "arm",
        dt,
        command,
        qpos=qpos + random.normal(0, 2e-4, qpos.shape),
        qvel=qvel + random.normal(0, 5e-3, qvel.shape),
    )
    parameters = (
        Mass(names=("panda0_link4",), low=0.5, high=2.0, relative=True),
        Mass(names=("panda0_link7",), low=0.5, high=3.0, relative=True),
        Damping(names=(JOINTS[1],), low=0.3, high=3.0, relative=True),
        Damping(names=(JOINTS[3],), low=0.3, high=3.0, relative=True),
        Gain(names=("panda0_joint2",), low=0.5, high=2.0, relative=True),
        FrictionLoss(names=(JOINTS[3],), low=0.0, high=5.0),
        Armature(names=(JOINTS[5],), low=0.02, high=0.5),
        # Fixed to the floor: nothing that moves tells its mass.
        Mass(names=("panda0_link0",), low=0.5, high=2.0, relative=True),
        ActionDelay(low=0.0, high=0.05),
    )
    measurements = (
        Measurement(channel="qpos", quantity="qpos", noise=2e-4),
        Measurement(channel="qvel", quantity="qvel", noise=5e-3),
    )  # fmt: skip
    problem = Problem(model, parameters, experiments(plant, measurements, parameters, [log]))
    found = identify(problem, starts=1)
    bodies = {name: float(model.body(name).mass[0]) for name in ("panda0_link4", "panda0_link7")}
    check(found, {
        "mass panda0_link4": 1.3 * bodies["panda0_link4"], "mass panda0_link7": 1.8 * bodies["panda0_link7"],
        f"damping {JOINTS[1]}": 14.0, f"damping {JOINTS[3]}": 7.0, "gain panda0_joint2": 1.25 * 870.0,
        f"friction loss {JOINTS[3]}": 1.5, f"armature {JOINTS[5]}": 0.16, "action delay": 0.015,
    })  # fmt: skip
    assert [one.members for one in found.combinations] == [("mass panda0_link0",)]


@pytest.mark.slow
def test_the_differential_drive_is_recovered():
    model, dt, random = differential_drive_model(), 0.05, np.random.default_rng(0)
    rest = mujoco.MjData(model)
    mujoco.mj_step(model, rest, nstep=400)
    home = np.concatenate(([0.0, 0.0], rest.qpos[2:7], [0.0, 0.0]))
    plant = replace(plant_of(model, control_dt=dt), home=home)
    twin = hidden(model, (
        scale("body", "chassis", 1.3), lambda twin: twin.body_inertia.__setitem__(1, 1.4 * twin.body_inertia[1]),
        *(dof("dof_damping", wheel, 0.003) for wheel in WHEELS),
        *(dof("dof_frictionloss", wheel, 0.014) for wheel in WHEELS),
    ))  # fmt: skip
    logs = []
    for seed in range(2):
        command = waves(seed, 80, dt, 2, MAX_WHEEL_SPEED, low=0.5, high=4.0)
        qpos, qvel = record(twin, command, dt=dt, delay_steps=4, home=home)
        logs.append(segment(
            f"drive {seed}", dt, command, wheel_angle=qpos[:, 7:] + random.normal(0, 1e-3, (80, 2)),
            wheel_speed=qvel[:, 6:] + random.normal(0, 5e-3, (80, 2)),
        ))  # fmt: skip
    parameters = (
        Mass(names=("chassis",), low=0.5, high=2.0, relative=True),
        InertiaScale(names=("chassis",), low=0.3, high=3.0),
        Damping(names=WHEELS, low=0.0, high=0.008),
        FrictionLoss(names=WHEELS, low=0.0, high=0.03),
        ActionDelay(low=0.0, high=0.05),
    )
    measurements = (
        Measurement(channel="wheel_angle", quantity="qpos", names=WHEELS),
        Measurement(channel="wheel_speed", quantity="qvel", names=WHEELS),
    )
    problem = Problem(model, parameters, experiments(plant, measurements, parameters, logs))
    found = identify(problem, starts=1)
    check(found, {
        "mass chassis": 1.3 * 0.94, "inertia scale chassis": 1.4, "damping left_wheel+right_wheel": 0.003,
        "friction loss left_wheel+right_wheel": 0.014, "action delay": 0.02,
    })  # fmt: skip
