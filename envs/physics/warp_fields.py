"""mujoco_warp's model and data by MuJoCo's names and layouts."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import mujoco
import numpy as np
import warp as wp

from cairngym.envs.physics.warp_corrections import correct

STATE = frozenset(
    [
        "time",
        "qpos",
        "qvel",
        "act",
        "history",
        "plastic",
        "qacc_warmstart",
        "ctrl",
        "qfrc_applied",
        "xfrc_applied",
        "eq_active",
        "mocap_pos",
        "mocap_quat",
        "userdata",
    ]
)
"""Data fields that are state; every other one is derived by `forward`."""
OTHER_LAYOUT = frozenset({"qLD", "qLDiagInv", "qLU", "qH", "qHDiagInv"})
"""Data fields under MuJoCo's name that hold something else: factors by blocks."""

INERTIAL = ("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_invweight0", "actuator_acc0")
REFERENCES = tuple(
    ["tendon_length0", "eq_data", "cam_pos0", "cam_poscom0", "cam_mat0", "light_pos0", "light_poscom0", "light_dir0"]
)
BOUNDS = ("geom_aabb", "geom_rbound")
DERIVED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ["qpos0", "body_mass", "body_inertia", "body_ipos", "body_iquat", "body_pos", "body_quat"],
        INERTIAL + REFERENCES,
    ),
    **dict.fromkeys(["dof_armature", "tendon_armature", "actuator_armature", "actuator_gear"], INERTIAL),
    **dict.fromkeys(["eq_data", "cam_pos", "cam_quat", "light_pos", "light_dir"], REFERENCES),
    "geom_size": BOUNDS + INERTIAL + REFERENCES,
}
"""What `set_const` derives from a model field, and must be per world where that is."""
FEATURES = {
    **dict.fromkeys(("opt.density", "opt.viscosity", "opt.wind"), "has_fluid"),
    **dict.fromkeys(("tendon_stiffness", "tendon_stiffnesspoly"), "has_tendon_stiffness"),
    **dict.fromkeys(("tendon_damping", "tendon_dampingpoly"), "has_tendon_damping"),
    "geom_adhesion": "flg_adhesion",
    "geom_surfacevel": "flg_surfacevel",
}
"""Switches of `mujoco_warp.Model` that are off where a shared field is zero, but must be on where worlds may set it."""
IGNORED_FLAGS = int(mujoco.mjtDisableBit.mjDSBL_AUTORESET | mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
"""What a model may disable because mujoco_warp does not have it."""


def load_engine() -> Any:
    """The package `mujoco_warp`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import mujoco_warp
    except ImportError as error:
        raise ImportError(
            "Expected the package mujoco_warp for the driver 'warp', found none. Install it: pip install cairngym[gpu]"
        ) from error
    return mujoco_warp


def put_model(model: mujoco.MjModel, *, deterministic: bool) -> Any:
    """Put a model on Warp's current device, quiet about overflows, which the driver counts.

    Raises:
        ValueError: it needs what `mujoco_warp` lacks, or determinism is asked for and cannot be had.
    """
    engine = load_engine()
    model = copy.copy(model)
    model.opt.disableflags &= ~IGNORED_FLAGS
    way_out = "Take driver='threads' (device='cpu'), which runs every model."
    if model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
        raise ValueError(f"Expected a model without sleeping, whose snapshots would not be complete. {way_out}")
    try:
        placed = engine.put_model(model)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"Expected a model that mujoco_warp can simulate, but it says: {error} {way_out}") from error
    placed.opt.warn_overflow = False
    placed.opt.graph_conditional = wp.get_device().is_cpu or wp.is_conditional_graph_supported()
    if deterministic:
        if not (hasattr(engine, "DeterminismType") and hasattr(wp, "DeterministicMode")):
            raise ValueError(
                f"Expected mujoco_warp and Warp with deterministic execution, got Warp {wp.__version__}. Upgrade both "
                "(pip install -U mujoco-warp warp-lang), or take deterministic=False."
            )
        placed.opt.deterministic = True
    correct(engine, model, placed)
    return placed


def data_shapes(model: mujoco.MjModel, data: Any) -> dict[str, tuple[int, ...]]:
    """The data fields that mean what MuJoCo's do, with their shapes in one world."""
    reference = mujoco.MjData(model)
    shapes = {}
    for name, array in vars(data).items():
        if isinstance(array, wp.array) and hasattr(reference, name) and name not in OTHER_LAYOUT:
            shape = np.shape(getattr(reference, name))
            if array.shape[:1] == (data.nworld,) and _numbers(array) == data.nworld * math.prod(shape):
                shapes[name] = shape
    return shapes


def field_shapes(model: mujoco.MjModel, placed: Any) -> dict[str, tuple[int, ...]]:
    """The model fields that worlds can have of their own (`opt.` before options), with their shapes in one world."""
    shapes = {}
    for prefix, reference, owner in (("", model, placed), ("opt.", model.opt, placed.opt)):
        for field in dataclasses.fields(owner):
            dims = getattr(field.type, "shape", None)
            if isinstance(dims, tuple) and dims[:1] == ("*",) and hasattr(reference, field.name):
                shape = np.shape(getattr(reference, field.name))
                array = getattr(owner, field.name)
                if _numbers(array) == array.shape[0] * math.prod(shape):
                    shapes[prefix + field.name] = shape
    return shapes


def _numbers(array: wp.array) -> int:
    return array.size * int(getattr(array.dtype, "_length_", 1))


def expand(placed: Any, name: str, num_worlds: int) -> wp.array:
    """Give every world its own copy of a model field, and return it."""
    owner, attribute = (placed.opt, name[4:]) if name.startswith("opt.") else (placed, name)
    shared = getattr(owner, attribute)
    own = wp.zeros((num_worlds, *shared.shape[1:]), dtype=shared.dtype)
    if shared.size:
        own.assign(np.repeat(shared.numpy()[:1], num_worlds, axis=0))
    own._is_batched = True
    setattr(owner, attribute, own)
    if name in FEATURES:
        setattr(placed, FEATURES[name], True)
    return own


def write_field(model: mujoco.MjModel, name: str, values: np.ndarray) -> None:
    """Write one world's values of a field into a MuJoCo model."""
    owner, attribute = (model.opt, name[4:]) if name.startswith("opt.") else (model, name)
    target = getattr(owner, attribute)
    if np.ndim(target):
        target[...] = values
    else:
        setattr(owner, attribute, type(target)(values))
