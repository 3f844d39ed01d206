"""`cairn bench physics`: MuJoCo worlds beside raw stepping of their model, EnvPool and Gymnasium-Robotics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from cairngym.experiments.benchmark import Candidate, cycle, measure, write_record

RAW, PEER, UPSTREAM = "raw stepping", "EnvPool", "Gymnasium-Robotics"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What `cairn bench physics` measures."""

    envs: tuple[str, ...] = ("FetchPush-v4", "AntMaze_UMaze-v4", "PointMaze_UMaze-v3")
    """Ids on MuJoCo."""
    batch: int = 1024
    """Number of envs stepped together."""
    threads: int = 2
    """CPU threads for cairngym, for raw stepping and for EnvPool."""
    rounds: int = 5
    """Rounds in which every candidate has its turn."""
    seconds: float = 2.0
    """How long a turn takes, at least."""
    out: Path | None = None
    """JSON file for the result."""


def ours(env_id: str, config: Benchmark) -> Candidate:
    """Cairngym: observation, reward, automatic reset and statistics included."""
    env, actions = _make(env_id, config)
    env.reset(options={"stagger": True})
    turns = cycle(actions)

    def run() -> int:
        env.step(next(turns))
        return config.batch

    return Candidate(name="cairngym", batch=config.batch, threads=config.threads, run=run)


def raw(env_id: str, config: Benchmark) -> Candidate:
    """`mujoco.batch` alone: the same model, substeps and controls, put back to the start every horizon.

    Nothing is observed, judged or counted: a limit, not a peer.
    """
    env, actions = _make(env_id, config)
    env.reset()
    world: Any = env.world
    batch, start = world.driver.batch, world.driver.batch.state.copy()
    turns, horizon, count = cycle(actions.to(world.driver.dtype)), env.task.horizon, [0]

    def run() -> int:
        if count[0] % horizon == 0:
            batch.state[...] = start
        count[0] += 1
        world.control(next(turns))
        batch.step(nstep=world.substeps)
        return config.batch

    return Candidate(name=RAW, batch=config.batch, threads=config.threads, run=run)


def _make(env_id: str, config: Benchmark) -> tuple[Any, Any]:
    import torch

    import cairngym

    env = cairngym.make(env_id, config.batch, seed=0, driver_options={"threads": config.threads})
    size = env.single_action_space.shape[0]
    actions = torch.rand(16, config.batch, size, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    return env, actions


def envpool_peer(env_id: str, config: Benchmark) -> Candidate | None:
    """EnvPool's port of the same id, if it is installed and has one."""
    if util.find_spec("envpool") is None:
        return None
    import envpool

    if env_id not in envpool.list_all_envs():
        return None
    env = envpool.make_gymnasium(env_id, num_envs=config.batch, num_threads=config.threads, seed=0)
    env.reset()
    low, high = env.action_space.low, env.action_space.high
    turns = cycle(np.random.default_rng(0).uniform(low, high, (16, config.batch, *env.action_space.shape)))

    def run() -> int:
        env.step(next(turns))
        return config.batch

    name = f"{PEER} {metadata.version('envpool')}"
    return Candidate(name=name, batch=config.batch, threads=config.threads, run=run)


def upstream(env_id: str) -> Candidate:
    """One env of Gymnasium-Robotics, stepped and reset in a loop."""
    import gymnasium
    import gymnasium_robotics

    import cairngym.envs.compat  # noqa: F401  lets it run on the MuJoCo installed

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make(env_id, disable_env_checker=True)
    env.reset(seed=0)
    space: Any = env.action_space
    turns = cycle(np.random.default_rng(0).uniform(space.low, space.high, (256, *space.shape)))

    def run() -> int:
        for _ in range(32):
            _, _, terminated, truncated, _ = env.step(next(turns))
            if terminated or truncated:
                env.reset()
        return 32

    name = f"{UPSTREAM} {metadata.version('gymnasium-robotics')}"
    return Candidate(name=name, batch=1, threads=1, run=run)


def table(results: Sequence[Candidate]) -> str:
    """Markdown rows: steps per second, the share of raw stepping, and how many times the peers' that is."""
    limit = next(r.best for r in results if r.name == RAW)
    peer = next((r.best for r in results if r.name.startswith(PEER)), None)
    lines = []
    for r in results:
        times = f"{r.best / peer:.2f}" if peer else "no such id"
        lines.append(f"| {r.name} | {r.batch} | {r.threads} | {r.best:,.0f} | {r.best / limit:.0%} | {times} |")
    return "\n".join(lines)


def run(config: Benchmark) -> int:
    """Measure, print a table for every env and write the JSON."""
    import torch

    torch.set_num_threads(1)  # the physics has its own threads; torch's would spin on their cores
    everything: list[Candidate] = []
    tasks = []
    for env_id in config.envs:
        found = [raw(env_id, config), ours(env_id, config), envpool_peer(env_id, config), upstream(env_id)]
        results = measure([candidate for candidate in found if candidate], config.rounds, config.seconds)
        print(f"\n{env_id}: step + observation + reward + autoreset, best of {config.rounds} rounds\n")
        print("| candidate | envs | threads | steps/s | of raw | x EnvPool |\n|---|---:|---:|---:|---:|---:|")
        print(table(results), flush=True)
        everything += results
        tasks += [env_id] * len(results)
    write_record(config.out, everything, "cpu", tasks=tasks)
    return 0
