"""`cairn bench evolution`: policies judged a second, all in one kernel beside one at a time in a Python loop.

An evaluation is a whole episode of one policy. The loop steps the same world with one env and asks the policy for every
action. Both take turns in every round and the figure is each one's best round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cairngym.experiments.benchmark import Candidate, measure, write_record

if TYPE_CHECKING:
    import torch

    from cairngym.envs.core import TensorEnv
    from cairngym.envs.fused import FeedForward

BAR = 50.0
"""How many times as many evaluations the kernel is held to."""
BOUND = 5.0
"""Genomes are drawn uniformly from [-BOUND, BOUND]."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What `cairn bench evolution` measures."""

    envs: tuple[str, ...] = ("HardMaze-v0", "Curling-v0")
    """Ids whose worlds play whole episodes."""
    population: int = 512
    """Policies of a call."""
    hidden: tuple[int, ...] = (5, 5)
    """Widths of the policies' hidden layers."""
    threads: int = 2
    """CPU threads; the loop uses one, and has no use for more."""
    device: str = "cpu"
    """Where the worlds live."""
    rounds: int = 3
    """Rounds in which every candidate has its turn."""
    seconds: float = 5.0
    """How long a turn takes, at least."""
    hold: bool = True
    """Whether the command fails where the kernel is less than 50 times as fast."""
    out: Path | None = None
    """JSON file for the result."""


def candidates(env_id: str, config: Benchmark) -> tuple[Candidate, Candidate]:
    """The kernel and the loop on a world, with the same genomes; they count env steps."""
    import torch

    import cairngym
    from cairngym.envs.fused import FeedForward, FusedWorld

    env = cairngym.make(env_id, 1, config.device, threads=config.threads)
    world, task = env.unwrapped.world, env.unwrapped.task
    if not isinstance(world, FusedWorld):
        raise ValueError(f"Expected an id whose world plays whole episodes, such as HardMaze-v0, got {env_id!r}.")
    inputs, outputs = (int(space.shape[0]) for space in (env.single_observation_space, env.single_action_space))
    policy = FeedForward(inputs=inputs, hidden=config.hidden, outputs=outputs)
    draw = torch.rand(config.population, policy.size, generator=torch.Generator().manual_seed(0))
    genomes = ((2.0 * draw - 1.0) * BOUND).to(config.device)
    lives = torch.zeros(config.population, dtype=torch.int64, device=config.device)

    def together() -> int:
        return int(world.play(task, genomes, policy, seeds=lives).length.sum())

    alone = loop(cairngym.make(env_id, 1, config.device, threads=1), policy, genomes)
    return (
        Candidate(name=f"{env_id}, one kernel", batch=config.population, threads=config.threads, run=together),
        Candidate(name=f"{env_id}, Python loop", batch=1, threads=1, run=lambda: next(alone)),
    )


def loop(env: TensorEnv, policy: FeedForward, genomes: torch.Tensor) -> Iterator[int]:
    """Step one env by one policy after another, an episode each; gives the steps made, one."""
    from cairngym.envs.fused import feed_forward

    obs, _ = env.reset(seed=0)
    place = 0
    while True:
        action = feed_forward(genomes[place : place + 1], policy, obs.unsqueeze(1)).squeeze(1)  # type: ignore[union-attr]
        obs, _, terminated, truncated, _ = env.step(action)
        if bool(terminated | truncated):
            place = (place + 1) % len(genomes)
        yield 1


def run(config: Benchmark) -> int:
    """Measure, print the table and write the JSON; returns 1 where a kernel is not fast enough and is held to it."""
    import torch

    import cairngym

    torch.set_num_threads(1)  # of the loop's tiny products
    pairs = [candidates(env_id, config) for env_id in config.envs]
    results = measure([one for pair in pairs for one in pair], config.rounds, config.seconds)
    horizons = [cairngym.make(env_id, 1).unwrapped.task.horizon for env_id in config.envs]
    print("| env | evaluations/s, one kernel | evaluations/s, Python loop | times |\n|---|---:|---:|---:|")
    ratios = []
    for env_id, horizon, fused, alone in zip(config.envs, horizons, results[::2], results[1::2], strict=True):
        ratios.append(fused.best / alone.best)
        print(f"| {env_id} | {fused.best / horizon:,.0f} | {alone.best / horizon:.2f} | {ratios[-1]:,.0f} |")
    write_record(config.out, results, config.device, tasks=list(config.envs), horizons=horizons, ratios=ratios)
    return int(config.hold and min(ratios) < BAR)
