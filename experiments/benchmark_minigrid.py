"""`cairn bench minigrid`: MiniGrid's worlds beside minigrid and EnvPool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import numpy as np

from cairngym.experiments.benchmark import Candidate, cycle, measure, write_record


@dataclass(frozen=True, kw_only=True)
class Benchmark:
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


def ours(config: Benchmark, batch: int, copy: bool) -> Candidate:
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


def reference(config: Benchmark) -> Candidate:
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


def envpool_peer(config: Benchmark, batch: int) -> Candidate | None:
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


def run(config: Benchmark) -> int:
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
    write_record(config.out, results, config.device, env=config.env)
    return 0
