"""`cairn bench`: how fast the worlds step, beside the reference and a peer measured in the same run.

A step is control step + observation + automatic reset + episode statistics, under random actions. All candidates take
turns in every round and the figure is each one's best round, so that a busy machine slows none of them alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from cairngym.envs.checks import unknown_name
from cairngym.experiments.provenance import hardware, versions


@dataclass(frozen=True, kw_only=True)
class MiniGridBenchmark:
    """What `cairn bench minigrid` measures."""

    env: str = "MiniGrid-DoorKey-8x8-v0"
    """The MiniGrid id."""
    batch: tuple[int, ...] = (4096, 65536)
    """Numbers of envs stepped together."""
    threads: int = 2
    """CPU threads for cairngym and for EnvPool."""
    device: str = "cpu"
    """Where cairngym's worlds live."""
    rounds: int = 5
    """Rounds in which every candidate has its turn."""
    seconds: float = 1.0
    """How long a turn takes, at least."""
    out: Path | None = None
    """JSON file for the result."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that steps, and what came of it."""

    name: str
    batch: int
    threads: int
    run: Callable[[], int]
    """Steps once; returns how many env steps that was."""
    best: float = 0.0
    """Env steps per second in the best round."""


def ours(config: MiniGridBenchmark, batch: int, copy: bool) -> Candidate:
    """Cairngym; `copy=False` lets every step overwrite the tensors of the last one."""
    import torch

    import cairngym

    env = cairngym.make(config.env, batch, config.device, seed=0, threads=config.threads, copy=copy)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(int(env.single_action_space.n), (16, batch), generator=generator)
    turns = cycle(actions.to(config.device))

    def run() -> int:
        env.step(next(turns))
        return batch

    name = "cairngym" if copy else "cairngym (copy=False)"
    return Candidate(name=name, batch=batch, threads=config.threads if config.device == "cpu" else 0, run=run)


def reference(config: MiniGridBenchmark) -> Candidate:
    """One upstream env, stepped and reset in a loop."""
    from cairngym.envs.minigrid.levels import make_reference

    env = make_reference(config.env)
    env.reset(seed=0)
    actions = cycle(np.random.default_rng(0).integers(0, int(env.action_space.n), 4096))

    def run() -> int:
        for _ in range(256):
            _, _, terminated, truncated, _ = env.step(next(actions))
            if terminated or truncated:
                env.reset()
        return 256

    return Candidate(name=f"minigrid {metadata.version('minigrid')}", batch=1, threads=1, run=run)


def envpool_peer(config: MiniGridBenchmark, batch: int) -> Candidate | None:
    """EnvPool's port of the same id, if it is installed."""
    if util.find_spec("envpool") is None:
        return None
    import envpool

    env = envpool.make_gymnasium(config.env, num_envs=batch, num_threads=config.threads, seed=0)
    env.reset()
    actions = cycle(np.random.default_rng(0).integers(0, int(env.action_space.n), (16, batch)))

    def run() -> int:
        env.step(next(actions))
        return batch

    name = f"EnvPool {metadata.version('envpool')}"
    return Candidate(name=name, batch=batch, threads=config.threads, run=run)


def cycle(items: Any) -> Iterator[Any]:
    """Go through the items again and again."""
    while True:
        yield from items


def measure(candidates: Sequence[Candidate], rounds: int, seconds: float) -> list[Candidate]:
    """Let every candidate step for `seconds` in each of `rounds` rounds, after a warm-up, and note its best rate."""
    for candidate in candidates:
        for _ in range(3):
            candidate.run()
    best = [0.0] * len(candidates)
    for _ in range(rounds):
        for i, candidate in enumerate(candidates):
            start, steps = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                steps += candidate.run()
            best[i] = max(best[i], steps / (time.perf_counter() - start))
    return [replace(candidate, best=rate) for candidate, rate in zip(candidates, best, strict=True)]


def table(results: Sequence[Candidate]) -> str:
    """The result as Markdown: steps per second, and how many times the reference's and the peer's that is."""
    base = next(r.best for r in results if r.name.startswith("minigrid "))
    peer = max((r.best for r in results if r.name.startswith("EnvPool")), default=None)
    lines = [
        "| candidate | envs | threads | M steps/s | x minigrid | x EnvPool |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        times = f"{r.best / peer:.1f}" if peer else "not installed"
        rate, ratio = f"{r.best / 1e6:.3f}", f"{r.best / base:,.0f}"
        lines.append(f"| {r.name} | {r.batch} | {r.threads or 'GPU'} | {rate} | {ratio} | {times} |")
    return "\n".join(lines)


def bench_minigrid(config: MiniGridBenchmark) -> int:
    """Measure, print the table and write the JSON."""
    import torch

    torch.set_num_threads(config.threads)
    candidates = [reference(config)]
    for batch in config.batch:
        candidates += [ours(config, batch, copy=True), ours(config, batch, copy=False)]
        peer = envpool_peer(config, batch)
        candidates += [peer] if peer else []
    results = measure(candidates, config.rounds, config.seconds)
    print(f"{config.env}: step + observation + autoreset + episode statistics, best of {config.rounds} rounds\n")
    print(table(results))
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"name": r.name, "envs": r.batch, "threads": r.threads, "steps_per_second": r.best} for r in results]
        record = {"env": config.env, "results": rows, "versions": versions(), "hardware": hardware(config.device)}
        config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nWritten to {config.out}")
    return 0


BENCHMARKS = {"minigrid": (MiniGridBenchmark, bench_minigrid)}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark named by the first argument (default: minigrid) with the options that follow."""
    names = [argument for argument in arguments[:1] if not argument.startswith("-")]
    name = names[0] if names else "minigrid"
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    config_class, run = BENCHMARKS[name]
    config = tyro.cli(config_class, args=list(arguments[len(names) :]), prog=f"cairn bench {name}")
    return run(config)
