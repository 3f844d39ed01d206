"""What the Warp driver does around the physics, as kernels: remember, judge, put back, count, align."""

from __future__ import annotations

import mujoco
import warp as wp

LIMIT = wp.constant(1e10)
"""MuJoCo's mjMAXVAL: beyond it a state is bad."""
WARNINGS, CONTACT, CONSTRAINT = range(3)
"""Columns of the counters."""
PLANE, CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE)), wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
UPRIGHT = wp.constant(1e-6)
"""Sine below which a capsule's axis has, in float32, no direction in a plane it stands on."""


@wp.func
def is_sound(value: float) -> bool:
    """Whether a number is finite and within mjMAXVAL; NaN fails every comparison."""
    return wp.abs(value) <= LIMIT


@wp.kernel
def remember(values: wp.array2d(dtype=wp.float32), kept: wp.array2d(dtype=wp.float32)) -> None:
    """Keep every sound number of `values` `(N, K)`; where one is not, the last sound one stays."""
    place = wp.tid()
    world, k = place // values.shape[1], place % values.shape[1]
    if is_sound(values[world, k]):
        kept[world, k] = values[world, k]


@wp.kernel
def judge(
    state: wp.array2d(dtype=wp.float32),
    qacc: wp.array2d(dtype=wp.float32),
    counts: wp.array2d(dtype=wp.int64),
    diverged: wp.array(dtype=wp.bool),
) -> None:
    """Mark and count the worlds whose packed state or acceleration is not sound."""
    world = wp.tid()
    failed = not is_sound(state[world, 0])
    for k in range(1, state.shape[1]):
        if not is_sound(state[world, k]):
            failed = True
    for k in range(qacc.shape[1]):
        if not is_sound(qacc[world, k]):
            failed = True
    diverged[world] = failed
    if failed:
        counts[world, WARNINGS] += wp.int64(1)


@wp.kernel
def put_back(
    mask: wp.array(dtype=wp.bool), kept: wp.array2d(dtype=wp.float32), values: wp.array2d(dtype=wp.float32)
) -> None:
    """Copy the masked rows of `kept` `(N, K)` into `values`."""
    place = wp.tid()
    world, k = place // values.shape[1], place % values.shape[1]
    if mask[world]:
        values[world, k] = kept[world, k]


@wp.kernel
def tally(
    flags: wp.array(dtype=wp.int32),
    contact_bits: int,
    constraint_bits: int,
    nefc: wp.array(dtype=wp.int32),
    njmax: int,
    nacon: wp.array(dtype=wp.int32),
    ncollision: wp.array(dtype=wp.int32),
    naconmax: int,
    counts: wp.array2d(dtype=wp.int64),
) -> None:
    """Count the worlds whose buffers ran over, by the engine's flags and by the present sizes; clear the flags."""
    world = wp.tid()
    bits = flags[world]
    if (bits & contact_bits) != 0 or wp.max(nacon[0], ncollision[0]) > naconmax:
        counts[world, CONTACT] += wp.int64(1)
    if (bits & constraint_bits) != 0 or nefc[world] > njmax:
        counts[world, CONSTRAINT] += wp.int64(1)
    flags[world] = 0


@wp.kernel
def clear(mask: wp.array(dtype=wp.bool), counts: wp.array2d(dtype=wp.int64)) -> None:
    """Zero the counters `(N, 3)` of the masked worlds."""
    world = wp.tid()
    if mask[world]:
        for k in range(counts.shape[1]):
            counts[world, k] = wp.int64(0)


@wp.kernel
def align_capsules(
    nacon: wp.array(dtype=wp.int32),
    worlds: wp.array(dtype=wp.int32),
    geoms: wp.array(dtype=wp.vec2i),
    types: wp.array(dtype=wp.int32),
    rotations: wp.array2d(dtype=wp.mat33),
    frames: wp.array(dtype=wp.mat33),
) -> None:
    """Turn the first tangent of every contact of a plane with a capsule along the capsule's axis."""
    contact = wp.tid()
    if contact >= nacon[0]:
        return
    plane, capsule = geoms[contact][0], geoms[contact][1]
    if plane < 0 or capsule < 0:
        return
    if types[plane] != PLANE or types[capsule] != CAPSULE:
        return
    rotation, frame = rotations[worlds[contact], capsule], frames[contact]
    normal = frame[0]
    axis = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2])
    along = axis - wp.dot(axis, normal) * normal
    if wp.length(along) < UPRIGHT:
        along = frame[1] - wp.dot(frame[1], normal) * normal
    along = wp.normalize(along)
    frames[contact] = wp.matrix_from_rows(normal, along, wp.cross(normal, along))
