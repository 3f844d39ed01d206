"""Env steps per second on a GPU over batch sizes, beside NAVIX and XLand-MiniGrid where they are installed.

    python benchmarks/gpu.py [--env MiniGrid-DoorKey-8x8-v0] [--out benchmarks/results/minigrid_gpu.json]

A step is control step + observation + automatic reset + episode statistics under random actions. Neither peer renders
MiniGrid's occluded view, and NAVIX leaves out the time penalty of the reward; their figures are upper bounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import tyro

from cairngym.experiments.provenance import hardware, versions

PUBLISHED = (
    ("NAVIX", "670 M steps/s", "its README: 2048 PPO agents x 16 envs of small rooms on one A100; whole training runs"),
    ("XLand-MiniGrid", "tens of millions of steps/s", "its paper: 2^13 envs on one A100"),
)


@dataclass(frozen=True, kw_only=True)
class GpuBenchmark:
    """What is measured."""

    env: str = "MiniGrid-DoorKey-8x8-v0"
    """The MiniGrid id."""
    smallest: int = 10
    """Logarithm (base 2) of the smallest batch."""
    largest: int = 20
    """Logarithm (base 2) of the largest batch."""
    seconds: float = 1.0
    """How long each batch is stepped."""
    out: Path | None = None
    """JSON file for the result."""


def rate(step: Callable[[], Any], wait: Callable[[], Any], batch: int, seconds: float) -> float:
    """Env steps per second of `step`, which moves `batch` envs; `wait` blocks until the device is done."""
    for _ in range(10):
        step()
    wait()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(20):
            step()
        wait()
        calls += 20
    return calls * batch / (time.perf_counter() - start)


def ours(env_id: str, batch: int, seconds: float) -> float:
    """Cairngym on "cuda"."""
    import torch

    import cairngym

    env = cairngym.make(env_id, batch, "cuda", seed=0)
    env.reset()
    actions = torch.randint(int(env.single_action_space.n), (batch,), device="cuda")  # type: ignore[attr-defined]
    return rate(lambda: env.step(actions), torch.cuda.synchronize, batch, seconds)


def navix(env_id: str, batch: int, seconds: float) -> float | None:
    """NAVIX on JAX's default device; None where it is not installed."""
    if util.find_spec("navix") is None:
        return None
    import jax
    import navix as nx

    env = nx.make(env_id.replace("MiniGrid-", "Navix-"))
    keys = jax.random.split(jax.random.key(0), batch)
    step = jax.jit(jax.vmap(env.step))
    actions = jax.random.randint(jax.random.key(1), (batch,), 0, 7)
    held = [jax.vmap(env.reset)(keys)]

    def advance() -> None:
        held[0] = step(held[0], actions)

    return rate(advance, lambda: jax.block_until_ready(held[0]), batch, seconds)


def xland(env_id: str, batch: int, seconds: float) -> float | None:
    """XLand-MiniGrid on JAX's default device; None where it is not installed."""
    if util.find_spec("xminigrid") is None:
        return None
    import jax
    import xminigrid
    from xminigrid.wrappers import GymAutoResetWrapper

    env, params = xminigrid.make(env_id.rsplit("-v", 1)[0])
    env = GymAutoResetWrapper(env)
    keys = jax.random.split(jax.random.key(0), batch)
    step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
    actions = jax.random.randint(jax.random.key(1), (batch,), 0, 6)
    held = [jax.vmap(env.reset, in_axes=(None, 0))(params, keys)]

    def advance() -> None:
        held[0] = step(params, held[0], actions)

    return rate(advance, lambda: jax.block_until_ready(held[0]), batch, seconds)


def main(config: GpuBenchmark) -> int:
    """Measure every candidate at every batch and print the table."""
    import torch

    if not torch.cuda.is_available():
        print("No CUDA device: nothing measured. Figures the peers publish, on their own hardware and terms:")
        for name, figure, source in PUBLISHED:
            print(f"  {name}: {figure} ({source})")
        return 1
    candidates = {"cairngym": ours, "NAVIX": navix, "XLand-MiniGrid": xland}
    rows = []
    print("| candidate | envs | M steps/s |\n|---|---:|---:|")
    for power in range(config.smallest, config.largest + 1):
        for name, candidate in candidates.items():
            measured = candidate(config.env, 1 << power, config.seconds)
            if measured is not None:
                rows.append({"name": name, "envs": 1 << power, "steps_per_second": measured})
                print(f"| {name} | 2^{power} | {measured / 1e6:.2f} |", flush=True)
    for name, figure, source in PUBLISHED:
        if name not in {row["name"] for row in rows}:
            print(f"\n{name} is not installed; published: {figure} ({source}).")
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"env": config.env, "results": rows, "versions": versions(), "hardware": hardware("cuda")}
        config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(GpuBenchmark)))
