"""The driver on `mujoco_warp`: thousands of simulations on a GPU, in single precision, each step one graph."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mujoco
import numpy as np
import torch
import warp as wp

from cairngym.envs.checks import check_device, check_shape, unknown_name
from cairngym.envs.physics import warp_fields as fields
from cairngym.envs.physics import warp_kernels as kernels
from cairngym.envs.physics.driver import Driver
from cairngym.envs.physics.models import constraints_set_by_hand
from cairngym.envs.physics.warp_sizes import Sizes, measure_sizes
from cairngym.envs.warp_setup import start_warp

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
CONTACT_FLAGS = ("BROADPHASE", "NARROWPHASE", "CCD", "HFIELD", "CONTACT_MATCH", "TACTILE")
CONSTRAINT_FLAGS = ("NEFC", "NJMAX_NNZ", "NVMAX")


class WarpDriver(Driver):
    """N simulations of `mujoco_warp`, in float32.

    `step`, `forward` and `reset` run as graphs: the first call of each runs plainly and compiles what is missing, the
    second records the graph, later ones replay it. On CUDA the work is ordered with PyTorch's current stream, and
    nothing waits for the device. Warp's CPU device, one thread, is meant for tests.

    In a world that diverges every number of the state, and of the derived views asked for, goes back to its last sound
    value before the step; so a world recovers too where a NaN was written into a view. `forward` computes every world,
    whatever the mask; it changes no state.

    Two corrections bring the engine nearer to MuJoCo C, see `warp_corrections`.

    The buffers are allocated when data is first asked for, sized by `measure_sizes` from the state given to
    `set_initial` before that. Contacts share one pool: when it runs over, any world may have lost contacts, so the
    overflow is counted in all. What the engine would print about overflows is off.

    Args:
        model: compiled model; it is copied. Its flags that disable the automatic reset and the mid phase mean nothing
            here and are ignored.
        num_worlds: N.
        device: "cuda", or "cpu" for tests.
        nconmax: contacts per world on average, near pairs of geoms included; None measures it.
        njmax: constraint rows in each world; None measures it.
        graph: whether to use graphs; on CUDA they need Warp's memory pool, and without it launches are plain.
        deterministic: the same bits at every run on the same GPU at the same N, slower. The CPU device always is.

    Raises:
        ImportError: `mujoco_warp` is not installed.
        ValueError: the model needs what `mujoco_warp` lacks, a size is below 1, or determinism cannot be had.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_worlds: int,
        device: str | torch.device,
        *,
        nconmax: int | None = None,
        njmax: int | None = None,
        graph: bool = True,
        deterministic: bool = False,
    ) -> None:
        for name, size in (("num_worlds", num_worlds), ("nconmax", nconmax), ("njmax", njmax)):
            if size is not None and size < 1:
                raise ValueError(f"Expected {name} >= 1, got {size}.")
        self._engine = fields.load_engine()
        start_warp()
        device = check_device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.model, self.num_worlds, self.device, self.dtype = copy.copy(model), num_worlds, device, torch.float32
        self._place = wp.device_from_torch(device)
        self._use_graphs = graph and (self._place.is_cpu or wp.is_mempool_enabled(self._place))
        self._asked = (nconmax, njmax)
        self._forget_graphs()
        self._views: dict[str, torch.Tensor] = {}
        self._fields: dict[str, torch.Tensor] = {}
        self._watched: list[tuple[Any, Any]] = []
        with self._ordered():
            self.engine_model = fields.put_model(self.model, deterministic=deterministic and self._place.is_cuda)
            self._make_records()
        self.set_initial(mujoco.MjData(self.model))

    def _make_records(self) -> None:
        n, size = self.num_worlds, mujoco.mj_stateSize(self.model, INTEGRATION)
        self._now, self._before, self._initial = (wp.zeros((n, size), dtype=wp.float32) for _ in range(3))
        self._masked, self._failed = (wp.zeros(n, dtype=wp.bool) for _ in range(2))
        self._counts = wp.zeros((n, 3), dtype=wp.int64)
        self.diverged = torch.zeros(n, dtype=torch.bool, device=self.device)

    @functools.cached_property
    def sizes(self) -> Sizes:
        """The buffer sizes in use."""
        nconmax, njmax = self._asked
        if nconmax is None or njmax is None:
            found = measure_sizes(self.model, self.engine_model.nxn_geom_pair_filtered.numpy(), self._start)
            nconmax, njmax = nconmax or found.nconmax, njmax or found.njmax
        return Sizes(nconmax=nconmax, njmax=njmax)

    @functools.cached_property
    def _data(self) -> Any:
        sizes = self.sizes
        with self._ordered():
            data = self._engine.make_data(self.model, self.num_worlds, nconmax=sizes.nconmax, njmax=sizes.njmax)
            self._engine.set_state(self.engine_model, data, self._initial, INTEGRATION)
            wp.copy(self._before, self._initial)
        return data

    # Views and fields -------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _data_shapes(self) -> dict[str, tuple[int, ...]]:
        return fields.data_shapes(self.model, self._data)

    @functools.cached_property
    def _field_shapes(self) -> dict[str, tuple[int, ...]]:
        return fields.field_shapes(self.model, self.engine_model)

    def view(self, name: str) -> torch.Tensor:
        """The live tensor of an `MjData` field, in MuJoCo's layout."""
        if name not in self._views:
            if name not in self._data_shapes:
                raise unknown_name("data field", name, self._data_shapes)
            view = self._tensor(getattr(self._data, name), self._data_shapes[name])
            if name not in fields.STATE and view.dtype is torch.float32 and view.numel():
                self._watch(view)
            self._views[name] = view
        return self._views[name]

    def _tensor(self, array: wp.array, shape: tuple[int, ...]) -> torch.Tensor:
        if array.size == 0:  # no memory to share
            dtype = wp.dtype_to_torch(getattr(array.dtype, "_wp_scalar_type_", array.dtype))
            return torch.zeros((self.num_worlds, *shape), dtype=dtype, device=self.device)
        return wp.to_torch(array).view(self.num_worlds, *shape)

    def _watch(self, view: torch.Tensor) -> None:
        """Have a derived view go back together with the state where a world diverges."""
        with self._ordered():
            values: Any = wp.from_torch(view.view(self.num_worlds, -1), dtype=wp.float32)
            self._watched.append((values, wp.zeros_like(values)))
        self._forget_graphs()

    def field(self, name: str) -> torch.Tensor:
        """The live per-simulation values of a model field; what `set_const` derives from it becomes so, too."""
        if name not in self._fields:
            if name not in self._field_shapes:
                raise unknown_name("model field", name, self._field_shapes)
            for each in {name, *fields.DERIVED.get(name, ())} & self._field_shapes.keys() - self._fields.keys():
                with self._ordered():
                    own = fields.expand(self.engine_model, each, self.num_worlds)
                    self._fields[each] = self._tensor(own, self._field_shapes[each])
            self._forget_graphs()
        return self._fields[name]

    @functools.cached_property
    def _set_by_hand(self) -> torch.Tensor:
        return torch.from_numpy(constraints_set_by_hand(self.model)).to(self.device)

    def set_const(self, mask: torch.Tensor | None = None) -> None:
        """Derive the constants that depend on the fields written, in every simulation."""
        kept = self._set_by_hand
        held = self.field("eq_data")[:, kept] if len(kept) else None
        with self._ordered():
            self._engine.set_const(self.engine_model, self._data)
        if held is not None:
            self.field("eq_data")[:, kept] = held

    # The programs -----------------------------------------------------------------------------------------------------

    def set_initial(self, data: mujoco.MjData) -> None:
        """Keep `data`'s integration state as the one to start from."""
        self._start = copy.copy(data)
        row = torch.from_numpy(self._pack(data)).to(self.device)
        wp.to_torch(self._initial).copy_(row.expand(self.num_worlds, -1))

    def reset(self, mask: torch.Tensor) -> None:
        """Return the masked simulations to the initial state, its warm start included, and clear their counters."""
        check_shape("mask", mask, (self.num_worlds,), "(num_worlds,)")
        wp.to_torch(self._masked).copy_(mask)
        self._run("reset", self._reset)

    def step(self, substeps: int) -> None:
        """Advance every simulation, and put back those that diverged."""
        if substeps < 1:
            raise ValueError(f"Expected substeps >= 1, got {substeps}.")
        self._run(f"step {substeps}", functools.partial(self._step, substeps))
        self.diverged = wp.to_torch(self._failed).clone()

    def forward(self, mask: torch.Tensor | None = None) -> None:
        """Make the derived views of every simulation those of its present state."""
        self._run("forward", self._forward)

    def _reset(self) -> None:
        self._engine.set_state(self.engine_model, self._data, self._initial, INTEGRATION, self._masked)
        wp.launch(kernels.clear, self.num_worlds, inputs=[self._masked], outputs=[self._counts])

    def _step(self, substeps: int) -> None:
        data = self._data
        self._engine.get_state(self.engine_model, data, self._now, INTEGRATION)
        for values, kept in [(self._now, self._before), *self._watched]:
            wp.launch(kernels.remember, values.size, inputs=[values], outputs=[kept])
        for _ in range(substeps):
            self._engine.step(self.engine_model, data)
        self._engine.get_state(self.engine_model, data, self._now, INTEGRATION)
        wp.launch(kernels.judge, self.num_worlds, inputs=[self._now, data.qacc], outputs=[self._counts, self._failed])
        self._engine.set_state(self.engine_model, data, self._before, INTEGRATION, self._failed)
        for values, kept in self._watched:
            wp.launch(kernels.put_back, values.size, inputs=[self._failed, kept], outputs=[values])
        self._tally()

    def _forward(self) -> None:
        stateful = self.model.nhistory or self.model.nplastic  # sensors with a delay write what they saw
        if stateful:
            self._engine.get_state(self.engine_model, self._data, self._now, INTEGRATION)
        self._engine.forward(self.engine_model, self._data)
        if stateful:
            self._engine.set_state(self.engine_model, self._data, self._now, INTEGRATION)
        self._tally()

    def _tally(self) -> None:
        flags, data = self._engine.OverflowType, self._data
        contact, constraint = (sum(flags[name] for name in names) for names in (CONTACT_FLAGS, CONSTRAINT_FLAGS))
        limits = [int(contact), int(constraint), data.nefc, data.njmax, data.nacon, data.ncollision, data.naconmax]
        wp.launch(kernels.tally, self.num_worlds, inputs=[data.overflow, *limits], outputs=[self._counts])

    # Graphs and streams -----------------------------------------------------------------------------------------------

    def _run(self, name: str, program: Callable[[], None]) -> None:
        """Run a program: plainly at first, then recorded as a graph, then by its graph."""
        with self._ordered():
            if self._use_graphs and name in self._compiled:
                if name not in self._graphs:
                    with wp.ScopedCapture(self._place) as capture:
                        program()
                    self._graphs[name] = capture.graph
                wp.capture_launch(self._graphs[name])
            else:
                program()
                self._compiled.add(name)

    def _forget_graphs(self) -> None:
        """Let programs be recorded again: a graph knows only the arrays and kernels it was recorded with."""
        self._graphs: dict[str, Any] = {}
        self._compiled: set[str] = set()

    @contextlib.contextmanager
    def _ordered(self) -> Iterator[None]:
        """Work on Warp's stream, after what PyTorch was told before and before what it is told after."""
        with wp.ScopedDevice(self._place):
            if self._place.is_cuda:
                theirs, ours = wp.stream_from_torch(self.device), self._place.stream
                ours.wait_stream(theirs)
                yield
                theirs.wait_stream(ours)
            else:
                yield

    # Records ----------------------------------------------------------------------------------------------------------

    def counters(self) -> Mapping[str, torch.Tensor]:
        """`warnings`: steps that diverged; `contact_overflow`, `constraint_overflow`: steps and forwards too large.

        The latter two count the buffers for contacts (and near pairs), shared by all worlds, and for constraint rows.
        """
        counts = wp.to_torch(self._counts).clone()
        return dict(zip(("warnings", "contact_overflow", "constraint_overflow"), counts.unbind(1), strict=True))

    def _pack(self, data: mujoco.MjData) -> np.ndarray:
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        mujoco.mj_getState(self.model, data, state, INTEGRATION)
        return state.astype(np.float32)

    def _packed(self) -> torch.Tensor:
        """The present integration states `(N, S)`, live until the next program runs."""
        data = self._data
        with self._ordered():
            self._engine.get_state(self.engine_model, data, self._now, INTEGRATION)
        return wp.to_torch(self._now)

    def _unpack(self, states: torch.Tensor) -> None:
        data = self._data
        wp.to_torch(self._now).copy_(states)
        with self._ordered():
            self._engine.set_state(self.engine_model, data, self._now, INTEGRATION)

    def write_data(self, world: int, data: mujoco.MjData) -> mujoco.MjModel:
        """Copy one simulation's state into `data`, derive the rest, and return its model (a copy if it has fields)."""
        model = copy.copy(self.model) if self._fields else self.model
        for name, values in self._fields.items():
            fields.write_field(model, name, values[world].cpu().numpy())
        state = self._packed()[world].double().cpu().numpy()
        mujoco.mj_setState(model, data, state, INTEGRATION)
        mujoco.mj_forward(model, data)
        mujoco.mj_setState(model, data, state, INTEGRATION)  # forward has moved the warm start
        return model

    def read_data(self, world: int, data: mujoco.MjData) -> None:
        """Take over `data`'s integration state."""
        states = self._packed().clone()
        states[world] = torch.from_numpy(self._pack(data)).to(self.device)
        self._unpack(states)

    def get_state(self) -> dict[str, Any]:
        """Copy the integration states, the fields and the counters."""
        return {
            "state": self._packed().clone(),
            "fields": {name: values.clone() for name, values in self._fields.items()},
            "diverged": self.diverged.clone(),
            "counts": wp.to_torch(self._counts).clone(),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy and make the views current."""
        for name, values in snapshot["fields"].items():
            self.field(name).copy_(values)
        self._unpack(snapshot["state"])
        self.forward()
        self.diverged = snapshot["diverged"].clone()
        wp.to_torch(self._counts).copy_(snapshot["counts"])

    def close(self) -> None:
        """Release the graphs."""
        self._forget_graphs()
