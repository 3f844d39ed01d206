"""`cairn bench shapers`: what a bonus adds to PPO's time for a step.

PPO learns the same task without a shaper and with each of several, in turns of one iteration each (collecting, PPO's
update and the shaper's), so that a busy machine slows all of them. The figure is the ratio of the median CPU times of
an iteration, less one; on a GPU, of the median wall times.

The learned bonuses train on `proportion` of all samples: what the options offer, the sample keeps.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.experiments.provenance import hardware, versions

if TYPE_CHECKING:
    from cairngym.agents.ppo import PPO

PLAIN = "without"
BARS: Mapping[str, float] = {"count": 0.05, "rnd": 0.30, "rdd": 0.30, "e3b": 0.60, "icm": 0.60}
"""Share of PPO's time that each may add."""
DYNAMICS = ("e3b", "icm")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What `cairn bench shapers` measures."""

    env: str = "MiniGrid-MultiRoom-N4-S5-v1"
    """The id."""
    batch: int = 1024
    """Number of envs stepped together."""
    rollout: int = 64
    """Steps of every env between two updates."""
    rounds: int = 15
    """Iterations of each learner."""
    shapers: tuple[str, ...] = tuple(BARS)
    """Which bonuses, by name."""
    hidden: int = 32
    """Width of the bonuses' hidden layers."""
    features: int = 32
    """Width of the features of e3b and icm."""
    proportion: float = 0.25
    """Share of all samples that train a bonus."""
    minibatch: int = 4096
    """Samples of one gradient step, of PPO and of the bonuses."""
    threads: int = 1
    """CPU threads."""
    device: str = "cpu"
    """Where the worlds live."""
    hold: bool = True
    """Whether the command fails where a bonus adds more than it may."""
    out: Path | None = None
    """JSON file for the result."""


@dataclass
class Learner:
    """One PPO and how long its iterations took."""

    agent: PPO
    steps: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def turn(self) -> None:
        """Learn for one iteration."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.agent.learn(self.agent.env, self.steps)
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)


def options_of(config: Benchmark, name: str) -> dict[str, Any]:
    """The shaper's options; those that learn keep every sample they are offered."""
    if name not in BARS or name == "count":
        return {}
    kept = max(1, int(config.proportion * config.batch * config.rollout))
    options = {
        "hidden": config.hidden, "update_proportion": config.proportion, "max_batch": kept,
        "minibatch": min(config.minibatch, kept),
    }  # fmt: skip
    return {**options, "features": config.features} if name in DYNAMICS else options


def make_learner(config: Benchmark, name: str) -> Learner:
    """PPO on the task, with the shaper of that name or without one."""
    import cairngym
    from cairngym.agents.ppo import PPO, PPOConfig

    env = cairngym.make(config.env, config.batch, config.device, seed=0, threads=config.threads)
    if name != PLAIN:
        env = cairngym.shape(env, name, 0.01, **options_of(config, name))
    steps = config.batch * config.rollout
    ppo = PPOConfig(rollout_steps=config.rollout, minibatch=min(config.minibatch, steps))
    return Learner(PPO(env, ppo), steps)


def measure(config: Benchmark) -> dict[str, Learner]:
    """Let the learners take turns, after two iterations that are not counted."""
    made = {name: make_learner(config, name) for name in (PLAIN, *config.shapers)}
    for turn in range(config.rounds + 2):
        for learner in list(made.values())[:: 1 if turn % 2 else -1]:
            learner.turn()
        if turn == 1:
            for learner in made.values():
                learner.cpu.clear()
                learner.wall.clear()
    return made


def summary(config: Benchmark, made: Mapping[str, Learner]) -> dict[str, dict[str, float]]:
    """Of every learner: env steps a second of wall time, and what its shaper adds to PPO's time."""

    def seconds(learner: Learner) -> float:
        return statistics.median(learner.cpu if config.device == "cpu" else learner.wall)

    plain = seconds(made[PLAIN])
    return {
        name: {
            "steps_per_second": learner.steps / statistics.median(learner.wall),
            "added": seconds(learner) / plain - 1.0,
        }
        for name, learner in made.items()
    }


def missed(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The shapers that add more than they may."""
    return [name for name, row in figures.items() if row["added"] > BARS.get(name, float("inf"))]


def run(config: Benchmark) -> int:
    """Measure, print the table and write the JSON; 1 where a bonus adds more than it may."""
    import torch

    torch.set_num_threads(config.threads)
    figures = summary(config, measure(config))
    print(f"PPO on {config.env}, {config.batch} envs, {config.rounds} iterations each, medians\n")
    print("| shaper | added to PPO's time | bar | k steps/s |\n|---|---:|---:|---:|")
    for name, row in figures.items():
        bar = f"< {BARS[name]:.0%}" if name in BARS else ""
        print(f"| {name} | {row['added']:+.1%} | {bar} | {row['steps_per_second'] / 1e3:.1f} |")
    write(config, figures)
    over = missed(figures)
    print(f"\nOver the bar: {', '.join(over) or 'none'}.")
    return int(config.hold and bool(over))


def write(config: Benchmark, figures: Mapping[str, Any]) -> None:
    """Write the figures with the shapers' options, versions and hardware as JSON, if there is a path."""
    if config.out is None:
        return
    names = ("env", "batch", "rollout", "rounds", "minibatch", "threads")
    settings = {name: getattr(config, name) for name in names}
    options = {name: options_of(config, name) for name in config.shapers}
    record = {
        "figures": figures, **settings, "shapers": options,
        "versions": versions(), "hardware": hardware(config.device),
    }  # fmt: skip
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nWritten to {config.out}")
