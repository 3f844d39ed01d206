"""The driver on CPU threads: `mujoco.batch`, in double precision, bit for bit what a loop over `mj_step` gives."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Mapping
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.physics.driver import Driver
from cairngym.envs.physics.models import constraints_set_by_hand

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
WARNINGS = mujoco.mjtWarning
BAD = [
    int(kind)
    for kind in (WARNINGS.mjWARN_BADQPOS, WARNINGS.mjWARN_BADQVEL, WARNINGS.mjWARN_BADQACC, WARNINGS.mjWARN_BADCTRL)
]
"""After the first three MuJoCo starts a simulation over, after the last it ignores the controls."""


class ThreadsDriver(Driver):
    """N simulations on a pool of CPU threads.

    Args:
        model: compiled model; it is copied.
        num_worlds: N.
        threads: how many, the caller's included; None takes every core this process may use.

    Raises:
        ValueError: fewer than one thread.
    """

    def __init__(self, model: mujoco.MjModel, num_worlds: int, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.num_worlds, self.device, self.dtype = num_worlds, torch.device("cpu"), torch.float64
        self.batch = mujoco.batch.Batch(model, num_worlds, min(threads or cores, num_worlds))
        self.model = self.batch.model
        self._views: dict[str, torch.Tensor] = {}
        self._fields: dict[str, torch.Tensor] = {}
        self._initial = self.batch.state[0].copy()
        self._before = self.batch.state.copy()
        self._motion = (self.batch.bind("qpos"), self.batch.bind("qvel"))
        self.diverged = torch.zeros(num_worlds, dtype=torch.bool)
        self._faults = torch.zeros(num_worlds, dtype=torch.int64)

    def view(self, name: str) -> torch.Tensor:
        """The live tensor of an `MjData` field."""
        if name not in self._views:
            if name not in mujoco.batch.DATA_FIELDS:
                raise unknown_name("data field", name, mujoco.batch.DATA_FIELDS)
            self._views[name] = _tensor(self.batch.bind(name))
            self._refresh()  # what is derived holds zeros until the next forward
        return self._views[name]

    def field(self, name: str) -> torch.Tensor:
        """The live per-simulation values of a model field."""
        if name not in self._fields:
            if name not in mujoco.batch.MODEL_FIELDS:
                raise unknown_name("model field", name, mujoco.batch.MODEL_FIELDS)
            self._fields[name] = _tensor(self.batch.expand(name))
        return self._fields[name]

    @functools.cached_property
    def _set_by_hand(self) -> np.ndarray:
        return constraints_set_by_hand(self.model)

    def set_const(self, mask: torch.Tensor | None = None) -> None:
        """Run `mj_setConst` in the masked simulations (default: all)."""
        ids = None if mask is None else mask.numpy().nonzero()[0]
        if ids is not None and not len(ids):
            return
        kept = self._set_by_hand
        held = self.field("eq_data")[:, kept] if len(kept) else None
        self.batch.set_const(ids)
        if held is not None:
            self.field("eq_data")[:, kept] = held
        for name in mujoco.batch.MODEL_FIELDS if mask is None else ():
            if name not in self._fields and self.batch.expanded(name) is not None:
                self.field(name)  # derived values are the simulation's own, so snapshots hold them

    def set_initial(self, data: mujoco.MjData) -> None:
        """Keep `data`'s integration state as the one to start from."""
        mujoco.mj_getState(self.model, data, self._initial, INTEGRATION)

    def reset(self, mask: torch.Tensor) -> None:
        """Return the masked simulations to the initial state."""
        rows = mask.numpy()
        self.batch.state[rows] = self._before[rows] = self._initial
        self._faults.masked_fill_(mask, 0)

    def step(self, substeps: int) -> None:
        """Advance every simulation, and put back those that diverged."""
        np.copyto(self._before, self.batch.state)
        self.batch.warning[...] = 0  # MuJoCo starts counting anew where it starts a simulation over
        failed = np.zeros(self.num_worlds, dtype=bool)
        try:
            self.batch.step(nstep=substeps)
        except mujoco.batch.SimulationError as error:
            failed[error.ids] = True
        failed |= self.batch.warning[:, BAD, 1].any(axis=1)
        if not all(np.abs(values).max(initial=0.0) <= mujoco.mjMAXVAL for values in self._motion):
            for values in self._motion:
                failed |= ~_sound(values)
        self.diverged = torch.from_numpy(failed)
        self._faults += self.diverged
        if failed.any():
            self._put_back(failed.nonzero()[0])

    def _put_back(self, ids: np.ndarray) -> None:
        """Return simulations to where they were before the step, or to the initial state if that is no sound one."""
        before = self._before[ids]
        self.batch.state[ids] = np.where(_sound(before)[:, None], before, self._initial)

    def forward(self, mask: torch.Tensor | None = None) -> None:
        """Run `mj_forward`, or its stages up to velocities, in the masked simulations; one that raises diverges too."""
        ids = None if mask is None else mask.numpy().nonzero()[0]
        if ids is not None and not len(ids):
            return
        stage = mujoco.mjtStage.mjSTAGE_ACC if self.accelerations else mujoco.mjtStage.mjSTAGE_VEL
        try:
            self.batch.forward(ids, int(stage))
        except mujoco.batch.SimulationError as error:
            self._put_back(error.ids)
            failed = torch.zeros_like(self.diverged)
            failed[error.ids] = True
            self._faults += failed & ~self.diverged
            self.diverged = self.diverged | failed
            with contextlib.suppress(mujoco.batch.SimulationError):  # then views keep the last values they had
                self.batch.forward(error.ids, int(stage))

    def counters(self) -> Mapping[str, torch.Tensor]:
        """`warnings`: steps that diverged since the last reset."""
        return {"warnings": self._faults.clone()}

    def write_data(self, world: int, data: mujoco.MjData) -> mujoco.MjModel:
        """Copy one simulation's state into `data`."""
        self.batch.get_data(world, data)
        return self.batch.get_model(world)

    def read_data(self, world: int, data: mujoco.MjData) -> None:
        """Take over `data`'s integration state."""
        state = np.empty(self.batch.nstate)
        mujoco.mj_getState(self.model, data, state, INTEGRATION)
        self.batch.state[world] = state

    def get_state(self) -> dict[str, Any]:
        """Copy the integration states, the fields and the counters."""
        return {
            "state": torch.from_numpy(self.batch.state.copy()),
            "fields": {name: values.clone() for name, values in self._fields.items()},
            "diverged": self.diverged.clone(),
            "faults": self._faults.clone(),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy and make the views current."""
        for name in {*snapshot["fields"], *self._fields}:
            values = snapshot["fields"].get(name)
            self.field(name).copy_(self._shared(name) if values is None else values)
        self.batch.state[...] = snapshot["state"].numpy()
        self._refresh()
        self.diverged, self._faults = snapshot["diverged"].clone(), snapshot["faults"].clone()

    def _refresh(self) -> None:
        """Make every derived view current, and nothing else different."""
        state = self.batch.state.copy()
        self.batch.forward()
        self.batch.state[...] = state

    def _shared(self, name: str) -> torch.Tensor:
        """The model's own value of a field."""
        holder, _, option = name.rpartition(".")
        return torch.as_tensor(getattr(self.model.opt if holder else self.model, option))


def _sound(rows: np.ndarray) -> np.ndarray:
    """Whether all numbers of each row are such as MuJoCo computes with, bool `(N,)`."""
    return np.asarray((np.abs(rows) <= mujoco.mjMAXVAL).all(axis=1))


def _tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():  # derived fields are read-only, which torch can't express
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
