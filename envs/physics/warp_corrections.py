"""Where mujoco_warp 4.0 computes otherwise than MuJoCo C, and how it is set right.

Both corrections run where the engine calls back when it has found the contacts, before it makes constraint rows of
them. It does not call back in models that disable contacts.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import warp as wp

from cairngym.envs.physics.warp_kernels import align_capsules

PLANE, CAPSULE = int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)
CONNECT, WELD = int(mujoco.mjtEq.mjEQ_CONNECT), int(mujoco.mjtEq.mjEQ_WELD)


def correct(engine: Any, model: mujoco.MjModel, placed: Any) -> None:
    """Have a placed model corrected where it needs to be.

    Args:
        engine: the package.
        model: the compiled model.
        placed: the same as a `mujoco_warp.Model`; its callback is set.
    """
    tilts = {PLANE, CAPSULE} <= set(model.geom_type.tolist())
    welds = bool(np.isin(model.eq_type, (CONNECT, WELD)).any())

    def contacts_found(placed: Any, data: Any) -> None:
        if welds:
            refresh_velocities(engine, placed, data)
        if tilts:
            align_frames(placed, data)

    if tilts or welds:
        placed.callback.contactfilter = contacts_found


def refresh_velocities(engine: Any, placed: Any, data: Any) -> None:
    """Compute the bodies' velocities before connect and weld constraints, not after.

    Their rows hold a term in the derivative of the Jacobian (google-deepmind/mujoco_warp#1294), which the engine takes
    from the velocities of the evaluation before: of the last substep, or of another state where one was written. Over
    20 steps of FetchReach this brings the gripper from 5e-5 m to 7e-7 m from MuJoCo C.
    """
    engine.com_vel(placed, data)


def align_frames(placed: Any, data: Any) -> None:
    """Turn the frames of contacts of planes with capsules to MuJoCo's.

    Both engines lay the first tangent along the capsule's axis, but mujoco_warp only where it leans by more than 30
    degrees from the normal (google-deepmind/mujoco#2774, on the same rule in MJX). A friction pyramid turns with the
    tangents, so an ant whose foot strikes the floor would be 1e-3 m off after one physics step. Contacts on moving
    surfaces, whose velocity the engine has already given in its own frame, stay as they are.
    """
    if not placed.flg_surfacevel:
        contact = data.contact
        inputs = [data.nacon, contact.worldid, contact.geom, placed.geom_type, data.geom_xmat]
        wp.launch(align_capsules, data.naconmax, inputs=inputs, outputs=[contact.frame])
