"""Mocap bodies that commands move: each is put somewhere relative to the body that is welded to it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

POSE = 7
"""Numbers of a pose: position in m, and a quaternion, w first, that need not have length one."""
WELD, BODY = int(mujoco.mjtEq.mjEQ_WELD), int(mujoco.mjtObj.mjOBJ_BODY)


@dataclass(frozen=True, kw_only=True)
class MocapMap:
    """What commands are to mocap bodies: `pose = the welded body's + offset + matrix @ command` when they are given."""

    mocap: np.ndarray
    """`(k,)`, numbers of the mocap bodies that are moved."""
    welded: np.ndarray
    """`(k,)`, ids of the bodies welded to them."""
    matrix: np.ndarray
    """`(k, 7, command size)`."""
    offset: np.ndarray
    """`(k, 7)`."""

    def __call__(self, command: np.ndarray, data: mujoco.MjData) -> np.ndarray:
        """Poses `(k, 7)` of a command `(size,)` given where the derived poses of `data` are."""
        return poses(data, self.welded) + self.offset + self.matrix @ command

    def put(self, pose: np.ndarray, data: mujoco.MjData) -> None:
        """Move the mocap bodies to poses `(k, 7)`."""
        data.mocap_pos[self.mocap], data.mocap_quat[self.mocap] = pose[:, :3], pose[:, 3:]


def poses(data: mujoco.MjData, bodies: np.ndarray) -> np.ndarray:
    """Poses `(k, 7)` of bodies, as the last forward computation found them."""
    return np.concatenate((data.xpos[bodies], data.xquat[bodies]), axis=1)


def welded_bodies(model: mujoco.MjModel) -> dict[int, int]:
    """By number of a mocap body, the id of the first body that moves and is welded to it."""
    found: dict[int, int] = {}
    for index in np.flatnonzero((model.eq_type == WELD) & (model.eq_objtype == BODY)):
        pair = int(model.eq_obj1id[index]), int(model.eq_obj2id[index])
        for mocap, other in (pair, pair[::-1]):
            if model.body_mocapid[mocap] >= 0 > model.body_mocapid[other]:
                found.setdefault(int(model.body_mocapid[mocap]), other)
    return found
