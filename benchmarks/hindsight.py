"""Training wall time to a success rate on a Fetch task: our agent with hindsight beside Stable-Baselines3's HER.

    python benchmarks/hindsight.py --config goals_push --task FetchPush-v4 --target 0.9 --limit-s 1800

Our agent has the settings of a variant of a packaged comparison. Training stops when `target` of `probe` evaluation
episodes succeed at their end and `episodes` others confirm it; where they don't, it goes on. Stable-Baselines3 (SAC
with HER, its own defaults but for the batch and the discount, which are ours) trains on the same env for as long as our
median run took, and for as many env steps; both scores are recorded. The clock counts training alone: imports, set-up
and evaluation are left out.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

import cairngym
from cairngym.agents.core import Agent
from cairngym.agents.evaluation import evaluate
from cairngym.agents.registry import make_agent
from cairngym.experiments.config import RunConfig, load_comparison
from cairngym.experiments.matrix import expand
from cairngym.experiments.presets import find_config
from cairngym.experiments.provenance import hardware, versions
from cairngym.experiments.resolve import resolve
from cairngym.experiments.run import make_env, make_run_agent

EVALUATION_SEED = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """What is measured."""

    config: str = "goals"
    """The packaged comparison whose settings are taken."""
    variant: str = "her"
    """Its variant."""
    task: str = "FetchReach-v4"
    """The id."""
    target: float = 0.99
    """Share of evaluation episodes that succeed at their end."""
    limit_s: float = 30.0
    """Seconds of training after which a run gives up."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of our runs."""
    check_s: float = 3.0
    """Seconds of training between two probes."""
    probe: int = 200
    """Episodes of a probe."""
    episodes: int = 1000
    """Episodes that confirm it."""
    threads: int = 2
    """CPU threads of torch and of the physics."""
    sb3: bool = True
    """Whether Stable-Baselines3 is measured too."""
    sb3_patience: float = 2.0
    """How many times our wall time Stable-Baselines3 gets for our env steps, at most."""
    out: Path | None = None
    """JSON file for the result."""


class Clock:
    """Training seconds, stopped while something else is done."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, time.perf_counter()

    def stop(self) -> float:
        """Add what passed since the last start; returns all seconds so far."""
        self.seconds += time.perf_counter() - self._since
        return self.seconds

    def start(self) -> None:
        """Go on."""
        self._since = time.perf_counter()


def success_at_end(agent: Agent, env: Any, episodes: int, seed: int) -> float:
    """Share of episodes that end in success, played without noise."""
    found = evaluate(agent, env, episodes=episodes, seed=seed, deterministic=True)
    return found.successes_at_end / found.episodes


def ours(run: RunConfig, config: Hindsight) -> dict[str, Any]:
    """One run of our agent."""
    env = make_env(run)
    agent = make_run_agent(run, env)
    judge = cairngym.make(run.task, 200, seed=EVALUATION_SEED, **run.env)
    clock, curve, due, confirmed = Clock(), [], [config.check_s], [0.0]

    def watch(metrics: Mapping[str, Any]) -> bool:
        seconds = clock.stop()
        late = seconds >= config.limit_s
        if seconds >= due[0] or late:
            rate = success_at_end(agent, judge, config.probe, EVALUATION_SEED + 1)
            if rate >= config.target or late:  # a probe of few episodes may have been lucky
                confirmed[0] = success_at_end(agent, judge, config.episodes, EVALUATION_SEED)
            curve.append({"seconds": seconds, "steps": metrics["step"], "success": rate, "confirmed": confirmed[0]})
            print(f"  seed {run.seed}: {seconds:7.1f} s {metrics['step']:9,} steps {rate:6.1%}", flush=True)
            due[0] = seconds + config.check_s
        clock.start()
        return confirmed[0] < config.target and not late

    clock.start()
    agent.learn(env, 10**9, [watch])
    return {
        "name": f"cairngym {run.agent.name}, {run.variant}", "seed": run.seed, "seconds": clock.seconds,
        "steps": agent.steps_done, "success": confirmed[0], "reached": confirmed[0] >= config.target, "curve": curve,
    }  # fmt: skip


def stable_baselines(run: RunConfig, config: Hindsight, seconds: float, steps: int) -> list[dict[str, Any]]:
    """SB3's SAC with HER on the same env: its success after `seconds`, and after `steps` or `sb3_patience`."""
    from stable_baselines3 import HerReplayBuffer

    env = cairngym.make(run.task, 8, seed=run.seed, **run.env)
    options = {
        "learning_starts": 1000, "batch_size": run.agent.options["batch"], "train_freq": 1, "gradient_steps": -1,
        "replay_buffer_class": HerReplayBuffer,
        "replay_buffer_kwargs": {"n_sampled_goal": 4, "goal_selection_strategy": "future"},
    }  # fmt: skip
    agent = make_agent(
        "sb3-sac", env, gamma=run.agent.options["gamma"], seed=run.seed, update_period=400, options=options
    )
    judge = cairngym.make(run.task, 200, seed=EVALUATION_SEED, **run.env)
    clock, found = Clock(), {}
    give_up = config.sb3_patience * seconds

    def watch(metrics: Mapping[str, Any]) -> bool:
        passed = clock.stop()
        for what, over in (("the same wall time", passed >= seconds), ("the same env steps", metrics["step"] >= steps)):
            if what not in found and (over or passed >= give_up):
                rate = success_at_end(agent, judge, config.episodes, EVALUATION_SEED)
                found[what] = {
                    "name": f"SB3 SAC + HER, {what}", "seed": run.seed, "seconds": passed, "steps": metrics["step"],
                    "success": rate, "reached": rate >= config.target, "complete": over,
                }  # fmt: skip
                print(f"  {found[what]}", flush=True)
        clock.start()
        return len(found) < 2

    clock.start()
    agent.learn(env, 10**9, [watch])
    return list(found.values())


def main(config: Hindsight) -> int:
    """Measure and print; exits with 1 if the median run of ours does not reach the target."""
    torch.set_num_threads(config.threads)
    runs = expand(load_comparison(find_config(config.config)))
    base = resolve(next(run for run in runs if run.task == config.task and run.variant == config.variant))
    base = replace(base, env={**base.env, "driver_options": {"threads": config.threads}})
    results = [ours(replace(base, seed=seed), config) for seed in config.seeds]
    reached = sorted(result["seconds"] if result["reached"] else float("inf") for result in results)
    median = statistics.median_low(reached)
    print(f"{config.task}: {config.target:.0%} after {median:.1f} s (median of {len(results)} seeds)", flush=True)
    if config.sb3:
        typical = sorted(results, key=lambda result: result["seconds"])[len(results) // 2]
        results += stable_baselines(replace(base, seed=config.seeds[0]), config, typical["seconds"], typical["steps"])
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "env": config.task, "target": config.target, "limit_seconds": config.limit_s,
            "median_seconds": median if median < float("inf") else None, "runs": results,
            "versions": versions(), "hardware": hardware("cpu"),
        }  # fmt: skip
        config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(median > config.limit_s)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Hindsight)))
