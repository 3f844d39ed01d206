"""The Franka arm of Gymnasium-Robotics' kitchen, alone on a floor, driven by joint speeds."""

from __future__ import annotations

import copy
import functools

import mujoco
import numpy as np

from cairngym.envs.physics.models import package_file, require

KITCHEN = ("gymnasium_robotics", "envs", "assets", "kitchen_franka", "kitchen_assets", "kitchen_env_model.xml")
JOINTS = tuple(f"robot:panda0_joint{k}" for k in range(1, 8))
END_EFFECTOR = "end_effector"
SPEEDS = (1.0875, 1.0875, 1.0875, 1.0875, 1.305, 1.305, 1.305)
"""Joint speeds that actions of one lead to, rad/s: half of what the arm's data sheet allows."""
TIMESTEP = 0.01
"""Seconds of a physics step; joints that are damped this much need no shorter one."""
HOME = (0.0, -0.4, 0.0, -2.2, 0.0, 0.3, 0.8)
"""Joint angles at the start, rad: the elbow up, the hand pointing down in front of the base."""
CHECKS: dict[str, tuple[str, float]] = {
    "check_elbow": ("panda0_link4", 0.0),
    "check_forearm": ("panda0_link5", -0.256),
    "check_forearm_end": ("panda0_link5", -0.128),
    "check_wrist": ("panda0_link5", 0.0),
    "check_flange": ("panda0_link7", 0.0),
    "check_hand": ("panda0_link7", 0.107),
    "check_fingers": ("panda0_link7", 0.16),
}
"""Points on the arm that obstacles are held against beside the end effector: body, and metres along its z axis."""
FLOOR_COLLISIONS = 2


def franka_model() -> mujoco.MjModel:
    """Compile the arm and its gripper, standing at the origin and facing along x.

    The kitchen's furniture, the pedestal and the finger joints are left out; the fingers stay closed. The position
    servos become motors whose full torque is the servos' limit (87 N m, in the wrist 12 N m), and each joint is damped
    so that this torque moves it at `SPEEDS`. The arm carries its own weight, as the real one does, and touches
    nothing but the floor.

    Raises:
        ImportError: Gymnasium-Robotics is not installed.
        ValueError: its model lacks a joint or a body that is driven or measured.
    """
    return copy.copy(_compiled())


@functools.cache  # half a second, for the meshes
def _compiled() -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_file(str(package_file(*KITCHEN)))
    leave_the_arm(spec)
    _drive(spec)
    for geom in spec.geoms:
        if geom.contype:
            floor = geom.parent.name == "world"
            geom.contype, geom.conaffinity = (FLOOR_COLLISIONS, 0) if floor else (0, FLOOR_COLLISIONS)
    for name, (body, along) in CHECKS.items():
        holder = spec.body(body)
        if holder is not None:
            holder.add_site(name=name, pos=(0.0, 0.0, along), size=(0.005, 0.0, 0.0), group=4)
    spec.option.timestep, spec.option.integrator = TIMESTEP, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model = spec.compile()
    require(model, {"joint": JOINTS, "actuator": JOINTS, "site": (END_EFFECTOR, *CHECKS)}, "a Franka world")
    return model


def leave_the_arm(spec: mujoco.MjSpec) -> None:
    """Leave the arm and the floor, and put the arm's base at the origin."""
    for entry in (*spec.keys, *spec.equalities):
        spec.delete(entry)
    for body in list(spec.worldbody.bodies):
        if spec.body("panda0_link0") not in body.bodies:
            spec.delete(body)
    base = spec.body("panda0_link0").parent
    base.pos, base.alt.euler = np.zeros(3), np.zeros(3)
    for pedestal in list(base.geoms):
        spec.delete(pedestal)
    _forget_unused(spec)


def _forget_unused(spec: mujoco.MjSpec) -> None:
    """Drop the meshes, materials and textures of what was deleted."""
    meshes, materials = {geom.meshname for geom in spec.geoms}, {geom.material for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if mesh.name not in meshes:
            spec.delete(mesh)
    for material in list(spec.materials):
        if material.name not in materials:
            spec.delete(material)
    textures = {name for material in spec.materials for name in material.textures}
    for texture in list(spec.textures):
        if texture.name not in textures:
            spec.delete(texture)


def _drive(spec: mujoco.MjSpec) -> None:
    """Turn the arm's servos into motors named after their joints, and weld the fingers."""
    speeds = dict(zip(JOINTS, SPEEDS, strict=True))
    for actuator in list(spec.actuators):
        if actuator.target not in speeds:
            spec.delete(actuator)
            continue
        torque = float(actuator.forcerange[1])
        spec.joint(actuator.target).damping = np.array([torque / speeds[actuator.target], 0.0, 0.0])
        actuator.set_to_motor()
        actuator.name, actuator.ctrlrange, actuator.gear = actuator.target, (-1.0, 1.0), (torque, 0, 0, 0, 0, 0)
    for joint in list(spec.joints):
        if joint.name not in speeds:
            spec.delete(joint)
    for body in spec.bodies:
        body.gravcomp = 1.0
