"""The Franka arm with position servos, as reaching tasks drive it."""

from __future__ import annotations

import copy
import functools

import mujoco
import numpy as np

from cairngym.envs.physics.models import package_file, require
from cairngym.envs.stl.franka_model import END_EFFECTOR, FLOOR_COLLISIONS, JOINTS, KITCHEN, leave_the_arm

ACTUATORS = tuple(name.removeprefix("robot:") for name in JOINTS)
LINKS = tuple(f"panda0_link{k}" for k in range(1, 8))
JOINT_DAMPING = (10.0,) * 4 + (1.0,) * 3
"""N m s."""
SERVO_DAMPING = (30.0,) * 4 + (3.6,) * 3
"""Torque of the servos against each rad/s of their joints, N m s."""
ARMATURE = 0.1
"""Inertia of the motors behind their gears, kg m^2, as in MuJoCo Menagerie's model of the arm."""
TIMESTEP = 0.005
"""Seconds of a physics step."""
LEAD = 0.05
"""How far the servos' targets are ahead of the joints at an action of one, rad."""


def franka_reach_spec() -> mujoco.MjSpec:
    """The arm and its closed gripper, standing at the origin and facing along x.

    Masses, stiffness (870 N m/rad, in the wrist 120) and torque limits (87 N m, in the wrist 12) are those of
    Gymnasium-Robotics' kitchen. There the joints are damped by 100 N m s, in the wrist by 10, so that inertia hardly
    shows; here servo and joint share 40 and 4.6, with which a target `LEAD` ahead that moves along turns the joint at
    half of the speed that the arm's data sheet allows. The arm carries its own weight, as the real one does, and
    touches nothing but the floor.

    Raises:
        ImportError: Gymnasium-Robotics is not installed.
    """
    spec = mujoco.MjSpec.from_file(str(package_file(*KITCHEN)))
    leave_the_arm(spec)
    _drive(spec)
    _measure(spec)
    for geom in spec.geoms:
        if geom.contype:
            floor = geom.parent.name == "world"
            geom.contype, geom.conaffinity = (FLOOR_COLLISIONS, 0) if floor else (0, FLOOR_COLLISIONS)
    for body in spec.bodies:
        body.gravcomp = 1.0
    spec.option.timestep, spec.option.integrator = TIMESTEP, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    return spec


def franka_reach_model() -> mujoco.MjModel:
    """Compile `franka_reach_spec`.

    Raises:
        ImportError: Gymnasium-Robotics is not installed.
        ValueError: its model lacks a joint or a body that is driven or measured.
    """
    return copy.copy(_compiled())


@functools.cache  # half a second, for the meshes
def _compiled() -> mujoco.MjModel:
    model = franka_reach_spec().compile()
    needs = {"joint": JOINTS, "actuator": ACTUATORS, "body": LINKS, "site": (END_EFFECTOR,)}
    require(model, needs, "a Franka world")
    return model


def _drive(spec: mujoco.MjSpec) -> None:
    """Damp the servos and the joints, and weld the fingers."""
    damping = dict(zip(JOINTS, zip(JOINT_DAMPING, SERVO_DAMPING, strict=True), strict=True))
    for actuator in list(spec.actuators):
        if actuator.target not in damping:
            spec.delete(actuator)
            continue
        actuator.biasprm[2] = -damping[actuator.target][1]
    for joint in list(spec.joints):
        if joint.name not in damping:
            spec.delete(joint)
            continue
        joint.damping, joint.armature = np.array([damping[joint.name][0], 0.0, 0.0]), ARMATURE


def _measure(spec: mujoco.MjSpec) -> None:
    """Add the encoders, the torque sensors and the tracker of the end effector."""
    kinds = mujoco.mjtSensor
    for number, (joint, actuator) in enumerate(zip(JOINTS, ACTUATORS, strict=True), start=1):
        for name, kind, target in (
            ("joint_position", kinds.mjSENS_JOINTPOS, (mujoco.mjtObj.mjOBJ_JOINT, joint)),
            ("joint_velocity", kinds.mjSENS_JOINTVEL, (mujoco.mjtObj.mjOBJ_JOINT, joint)),
            ("joint_torque", kinds.mjSENS_ACTUATORFRC, (mujoco.mjtObj.mjOBJ_ACTUATOR, actuator)),
        ):
            spec.add_sensor(name=f"{name}_{number}", type=kind, objtype=target[0], objname=target[1])
    spec.add_sensor(
        name=END_EFFECTOR, type=kinds.mjSENS_FRAMEPOS, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=END_EFFECTOR
    )
