"""Episode after episode of extreme random actions on every physics id: nothing that is not finite may leave an env.

python benchmarks/soak.py --episodes 1000 --out benchmarks/results/soak.json

Actions are corners of the action box, held for a random number of steps. The memory of the process is read after a
quarter of the episodes and at the end. Exits with 1 if an id showed a NaN or an infinity, crashed, or grew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import cairngym
from cairngym.envs.registry import get_spec
from cairngym.experiments.provenance import hardware, versions

FAMILIES = ("adroit", "fetch", "lidar", "maze")
GROWTH = 32.0
"""Megabytes that a process may grow by between a quarter and the end."""


@dataclass(frozen=True, kw_only=True)
class Soak:
    """What is soaked."""

    episodes: int = 1000
    """Episodes of every id."""
    batch: int = 250
    """Envs stepped together."""
    only: str = ""
    """Part of the ids' names; empty takes all."""
    device: str = "cpu"
    """Where the worlds live."""
    out: Path | None = None
    """JSON file for the result."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What came of one id."""

    id: str
    episodes: int
    steps: int
    diverged: int
    """Env steps whose simulation failed and was put back."""
    finite: bool
    """Whether every observation, state field and reward was finite."""
    grown_mb: float
    """Growth of the process's memory over the last three quarters of the episodes."""
    seconds: float


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 2**20


def all_finite(values: Any) -> bool:
    """Whether every floating-point number in tensors or (nested) mappings of them is finite."""
    if isinstance(values, Mapping):
        return all(all_finite(value) for value in values.values())
    return not values.is_floating_point() or bool(torch.isfinite(values).all())


def soak(env_id: str, config: Soak) -> Record:
    """Play the episodes of one id."""
    batch = min(config.batch, config.episodes)
    env = cairngym.make(env_id, batch, config.device, seed=0)
    generator = torch.Generator().manual_seed(0)
    env.reset(options={"stagger": True})
    size = env.single_action_space.shape[0]  # type: ignore[index]
    action = torch.ones(batch, size)
    episodes = steps = diverged = 0
    finite, quarter, began = True, None, time.perf_counter()
    while episodes < config.episodes:
        turn = torch.rand(batch, size, generator=generator) < 0.2
        corner = torch.randint(0, 2, (batch, size), generator=generator) * 2.0 - 1.0
        action = torch.where(turn, corner, action)
        obs, reward, _, _, info = env.step(action.to(config.device))
        finite &= all_finite({"obs": obs, "reward": reward, "final": info["final_obs"], "state": info["final_state"]})
        episodes += int(info["_episode"].sum())
        diverged += int(info["physics_error"].sum()) if "physics_error" in info else 0
        steps += batch
        if quarter is None and episodes >= config.episodes / 4:
            quarter = memory_mb()
    grown = memory_mb() - (quarter or 0.0)
    env.close()
    return Record(
        id=env_id, episodes=episodes, steps=steps, diverged=diverged, finite=finite, grown_mb=round(grown, 1),
        seconds=round(time.perf_counter() - began, 1),
    )  # fmt: skip


def known(config: Soak) -> list[Record]:
    """What the file holds of as many episodes."""
    if config.out is None or not config.out.exists():
        return []
    found = [Record(**row) for row in json.loads(config.out.read_text(encoding="utf-8"))["results"]]
    return [record for record in found if record.episodes >= config.episodes]


def write(records: Sequence[Record], config: Soak) -> None:
    """Write what is known so far, if there is a path."""
    if config.out is None:
        return
    rows = [asdict(record) for record in records]
    content = {"results": rows, "versions": versions(), "hardware": hardware(config.device)}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(config: Soak) -> int:
    """Soak every id, print a table and write the JSON."""
    torch.set_num_threads(1)
    ids = [name for name in cairngym.list_envs() if get_spec(name).family in FAMILIES and config.only in name]
    print("| id | episodes | steps | diverged | finite | memory, MB | s |\n|---|---:|---:|---:|---|---:|---:|")
    done = {record.id: record for record in known(config)}
    records: list[Record] = []
    for env_id in ids:
        r = done.get(env_id) or soak(env_id, config)
        records.append(r)
        row = (r.id, r.episodes, r.steps, r.diverged, "yes" if r.finite else "NO", f"{r.grown_mb:+.1f}", r.seconds)
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        write(records, config)
    return int(any(not record.finite or record.grown_mb > GROWTH for record in records))


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Soak)))
