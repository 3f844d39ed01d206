"""Latency of exported policies on one core, beside the agents they come from and onnxruntime without our checks.

    python benchmarks/export_latency.py                     networks of common sizes, untrained
    python benchmarks/export_latency.py policy.onnx …       files of `cairn export`

Prints a table in Markdown: microseconds for one observation.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cairngym
from cairngym.agents.core import Agent
from cairngym.agents.registry import make_agent
from cairngym.envs.core import TensorEnv
from cairngym.sim2real.export import export_policy
from cairngym.sim2real.policy import OnnxPolicy
from cairngym.sim2real.policy_latency import measure, one_core

CASES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PointMaze_UMaze-v3", "ppo", {"hidden": (64, 64)}),
    ("PointMaze_UMaze-v3", "ppo", {"hidden": (64, 64), "memory": 64}),
    ("FetchPush-v4", "sac", {"hidden": (256, 256)}),
    ("FetchPush-v4", "td3", {"hidden": (512, 512, 512)}),
    ("MiniGrid-DoorKey-8x8-v0", "ppo", {"hidden": (64, 64)}),
)
HEAD = (
    "| policy | OnnxPolicy p50 | OnnxPolicy p99 | onnxruntime alone p50 | p99 | torch agent p50 | p99 |\n|---"
    + "|---" * 6
    + "|"
)


def timed(call: Callable[[], Any], calls: int, warmup: int = 200) -> tuple[float, float]:
    """Median and 99th percentile of a call's time, us."""
    times = np.empty(warmup + calls)
    with one_core():
        for index in range(warmup + calls):
            start = time.perf_counter_ns()
            call()
            times[index] = (time.perf_counter_ns() - start) / 1000.0
    p50, p99 = np.percentile(times[warmup:], (50, 99))
    return float(p50), float(p99)


def raw(path: Path, calls: int) -> tuple[float, float]:
    """Times of the session alone, on ready inputs."""
    import onnxruntime

    said = OnnxPolicy(path).metadata
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fed = {entry["name"]: np.zeros((1, *entry["stacked_shape"]), entry["dtype"]) for entry in said["inputs"]}
    fed |= {each["input"]: np.zeros((1, *each["shape"]), each["dtype"]) for each in said["memory"]}
    return timed(lambda: session.run(None, fed), calls)


def acting(agent: Agent, env: TensorEnv, calls: int) -> tuple[float, float]:
    """Times of the agent's own actor on one env."""
    actor, (obs, _) = agent.actor(1, deterministic=True), env.reset()
    return timed(lambda: actor.act(obs), calls)


def row(name: str, path: Path, calls: int, agent: tuple[float, float] | None) -> str:
    """One line of the table."""
    ours, alone = measure(path, calls=calls), raw(path, calls)
    times = [ours.p50_us, ours.p99_us, *alone, *(agent or ())]
    return f"| {name} | " + " | ".join(f"{value:.0f}" for value in times) + (" |" if agent else " | - | - |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--calls", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEAD, flush=True)
    for path in options.files:
        print(row(path.name, path, options.calls, None), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for env_id, name, settings in () if options.files else CASES:
            env, path = cairngym.make(env_id), Path(folder, "policy.onnx")
            agent = make_agent(name, env, **settings)
            export_policy(agent, env, path, states=200)
            sizes = " ".join(f"{key}={value}" for key, value in settings.items())
            print(row(f"{name} {sizes}, {env_id}", path, options.calls, acting(agent, env, options.calls)), flush=True)


if __name__ == "__main__":
    main()
