"""Env steps per second of MuJoCo worlds on a GPU over batch sizes, beside `mujoco_warp` alone on the same model.

    python benchmarks/physics_gpu.py --out benchmarks/results/physics_gpu.json

A step of ours is control step + observation + reward + automatic reset + episode statistics under random actions.
`mujoco_warp` alone is what `mjwarp-testspeed` measures: a recorded physics step replayed, here from the start of one of
our episodes and with the same buffer sizes, counted in control steps. The difference is what the task costs.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import torch
import tyro

import cairngym
from cairngym.experiments.provenance import hardware, versions


@dataclass(frozen=True, kw_only=True)
class PhysicsGpu:
    """What is measured."""

    envs: tuple[str, ...] = ("FetchPush-v4", "AntMaze_UMaze-v4")
    """Ids on MuJoCo."""
    smallest: int = 8
    """Logarithm (base 2) of the smallest batch."""
    largest: int = 14
    """Logarithm (base 2) of the largest batch."""
    steps: int = 200
    """Control steps of a measurement."""
    device: str = "cuda"
    """Where the worlds live; on "cpu" the same kernels run slowly on one thread, which only shows that this works."""
    out: Path | None = None
    """JSON file for the result."""


def ours(env_id: str, batch: int, config: PhysicsGpu) -> tuple[float, Any]:
    """Env steps per second of cairngym, and the env."""
    env = cairngym.make(env_id, batch, config.device, seed=0, driver="warp")
    env.reset(options={"stagger": True})
    size = env.single_action_space.shape[0]  # type: ignore[index]
    actions = (torch.rand(16, batch, size, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(config.device)
    seconds = 0.0
    for count in (3, config.steps):  # the first call compiles and records graphs
        wait(config.device)
        start = time.perf_counter()
        for k in range(count):
            env.step(actions[k % 16])
        wait(config.device)
        seconds = time.perf_counter() - start
    return batch * config.steps / seconds, env


def wait(device: str) -> None:
    """Until the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def engine_alone(env: Any, batch: int, config: PhysicsGpu) -> float:
    """Control steps per second of `mujoco_warp` alone: one physics step recorded and replayed, as testspeed does."""
    import mujoco_warp
    import warp

    world = env.world
    start = mujoco.MjData(world.model)
    world.driver.write_data(0, start)
    mujoco.mj_forward(world.model, start)
    sizes = world.driver.sizes
    with warp.ScopedDevice("cuda:0" if config.device == "cuda" else "cpu"):
        model = mujoco_warp.put_model(world.model)
        data = mujoco_warp.put_data(world.model, start, nworld=batch, nconmax=sizes.nconmax, njmax=sizes.njmax)
        mujoco_warp.step(model, data)  # compiles
        with warp.ScopedCapture() as capture:
            mujoco_warp.step(model, data)
        warp.synchronize()
        began = time.perf_counter()
        for _ in range(config.steps * world.substeps):
            warp.capture_launch(capture.graph)
        warp.synchronize()
    return batch * config.steps / (time.perf_counter() - began)


def main(config: PhysicsGpu) -> int:
    """Measure every env at every batch and print the table."""
    if config.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device: nothing measured.")
        return 1
    rows, tasks = [], []
    print("| env | envs | steps/s | mujoco_warp alone | overhead |\n|---|---:|---:|---:|---:|")
    for env_id in config.envs:
        for power in range(config.smallest, config.largest + 1):
            rate, env = ours(env_id, 1 << power, config)
            limit = engine_alone(env, 1 << power, config)
            env.close()
            print(f"| {env_id} | 2^{power} | {rate:,.0f} | {limit:,.0f} | {1 - rate / limit:.0%} |", flush=True)
            for name, speed in (("cairngym", rate), ("mujoco_warp alone", limit)):
                rows.append({"name": name, "envs": 1 << power, "threads": 0, "steps_per_second": speed})
                tasks.append(env_id)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"tasks": tasks, "results": rows, "versions": versions(), "hardware": hardware(config.device)}
        config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(PhysicsGpu)))
