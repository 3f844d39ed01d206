"""How large mujoco_warp's contact and constraint buffers must be for a model, measured by running MuJoCo C."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

MARGIN = 2.0
ROLLOUTS, STEPS, PERIOD, HOLD = 8, 1000, 20, 200
"""Random rollouts, their physics steps, and for how many steps a random and an extreme control are held."""
WALK = 0.05
"""How far a mocap body is moved along each axis at most (m), from the body welded to it if there is one."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Buffer sizes of `mujoco_warp.make_data`."""

    nconmax: int
    """Contacts per world on average: all worlds share a pool of `N * nconmax`, for pairs of near geoms as well."""
    njmax: int
    """Constraint rows in each world."""


def measure_sizes(model: mujoco.MjModel, pairs: np.ndarray, initial: mujoco.MjData | None = None) -> Sizes:
    """Measure what random motion needs, and add a margin.

    From `initial`, 8 rollouts of 1000 physics steps are run in MuJoCo C, all but the first two with a random velocity
    (standard normal). In the even ones controls are random, drawn every 20 steps, and mocap bodies are set up to 0.05 m
    away from the bodies welded to them, or walk at random. In the odd ones every control is at one end of its range,
    and mocap bodies are pulled by 0.05 m along each axis, for 200 steps the same way: into tables and joint limits. One
    that becomes unstable goes on from `initial`. `nconmax` is twice the most contacts or near pairs (`near_pairs`) met,
    whichever is larger, and `njmax` twice the most constraint rows, both rounded up to a multiple of 8. The random
    numbers are fixed, so a model always gets the same sizes; they are measured once per process, model and initial
    state.

    Args:
        model: compiled model.
        pairs: `(P, 2)` geom ids that may collide: `mujoco_warp.Model.nxn_geom_pair_filtered`.
        initial: where to start; None for the model's reference position.

    Raises:
        ValueError: the model has flexes, whose contacts this rule does not foresee.
    """
    if model.nflex:
        raise ValueError(
            "Expected nconmax and njmax for a model with flexes, whose contacts cannot be foreseen; got None."
        )
    start = mujoco.MjData(model) if initial is None else initial
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, start, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return _measured(_Key(model, pairs, state))


class _Key:
    """A model, its pairs and a state, equal where their bytes are."""

    def __init__(self, model: mujoco.MjModel, pairs: np.ndarray, state: np.ndarray) -> None:
        self.model, self.pairs, self.state = model, pairs, state
        binary = np.empty(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, binary)
        self.digest = hashlib.sha256(binary.tobytes() + pairs.tobytes() + state.tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.digest == self.digest


@functools.lru_cache(maxsize=16)
def _measured(key: _Key) -> Sizes:
    model, data = key.model, mujoco.MjData(key.model)
    rng = np.random.default_rng(0)
    contacts = rows = 0
    with _silence():
        for rollout in range(ROLLOUTS):
            _begin(model, data, key.state, rng.standard_normal(model.nv) if rollout > 1 else 0.0)
            for step in range(STEPS):
                if step % HOLD == 0:
                    corner = rng.choice((-1.0, 1.0), model.nu), rng.choice((-1.0, 1.0), data.mocap_pos.shape)
                if step % PERIOD == 0:
                    inside = rng.uniform(-1, 1, model.nu), rng.uniform(-1, 1, data.mocap_pos.shape)
                    _drive(model, data, *(corner if rollout % 2 else inside))
                    contacts = max(contacts, near_pairs(model, data, key.pairs))
                mujoco.mj_step(model, data)
                contacts, rows = max(contacts, data.ncon), max(rows, data.nefc)
                if data.warning.number.any():
                    _begin(model, data, key.state, 0.0)
    return Sizes(nconmax=_round_up(MARGIN * contacts), njmax=_round_up(MARGIN * rows))


def _begin(model: mujoco.MjModel, data: mujoco.MjData, state: np.ndarray, velocity: np.ndarray | float) -> None:
    """Start from `state`, with a velocity added."""
    mujoco.mj_resetData(model, data)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    data.qvel += velocity
    mujoco.mj_kinematics(model, data)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep MuJoCo's warnings out of the terminal and its log file."""
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)


def _drive(model: mujoco.MjModel, data: mujoco.MjData, controls: np.ndarray, walks: np.ndarray) -> None:
    """Set controls, given as shares in [-1, 1] of their range (or as they are), and move the mocap bodies."""
    limited = model.actuator_ctrllimited.astype(bool)
    low, high = np.where(limited, model.actuator_ctrlrange.T, [[-1.0], [1.0]])
    data.ctrl[:] = (low + high) / 2 + (high - low) / 2 * controls
    for mocap, body in _welds(model):
        data.mocap_pos[model.body_mocapid[mocap]] = data.xpos[body]
        data.mocap_quat[model.body_mocapid[mocap]] = data.xquat[body]
    data.mocap_pos += WALK * walks


def _welds(model: mujoco.MjModel) -> np.ndarray:
    """Pairs of a mocap body and the body welded to it `(W, 2)`."""
    bodies = (model.eq_type == mujoco.mjtEq.mjEQ_WELD) & (model.eq_objtype == mujoco.mjtObj.mjOBJ_BODY)
    both = np.stack([model.eq_obj1id, model.eq_obj2id], axis=1)[bodies]
    both = np.concatenate([both, both[:, ::-1]])
    return both[model.body_mocapid[both[:, 0]] >= 0]


def _round_up(size: float) -> int:
    return max(8, 8 * int(np.ceil(size / 8)))


def near_pairs(model: mujoco.MjModel, data: mujoco.MjData, pairs: np.ndarray) -> int:
    """How many pairs pass mujoco_warp's broad phase: plane distance, bounding spheres and oriented boxes.

    The boxes are held apart along the face normals of both, which is MuJoCo's own test (Gottschalk et al., OBBTree,
    SIGGRAPH 1996, without the edge-edge axes).

    Args:
        model: compiled model.
        data: with current kinematics.
        pairs: `(P, 2)` geom ids.
    """
    first, second = pairs[:, 0], pairs[:, 1]
    margin = (model.geom_margin + model.geom_gap)[pairs].sum(1)
    radius, place = model.geom_rbound, data.geom_xpos
    axes = data.geom_xmat.reshape(-1, 3, 3).swapaxes(1, 2)  # rows are the geoms' axes
    apart = place[second] - place[first]
    plane = (radius[first] == 0) | (radius[second] == 0)  # a plane has no bounding sphere

    normal = np.where((radius[first] == 0)[:, None], axes[first, 2], -axes[second, 2])
    above = (apart * normal).sum(1) > radius[first] + radius[second] + margin
    far = np.linalg.norm(apart, axis=1) > radius[first] + radius[second] + margin

    center = place + np.einsum("gji,gj->gi", axes, model.geom_aabb[:, :3])
    half = axes * model.geom_aabb[:, 3:, None]  # rows are half edges
    normals = np.concatenate([axes[first], axes[second]], axis=1)
    between = np.abs(np.einsum("pni,pi->pn", normals, center[second] - center[first]))
    reach = sum(np.abs(np.einsum("pni,pki->pnk", normals, half[side])).sum(2) for side in (first, second))
    separate = (between > reach + margin[:, None]).any(1)
    return int((~np.where(plane, above, far | separate)).sum())
