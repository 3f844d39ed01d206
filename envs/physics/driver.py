"""What a physics engine must do for a world: many simulations of one model, as torch tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import mujoco
import torch

from cairngym.envs.checks import check_device, unknown_name

DRIVERS = ("auto", "threads", "warp")


class Driver(ABC):
    """N simulations of one MuJoCo model.

    A *view* is a live tensor `(N, ...)` of an `MjData` field. State fields (`time`, `qpos`, `qvel`, `act`, `ctrl`,
    `mocap_pos`, `mocap_quat`, `qfrc_applied`, `xfrc_applied`, `qacc_warmstart`) may be written in place; derived ones
    (`xpos`, `site_xpos`, `cvel`, `sensordata` …) describe the state at the last `forward`, and lag after `step`.

    A simulation that diverges in a step (NaN, or a MuJoCo warning that its state is bad) is put back to where it was
    before the step (or to the initial state, if it was not sound then) and marked in `diverged`, so that no view ever
    holds what is not finite.

    Attributes:
        model: the compiled model all simulations share, but for the fields in `field`.
        num_worlds: N.
        device: where the tensors live.
        dtype: of the views: float64 on threads, float32 on a GPU.
        diverged: bool `(N,)`, which simulations failed in the last `step`.
        accelerations: whether `forward` computes accelerations, and the sensors of them; it is quicker without.
    """

    model: mujoco.MjModel
    num_worlds: int
    device: torch.device
    dtype: torch.dtype
    diverged: torch.Tensor
    accelerations: bool = True

    @abstractmethod
    def view(self, name: str) -> torch.Tensor:
        """The live tensor of an `MjData` field, the same object at every call.

        Raises:
            UnknownNameError: naming the nearest valid fields.
        """

    @abstractmethod
    def field(self, name: str) -> torch.Tensor:
        """The live per-simulation values `(N, ...)` of a model field, to be written in place.

        Ask for it before the first `step`. After writing a field that constants are derived from (masses, inertias,
        reference positions), call `set_const`.

        Raises:
            UnknownNameError: naming the nearest valid fields.
        """

    @abstractmethod
    def set_const(self, mask: torch.Tensor | None = None) -> None:
        """Derive the constants that depend on the fields written, in the masked `(N,)` simulations at least.

        Equality constraints whose data were set by hand since the model was compiled keep them.
        """

    @abstractmethod
    def set_initial(self, data: mujoco.MjData) -> None:
        """Make `data`'s state (positions, velocities, controls, mocap poses, time) what `reset` returns to."""

    @abstractmethod
    def reset(self, mask: torch.Tensor) -> None:
        """Return the masked `(N,)` simulations to the initial state, without a `forward`."""

    @abstractmethod
    def step(self, substeps: int) -> None:
        """Advance every simulation by `substeps` physics steps; derived views lag afterwards."""

    @abstractmethod
    def forward(self, mask: torch.Tensor | None = None) -> None:
        """Make the derived views of the masked simulations (default: all) those of their present state."""

    @abstractmethod
    def counters(self) -> Mapping[str, torch.Tensor]:
        """Steps that went wrong since the last `reset`, int64 `(N,)` each: `warnings` and what the engine adds."""

    @abstractmethod
    def write_data(self, world: int, data: mujoco.MjData) -> mujoco.MjModel:
        """Copy the state of one simulation into `data`, and return the model it runs on; for rendering."""

    @abstractmethod
    def read_data(self, world: int, data: mujoco.MjData) -> None:
        """Take over the state of `data` into one simulation, without a `forward`."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Copy everything that decides the future: integration states and per-simulation model fields."""

    @abstractmethod
    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy, and make every derived view current."""

    def close(self) -> None:
        """Release threads and device memory; nothing by default."""
        return


def make_driver(model: mujoco.MjModel, num_worlds: int, device: str | torch.device, **options: Any) -> Driver:
    """The driver for a device: `mujoco.batch` on "cpu", `mujoco_warp` on "cuda" or where `driver="warp"`.

    Args:
        model: compiled model.
        num_worlds: how many simulations.
        device: "cpu" or "cuda".
        options: `driver` ("auto", "threads" or "warp"), and what the driver takes (`threads`; `nconmax`, `njmax`, …).

    Raises:
        UnknownNameError: no such driver.
        ValueError: CUDA is wanted and there is none.
        ImportError: `mujoco_warp` is needed and not installed.
    """
    kind = options.pop("driver", "auto")
    if kind not in DRIVERS:
        raise unknown_name("physics driver", kind, DRIVERS)
    device = check_device(device)
    if kind == "auto":
        kind = "threads" if device.type == "cpu" else "warp"
    if kind == "threads":
        from cairngym.envs.physics.threads import ThreadsDriver

        if device.type != "cpu":
            raise ValueError(f"Expected device='cpu' for the driver 'threads', got {device}. Take driver='warp'.")
        return ThreadsDriver(model, num_worlds, **options)
    from cairngym.envs.physics.warp import WarpDriver

    return WarpDriver(model, num_worlds, device, **options)
