"""Robustness while a trace is still being written: an interval that closes as samples come in."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import warp as wp

from cairngym.envs.checks import check_device, check_shape
from cairngym.envs.stl.formula import Formula
from cairngym.envs.stl.monitor_chains import compile_formula
from cairngym.envs.stl.monitor_kernels import BEGIN, HIGH, LOW, TIME, TRUE, UPDATE, Shape, monitor_kernel
from cairngym.envs.warp_setup import start_warp

LANES = 16
"""Envs that a CPU works on at once."""
MIN_SLICE = 1 << 14
"""Fewest envs worth a thread of their own."""
MAX_BYTES = 8 << 30
"""Most memory a monitor takes."""


class Monitor:
    """Bounds the robustness at step 0 of N traces, each at a step of its own, with every sample.

    The interval [low, high] contains the robustness of every continuation of the trace; low never falls, high never
    rises, and they are equal when the trace's last sample, number `last`, has been read; later ones are ignored. So
    `low >= 0` says that the formula holds whatever follows and `high < 0` that it is lost.

    No smaller interval is right where each predicate occurs either always or never under a negation, there are no
    constants, and temporal operators are not nested, or nested along one path of eventually and until with conditions
    on the present, which always may end: F(a & F b), F(a & G b), a U (b & F c), and the duals G(a | F b), G(a | G b).
    Elsewhere an inner operator counts as unknown until its own interval is over.

    A sample costs O(1) per operator, amortised, whatever the length of its interval; memory is proportional to that.
    Operators without end read up to `horizon`, as `cairngym.envs.stl.robustness` does. One within another (but not
    along a path as above) needs all later samples for each of its values: these are worked out when the last has come.

    A margin that is not a number is an error on a CPU; on a GPU, where a look at the values would make the host wait,
    the predicate counts as false, and so does its negation (margin minus infinity).

    Args:
        formula: what is monitored.
        num_envs: N.
        device: "cpu" or "cuda".
        horizon: the last step of the traces; needed for formulas without end.
        threads: CPU threads it may use; None takes every core where N is large enough.

    Raises:
        ValueError: an unbounded formula without horizon, traces too short for the formula, N or threads below 1.

    Example:
        >>> from cairngym.envs.stl.formula import Predicate, eventually
        >>> monitor = Monitor(eventually(Predicate("near"), 0, 2), num_envs=2)
        >>> monitor.begin(torch.tensor([True, True]), torch.tensor([[-0.5], [0.25]]))
        >>> monitor.update(torch.tensor([[-0.125], [0.75]]))
        >>> monitor.low, monitor.high
        (tensor([-0.1250,  0.7500]), tensor([inf, inf]))
        >>> monitor.update(torch.tensor([[-0.5], [0.5]]))
        >>> monitor.low, monitor.high
        (tensor([-0.1250,  0.7500]), tensor([-0.1250,  0.7500]))
    """

    low: torch.Tensor
    """Float32 (N,): what the robustness will be at least; minus infinity before the first trace begins."""
    high: torch.Tensor
    """Float32 (N,): what it will be at most. Tensors read here are not overwritten by later samples."""

    def __init__(
        self,
        formula: Formula,
        num_envs: int,
        device: torch.device | str = "cpu",
        horizon: int | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"Expected num_envs >= 1, got {num_envs}.")
        self.formula, self.num_envs, self.device = formula, num_envs, check_device(device)
        self.program = compile_formula(formula, horizon)
        start_warp()
        self._lanes = LANES if self.device.type == "cpu" else 1
        self._tiles = -(-num_envs // self._lanes)
        self._clock = 0
        self._allocate()
        slices = self._cut(threads)
        self._pool = ThreadPoolExecutor(len(slices) - 1) if len(slices) > 1 else None
        self._launches = {why: [self._record(why, *piece) for piece in slices] for why in (BEGIN, UPDATE)}

    @property
    def predicates(self) -> tuple[str, ...]:
        """Names of the columns of margins."""
        return self.program.predicates

    @property
    def last(self) -> int:
        """Number of the sample, counted from 0, with which the interval closes."""
        return self.program.last

    def begin(self, mask: torch.Tensor, margins: torch.Tensor) -> None:
        """Begin new traces in the masked envs.

        Args:
            mask: bool (N,).
            margins: float (N, P), the first samples; rows outside the mask are not read.

        Raises:
            ValueError: wrong shapes or dtypes, or (on a CPU) a margin that is not a number.
        """
        check_shape("mask", mask, (self.num_envs,), "(num_envs,)")
        if mask.dtype is not torch.bool:
            raise ValueError(f"Expected a mask of dtype torch.bool, got {mask.dtype}.")
        self._run(BEGIN, self._checked(margins, mask), mask.to(self.device).contiguous())

    def update(self, margins: torch.Tensor) -> None:
        """Take the next sample of every trace.

        Args:
            margins: float (N, P), columns in the order of `predicates`, zero or more where one holds.

        Raises:
            ValueError: wrong shape or dtype, or (on a CPU) a margin that is not a number.
        """
        margins = self._checked(margins)
        self._clock += 1
        self._run(UPDATE, margins)

    def get_state(self) -> dict[str, Any]:
        """Copy everything that decides the future."""
        return {"memory": self._memory.clone(), "clock": self._clock}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy taken from a monitor of the same formula, size and kind of device.

        Raises:
            ValueError: a copy of another size.
        """
        memory = snapshot["memory"]
        check_shape("the snapshot's memory", memory, tuple(self._memory.shape), "that of this formula and num_envs")
        self._memory.copy_(memory)
        self._clock = snapshot["clock"]
        self.low, self.high = self._slot(LOW).flatten()[: self.num_envs], self._slot(HIGH).flatten()[: self.num_envs]

    def _slot(self, slot: int) -> torch.Tensor:
        """A copy of one number of every env."""
        return (self._memory[:, slot] if self.device.type == "cpu" else self._memory[slot]).clone()

    def _allocate(self) -> None:
        # A CPU wants what belongs to a tile in one place, a GPU what neighbouring threads read at the same time.
        slots, tiles = self.program.slots, self._tiles
        size = 4 * slots * tiles * self._lanes
        if size > MAX_BYTES:
            raise ValueError(
                f"Expected a formula whose windows take at most {MAX_BYTES >> 30} GiB for {self.num_envs} envs, got "
                f"{size / 2**30:.1f} GiB for {self.formula}; shorten its nested intervals or lower num_envs."
            )
        outer, inner = (tiles, slots) if self.device.type == "cpu" else (slots, tiles)
        self._memory = torch.zeros((outer, inner, self._lanes), dtype=torch.float32, device=self.device)
        by_slot = self._memory.transpose(0, 1) if self.device.type == "cpu" else self._memory
        by_slot[TRUE] = by_slot[HIGH] = torch.inf
        by_slot[LOW] = -torch.inf
        by_slot[TIME] = self.program.last + self.program.extra + 1
        self._program = torch.tensor(self.program.rows, dtype=torch.int32, device=self.device)
        self.low = torch.full((self.num_envs,), -torch.inf, device=self.device)
        self.high = torch.full((self.num_envs,), torch.inf, device=self.device)

    def _cut(self, threads: int | None) -> list[tuple[int, int]]:
        if threads is not None and threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = 1 if self.device.type == "cuda" else min(threads or cores, max(1, self.num_envs // MIN_SLICE))
        edges = [round(i * self._tiles / wanted) for i in range(wanted + 1)]
        return list(itertools.pairwise(edges))

    def _record(self, why: int, start: int, stop: int) -> wp.Launch:
        """Record a launch for some tiles; a step only changes its clock and pointers."""
        vector, kernel = monitor_kernel(self._lanes)
        shape = Shape()
        shape.num_envs, shape.columns = self.num_envs, len(self.predicates)
        shape.low, shape.high = self.program.low, self.program.high
        shape.last, shape.extra = self.program.last, self.program.extra
        size = 4 * self._lanes
        slots, tiles = self.program.slots, self._tiles
        memory: wp.array = wp.array(
            ptr=self._memory.data_ptr(), shape=(slots, tiles), dtype=vector, device=str(self.device),
            strides=(size, size * slots) if self.device.type == "cpu" else (size * tiles, size),
        )  # fmt: skip
        zero = wp.uint64(0)
        inputs = [start, wp.int64(0), zero, zero, zero, zero, why, shape, wp.from_torch(self._program), memory]
        return wp.launch(kernel, dim=stop - start, inputs=inputs, device=str(self.device), record_cmd=True)

    def _checked(self, margins: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        check_shape("margins", margins, (self.num_envs, len(self.predicates)), "(num_envs, predicates)")
        if not margins.is_floating_point():
            raise ValueError(f"Expected margins of a floating-point dtype, got {margins.dtype}.")
        margins = margins.detach().to(self.device, torch.float32).contiguous()
        if self.device.type == "cpu":
            broken = np.isnan(margins.numpy())
            if mask is not None:
                broken &= mask.numpy()[:, None]
            if broken.any():
                env, column = np.argwhere(broken)[0]
                raise ValueError(
                    f"Expected margins that are numbers, got NaN for predicate {self.predicates[column]!r} in env "
                    f"{env} ({int(broken.any(axis=1).sum())} envs in all)."
                )
        return margins

    def _run(self, why: int, margins: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        padded = self._tiles * self._lanes
        low, high = (torch.empty(padded, dtype=torch.float32, device=self.device) for _ in range(2))
        pointers = [margins.data_ptr(), low.data_ptr(), high.data_ptr(), 0 if mask is None else mask.data_ptr()]
        for launch in self._launches[why]:
            launch.set_param_at_index(1, wp.int64(self._clock))
            for place, pointer in enumerate(pointers, start=2):
                launch.set_param_at_index(place, wp.uint64(pointer))
        self._launch(self._launches[why])
        self.low, self.high = low[: self.num_envs], high[: self.num_envs]

    def _launch(self, launches: list[wp.Launch]) -> None:
        if self._pool is None:
            stream = {"stream": wp.stream_from_torch(self.device)} if self.device.type == "cuda" else {}
            launches[0].launch(**stream)
            return
        # A launch releases the GIL, so the slices run side by side; no torch call happens in the threads.
        futures = [self._pool.submit(launch.launch) for launch in launches[1:]]
        launches[0].launch()
        for future in futures:
            future.result()
