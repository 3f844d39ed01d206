"""Logs of hidden models, recorded here by plain MuJoCo: an oracle that shares no code with the package."""

import copy

import mujoco
import numpy as np

from cairngym.sim2real.identification.segments import Segment


def hidden(model, changes):
    """A copy of a model with fields changed by a function each, constants renewed."""
    twin = copy.copy(model)
    for change in changes:
        change(twin)
    mujoco.mj_setConst(twin, mujoco.MjData(twin))
    return twin


def record(model, control, *, dt, delay_steps=0, home=None):
    """qpos and qvel at every row of controls `(T, nu)`, which reach the actuators `delay_steps` physics steps late."""
    data = mujoco.MjData(model)
    if home is not None:
        data.qpos[:] = home
    substeps, queue = round(dt / model.opt.timestep), [control[0]] * delay_steps
    rows = []
    for row in control:
        rows.append((data.qpos.copy(), data.qvel.copy()))
        for _ in range(substeps):
            queue.append(row)
            data.ctrl[:] = queue.pop(0)
            mujoco.mj_step(model, data)
    return tuple(np.array(part) for part in zip(*rows, strict=True))


def segment(name, dt, command, **sensors):
    return Segment(name=name, time_s=dt * np.arange(len(command)), command=command, sensors=sensors)


PENDULUM = """
<mujoco><option timestep="0.005" integrator="implicitfast"/>
<worldbody><body name="rod"><joint name="hinge" axis="0 1 0" damping="0.05" armature="0.01"/>
<geom type="capsule" fromto="0 0 0 0 0 -0.4" size="0.02" mass="0.4"/>
<body name="bob" pos="0 0 -0.4"><geom name="bob" type="sphere" size="0.03" mass="0.3"/></body>
<body name="lid" pos="0 0 -0.4"><geom type="sphere" size="0.03" mass="0.3"/></body></body>
<body name="still" pos="1 0 0"><joint name="idle" axis="0 0 1" damping="0.1"/>
<geom type="sphere" size="0.1" mass="1"/></body>
</worldbody>
<actuator><motor name="hinge" joint="hinge" ctrlrange="-2 2"/></actuator>
<sensor><jointpos name="angle" joint="hinge"/><jointvel name="rate" joint="hinge"/></sensor></mujoco>
"""


def waves(seed, rows, dt, size, amplitude, low=0.3, high=2.0):
    random, time = np.random.default_rng(seed), dt * np.arange(rows)
    rate = 2 * np.pi * random.uniform(low, high, (4, size))
    weights, phase = random.uniform(0.3, 1.0, (4, size)), random.uniform(0, 6.3, (4, size))
    sums = sum(weights[k] * np.sin(time[:, None] * rate[k] + phase[k]) for k in range(4)) / weights.sum(axis=0)
    return amplitude * np.minimum(1.0, time / 0.3)[:, None] * sums
