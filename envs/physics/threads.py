"""The driver on CPU threads: `mujoco.batch`, in double precision, bit for bit what a loop over `mj_step` gives."""

from __future__ import annotations

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

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
BAD = [
    int(w)
    for w in (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
]


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
        return self._views[name]

    def field(self, name: str) -> torch.Tensor:
        """The live per-simulation values of a model field."""
        if name not in self._fields:
            if name not in mujoco.batch.MODEL_FIELDS:
                raise unknown_name("model field", name, mujoco.batch.MODEL_FIELDS)
            self._fields[name] = _tensor(self.batch.expand(name))
        return self._fields[name]

    def set_const(self) -> None:
        """Run `mj_setConst` in every simulation."""
        self.batch.set_const()

    def set_initial(self, data: mujoco.MjData) -> None:
        """Keep `data`'s integration state as the one to start from."""
        mujoco.mj_getState(self.model, data, self._initial, INTEGRATION)

    def reset(self, mask: torch.Tensor) -> None:
        """Return the masked simulations to the initial state."""
        self.batch.state[mask.numpy()] = self._initial
        self._faults.masked_fill_(mask, 0)

    def step(self, substeps: int) -> None:
        """Advance every simulation, and put back those that diverged."""
        np.copyto(self._before, self.batch.state)
        seen = self._bad_warnings()
        try:
            self.batch.step(nstep=substeps)
        except mujoco.batch.SimulationError:
            failed = np.asarray(self.batch.status != 0)
        else:
            failed = np.zeros(self.num_worlds, dtype=bool)
        failed |= self._bad_warnings() != seen
        if not all(np.abs(values).max(initial=0.0) <= mujoco.mjMAXVAL for values in self._motion):
            for values in self._motion:
                failed |= ~(np.abs(values) <= mujoco.mjMAXVAL).all(axis=1)
        if failed.any():
            self.batch.state[failed] = self._before[failed]
        self.diverged = torch.from_numpy(failed)
        self._faults += self.diverged

    def _bad_warnings(self) -> np.ndarray:
        return self.batch.warning[:, BAD, 0].sum(axis=1)

    def forward(self, mask: torch.Tensor | None = None) -> None:
        """Run `mj_forward` in the masked simulations."""
        if mask is None:
            self.batch.forward()
            return
        ids = mask.numpy().nonzero()[0]
        if len(ids):
            self.batch.forward(ids)

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
        for name, values in snapshot["fields"].items():
            self.field(name).copy_(values)
        state = snapshot["state"].numpy()
        self.batch.state[...] = state
        self.batch.forward()
        self.batch.state[...] = state  # forward has moved the warm start
        self.diverged, self._faults = snapshot["diverged"].clone(), snapshot["faults"].clone()


def _tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():  # derived fields are read-only, which torch can't express
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
