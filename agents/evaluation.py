"""How well an agent does the task itself: fixed seeds, a quota of episodes for every env, sparse success only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cairngym.agents.core import Agent, check_autoreset
from cairngym.envs.core import TensorEnv

PATIENCE = 16
"""Steps between two looks at whether every quota is met; a look waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found."""

    episodes: int
    successes: int
    """Episodes in which the task was done at any step."""
    successes_at_end: int
    """Episodes in which the task was done at the last step; the same where success ends the episode."""
    mean_return: float
    """Task reward of an episode, undiscounted and unshaped."""
    mean_length: float
    """Steps of an episode."""

    @property
    def success(self) -> float:
        """Share of episodes in which the task was done."""
        return self.successes / self.episodes


def quotas(episodes: int, num_envs: int) -> list[int]:
    """How many episodes each env is to play, fixed beforehand so that short episodes are not counted more often.

    Example:
        >>> quotas(10, 4)
        [3, 3, 2, 2]
    """
    share, rest = divmod(episodes, num_envs)
    return [share + (index < rest) for index in range(num_envs)]


def evaluate(
    agent: Agent, env: TensorEnv, episodes: int = 100, seed: int = 0, *, deterministic: bool = False
) -> Evaluation:
    """Play `episodes` episodes and count successes of the task, whatever the agent was rewarded for.

    Env i plays the episodes 0, 1, … of its own life under `seed`, so the same seed means the same levels and the same
    sampled actions. The agent's learning is not touched.

    Args:
        agent: whose present policy plays, with a memory and random numbers of its own.
        env: an env for this purpose alone: it is reset. Shapers around it do not count.
        episodes: how many in all.
        seed: of the levels and of the sampled actions.
        deterministic: play the likeliest action instead of sampling.

    Raises:
        ValueError: no episodes, or an env that is also the agent's training env.
    """
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    if env.unwrapped is agent.env.unwrapped:
        raise ValueError(
            "Expected an env of its own for evaluation, got the one the agent trains on, whose episodes would be lost. "
            "Make another with the same id."
        )
    check_autoreset(env)
    tally = Tally(quotas(episodes, env.num_envs), env.device)
    if agent.values is not None:
        env.guide(agent.values, exploit=True)
    actor = agent.actor(env.num_envs, deterministic=deterministic, seed=seed)
    obs, _ = env.reset(seed=seed)
    steps = 0
    while steps % PATIENCE or not tally.complete:
        obs, _, _, _, info = env.step(actor.act(obs))
        tally.add(info)
        actor.begin(info["_episode"])
        steps += 1
    return tally.result()


class Tally:
    """Counts the episodes of every env up to its quota.

    Args:
        quota: how many episodes each env is to play.
        device: where the env's tensors live.
    """

    FIELDS = ("success_once", "success_at_end", "return", "length")

    def __init__(self, quota: list[int], device: torch.device) -> None:
        self.episodes = sum(quota)
        self.left = torch.tensor(quota, device=device)
        self.sums = torch.zeros(len(self.FIELDS), dtype=torch.float64, device=device)

    @property
    def complete(self) -> bool:
        """Whether every quota is met."""
        return not bool((self.left > 0).any())

    def add(self, info: dict[str, Any]) -> None:
        """Take in the episodes that ended with a step, of envs with something left to play."""
        counted = info["_episode"] & (self.left > 0)
        self.left -= counted.to(self.left.dtype)
        values = torch.stack([info["episode"][name].to(torch.float64) for name in self.FIELDS])
        self.sums += torch.where(counted, values, 0.0).sum(1)

    def result(self) -> Evaluation:
        """Sums to shares and means."""
        once, at_end, total, length = self.sums.tolist()
        return Evaluation(
            episodes=self.episodes, successes=round(once), successes_at_end=round(at_end),
            mean_return=total / self.episodes, mean_length=length / self.episodes,
        )  # fmt: skip
