"""How long an exported policy takes on one core."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cairngym.sim2real.policy import OnnxPolicy


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of single calls, one observation each."""

    p50_us: float
    p99_us: float
    calls: int

    def text(self) -> str:
        """In one line."""
        return f"p50 {self.p50_us:.1f} us, p99 {self.p99_us:.1f} us over {self.calls:,} calls on one core"


def measure(path: str | Path, *, calls: int = 5000, warmup: int = 500, seed: int = 0) -> Latency:
    """Time `OnnxPolicy` on random observations, checks and memory included, on one core of this machine.

    Args:
        path: of an exported policy.
        calls: how many are timed.
        warmup: how many are made before.
        seed: of the observations.

    Raises:
        FileNotFoundError: no such file.
        PolicyFileError: no exported policy.
        ValueError: less than one call.
    """
    if calls < 1:
        raise ValueError(f"Expected calls >= 1, got {calls}.")
    policy, generator = OnnxPolicy(path), np.random.default_rng(seed)
    observations = [
        {entry["name"]: generator.uniform(0.0, 1.0, entry["shape"]) for entry in policy.metadata["inputs"]}
        for _ in range(64)
    ]  # fmt: skip
    times = np.empty(warmup + calls, dtype=np.int64)
    with one_core():
        for index in range(warmup + calls):
            observation = observations[index % len(observations)]
            start = time.perf_counter_ns()
            policy(observation)
            times[index] = time.perf_counter_ns() - start
    p50, p99 = np.percentile(times[warmup:] / 1000.0, (50, 99))
    return Latency(p50_us=float(p50), p99_us=float(p99), calls=calls)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one of its cores, where the system knows how."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
