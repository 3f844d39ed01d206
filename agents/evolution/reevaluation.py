"""Corrected metrics: what the elites of a grid are worth when they play again.

An elite is the best of many draws, so that in a world of chance its fitness is too high and its cell may be luck. A
corrected archive holds, for every elite, the mean of new episodes, in the cell where they end.
"""

from __future__ import annotations

import torch

from cairngym.agents.core import Metrics
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.evolution.judging import judge
from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.quality_diversity.corrected import Corrected, correct


def corrected(agent: Evolution, env: TensorEnv, episodes: int = 10, seed: int = 0) -> tuple[Corrected, Metrics]:
    """Let every elite that an agent found play again, and put it where its new episodes end.

    Args:
        agent: whose findings; its learning is not touched.
        env: an env for this purpose alone where its world is stepped.
        episodes: new ones of every elite; descriptors and returns are their means.
        seed: of the lives they play.

    Returns:
        the corrected grid, and its metrics with `corrected/same_cell`, the share of elites whose mean descriptor lies
        in their own cell.

    Raises:
        ValueError: no episodes, a task without a descriptor, or an archive that stayed empty.
    """
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    if agent.findings is None:
        raise ValueError(f"Expected an agent of a task with a behavior descriptor, got {agent.name!r} without one.")
    elites, record = agent.findings.elites, agent.findings.record
    if not elites.size:
        raise ValueError(f"Expected elites to play again, got none. {record.explain()}")
    env.reset(seed=seed)
    genomes = elites.genome.repeat_interleave(episodes, 0)
    lives = 2**62 + (seed % 2**29 << 32) + torch.arange(len(genomes))
    played, _ = judge(env, agent.controller, genomes, lives)
    repeats = (elites.size, episodes, -1)
    found = correct(
        record, played.descriptor.cpu().view(repeats).transpose(0, 1), played.returns.cpu().view(repeats).squeeze(2).T
    )
    behavior = played.descriptor.cpu().view(repeats).mean(1)
    stayed = (record.descriptor.cell(behavior) == record.reached).double().mean()
    return found, {**found.metrics(), "corrected/same_cell": float(stayed)}
