"""Several searches whose generations play in one call of a fused world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from cairngym.agents.core import Callback
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.evolution.findings import Report
from cairngym.agents.evolution.judging import fused, judge, split
from cairngym.envs.core import TensorEnv


def learn_together(
    agents: Sequence[Evolution], env: TensorEnv, steps: int, callbacks: Sequence[Iterable[Callback]] | None = None
) -> None:
    """Let several agents learn at once, for instance one of each seed, bit for bit as each would alone.

    Their generations are asked for together, played in one call and told apart again: a generation of a dozen policies
    does not fill a processor, those of ten seeds do.

    Args:
        agents: of any methods, with policies of the same layers, made for `env` or one like it.
        env: one whose world plays whole episodes by itself; it is never stepped.
        steps: env steps for each.
        callbacks: of every agent; one that returns False ends the learning of its agent alone.

    Raises:
        ValueError: the world has no rollout of its own, or the policies differ.
    """
    if fused(env) is None:
        raise ValueError(
            f"Expected a world that plays whole episodes by itself, unwrapped, got {env}: searches that step the same "
            "envs would change each other's episodes. Let them learn one by one."
        )
    if len({agent.controller.policy for agent in agents}) != 1:
        raise ValueError(f"Expected agents with equal policies, got {[agent.controller.policy for agent in agents]}.")
    heard = [tuple(listeners) for listeners in callbacks or [()] * len(agents)]
    ends = [agent.steps_done + steps for agent in agents]
    reports = [Report(agent) for agent in agents]
    active = [i for i, agent in enumerate(agents) if agent.budget_left > 0]
    while active:
        asked = [agents[i].ask() for i in active]
        seeds = [agents[i].seeds(len(genomes)) for i, genomes in zip(active, asked, strict=True)]
        played, _ = judge(env, agents[active[0]].controller, torch.cat(asked), torch.cat(seeds))
        parts = split(played, [len(genomes) for genomes in asked])
        going = []
        for i, genomes, part in zip(active, asked, parts, strict=True):
            agent = agents[i]
            agent.env = env
            agent.receive(genomes, part, int(part.length.sum()), reports[i])
            if agent.goes_on(ends[i], reports[i], heard[i]):
                going.append(i)
        active = going
