"""`cairn bench`: how fast the worlds step, beside references and peers measured in the same run.

A step is control step + observation + automatic reset + episode statistics, under random actions. All candidates take
turns in every round and the figure is each one's best round, so that a busy machine slows none of them alone.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from cairngym.envs.checks import unknown_name
from cairngym.experiments.provenance import hardware, versions

BENCHMARKS: Mapping[str, str] = {
    "evolution": "cairngym.experiments.benchmark_evolution",
    "lidar": "cairngym.experiments.benchmark_lidar",
    "minigrid": "cairngym.experiments.benchmark_minigrid",
    "oni": "cairngym.experiments.benchmark_oni",
    "physics": "cairngym.experiments.benchmark_physics",
    "shapers": "cairngym.experiments.benchmark_shapers",
    "stl": "cairngym.experiments.benchmark_stl",
    "stl_worlds": "cairngym.experiments.benchmark_stl_worlds",
}
"""Names to modules with a `Benchmark` dataclass of options and a function `run`."""


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


def write_record(path: Path | None, results: Sequence[Candidate], device: str, **facts: Any) -> None:
    """Write the figures with versions and hardware as JSON, if there is a path."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"name": r.name, "envs": r.batch, "threads": r.threads, "steps_per_second": r.best} for r in results]
    record = {**facts, "results": rows, "versions": versions(), "hardware": hardware(device)}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nWritten to {path}")


def report_alone(title: str, results: Sequence[Candidate], device: str, out: Path | None) -> None:
    """Print the speeds of worlds that nobody else has, and write them."""
    print(f"{title}\n\n| env | envs | threads | M steps/s |\n|---|---:|---:|---:|")
    for r in results:
        print(f"| {r.name} | {r.batch} | {r.threads} | {r.best / 1e6:.2f} |")
    write_record(out, results, device, tasks=[r.name for r in results])


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark named by the first argument (default: minigrid) with the options that follow."""
    names = [argument for argument in arguments[:1] if not argument.startswith("-")]
    name = names[0] if names else "minigrid"
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    module = importlib.import_module(BENCHMARKS[name])
    config = tyro.cli(module.Benchmark, args=list(arguments[len(names) :]), prog=f"cairn bench {name}")
    return module.run(config)
