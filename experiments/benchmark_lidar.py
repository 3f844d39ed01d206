"""`cairn bench lidar`: LidarRooms' worlds by themselves; nobody else has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cairngym.experiments.benchmark import Candidate, cycle, measure, report_alone


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What `cairn bench lidar` measures."""

    envs: tuple[str, ...] = (
        "LidarRooms-Small-v0", "LidarRooms-Medium-v0", "LidarRooms-Large-v0", "LidarRooms-Maze-v0",
    )  # fmt: skip
    """The ids."""
    batch: int = 8192
    """Number of envs stepped together."""
    threads: int = 2
    """CPU threads."""
    device: str = "cpu"
    """Where the worlds live."""
    rounds: int = 5
    """Rounds in which every id has its turn."""
    seconds: float = 1.0
    """How long a turn takes, at least."""
    out: Path | None = None
    """JSON file for the result."""


def ours(env_id: str, config: Benchmark) -> Candidate:
    """One id with its default beams under random actions."""
    import torch

    import cairngym

    env = cairngym.make(env_id, config.batch, config.device, seed=0, threads=config.threads)
    env.reset(options={"stagger": True})
    actions = torch.rand(16, config.batch, 2, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    turns = cycle(actions.to(config.device))

    def run() -> int:
        env.step(next(turns))
        return config.batch

    return Candidate(name=env_id, batch=config.batch, threads=config.threads, run=run)


def run(config: Benchmark) -> int:
    """Measure, print the table and write the JSON."""
    import torch

    torch.set_num_threads(config.threads)
    results = measure([ours(env_id, config) for env_id in config.envs], config.rounds, config.seconds)
    title = f"step + lidar + collision + reward + autoreset, best of {config.rounds} rounds"
    report_alone(title, results, config.device, config.out)
    return 0
