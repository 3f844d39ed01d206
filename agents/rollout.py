"""What a rollout collects, and generalised advantage estimation over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from cairngym.agents.distributions import Distribution
from cairngym.agents.inputs import Inputs


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    next_values: torch.Tensor,
    terminated: torch.Tensor,
    done: torch.Tensor,
    gamma: float,
    lam: float,
) -> torch.Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) with two masks.

    delta = r + gamma (1 - terminated) V(next) - V and A = delta + gamma lambda (1 - done) A': termination stops the
    bootstrap, the end of an episode stops the recursion, so that truncation still counts what lay ahead.

    Args:
        rewards: `(T, N)`.
        values: `(T, N)`, V of the observations acted on.
        next_values: `(T, N)`, V of the true next observations: of `final_obs` where an episode ended.
        terminated: bool `(T, N)`.
        done: bool `(T, N)`, terminated or truncated.
        gamma: discount.
        lam: lambda, the decay of the mixture of n-step estimates.

    Returns:
        Advantages `(T, N)`; adding `values` gives the targets of the critic.
    """
    advantages = rewards + gamma * (~terminated) * next_values - values
    decay = gamma * lam * (~done)
    for t in range(len(rewards) - 2, -1, -1):
        advantages[t].addcmul_(decay[t], advantages[t + 1])
    return advantages


class Batch(NamedTuple):
    """A minibatch of B samples, time first where it is made of sequences."""

    inputs: Inputs
    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor
    """`(B, V)`, of the policy that collected."""
    advantage: torch.Tensor
    """`(B,)`, of all value streams together."""
    target: torch.Tensor
    """`(B, V)`."""
    memory: torch.Tensor
    """`(E, memory)` at the first step of each of the E sequences."""
    begins: torch.Tensor
    """bool `(T, E)`, where an episode begins; `(0, 0)` for batches of single samples."""

    def rows(self, index: torch.Tensor) -> Batch:
        """The single samples at `index`, int64 `(K,)`."""
        return self._replace(
            inputs=self.inputs.rows(index),
            action=self.action.index_select(0, index),
            log_prob=self.log_prob.index_select(0, index),
            value=self.value.index_select(0, index),
            advantage=self.advantage.index_select(0, index),
            target=self.target.index_select(0, index),
        )


class Rollout:
    """T steps of N envs, written in place step by step; V is the number of value streams.

    Attributes:
        symbols, features: encoded observations, `(T, N, ...)`.
        action, log_prob, value: what the policy made of them; value is `(T + 1, N, V)`.
        reward: `(T, N, V)`.
        terminated, done: bool `(T, N)`; done is terminated or truncated.
        final_value: `(T, N, V)`, V of the true last observation where an episode was truncated.
        memory: `(N, memory)` before the first step.
        begins: bool `(T + 1, N)`, whether an episode begins with the step's observation.
        returns, lengths, successes: of the episode that ended with the step, `(T, N)`; valid where done.
    """

    def __init__(self, steps: int, example: Inputs, distribution: Distribution, streams: int, memory: int) -> None:
        num_envs, device = len(example.symbols), example.symbols.device
        self.steps, self.num_envs, self.streams = steps, num_envs, streams

        def new(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.symbols = new(steps, num_envs, example.symbols.shape[1], dtype=example.symbols.dtype)
        self.features = new(steps, num_envs, example.features.shape[1])
        self.action = new(steps, num_envs, *distribution.action_shape, dtype=distribution.action_dtype)
        self.log_prob = new(steps, num_envs)
        self.value = new(steps + 1, num_envs, streams)
        self.reward = new(steps, num_envs, streams)
        self.terminated = new(steps, num_envs, dtype=torch.bool)
        self.done = new(steps, num_envs, dtype=torch.bool)
        self.final_value = new(steps, num_envs, streams)
        self.memory = new(num_envs, memory)
        self.begins = new(steps + 1, num_envs, dtype=torch.bool)
        self.returns, self.lengths, self.successes = (new(steps, num_envs) for _ in range(3))
        self.advantage = new(steps, num_envs, streams)

    def next_value(self) -> torch.Tensor:
        """V of the true next observations, `(T, N, V)`; zero where an episode terminated."""
        return torch.where(self.done.unsqueeze(-1), self.final_value, self.value[1:])

    def estimate(self, discounts: tuple[float, ...], lam: float, episodic: tuple[bool, ...]) -> None:
        """Fill in the advantages of every stream; one that is not episodic goes on past the ends of episodes."""
        never = torch.zeros_like(self.done)
        following = self.next_value()
        for k, (gamma, bounded) in enumerate(zip(discounts, episodic, strict=True)):
            terminated, done = (self.terminated, self.done) if bounded else (never, never)
            next_value = following[..., k] if bounded else self.value[1:, :, k]
            self.advantage[..., k] = gae(
                self.reward[..., k], self.value[:-1, :, k], next_value, terminated, done, gamma, lam
            )

    def total_advantage(self, *, normalize: bool) -> torch.Tensor:
        """Advantages of all streams together, `(T, N)`; with `normalize`, of mean 0 and standard deviation 1.

        The scale is the whole rollout's. Where rewards are rare most minibatches hold none, and scaling each by itself
        would blow up the noise in them.
        """
        advantage = self.advantage.sum(-1)
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8) if normalize else advantage

    def minibatches(
        self, size: int, advantage: torch.Tensor, generator: torch.Generator, *, sequences: bool
    ) -> Iterator[Batch]:
        """Shuffle the samples into minibatches.

        Args:
            size: of about how many samples.
            advantage: `(T, N)`, see `total_advantage`.
            generator: of the shuffling.
            sequences: keep the steps of an env together and in order, for networks with a memory.
        """
        total, device = self.steps * self.num_envs, self.reward.device
        target = self.advantage + self.value[:-1]
        if sequences:
            order = torch.randperm(self.num_envs, generator=generator, device=device)
            for envs in order.tensor_split(max(1, total // size)):
                if len(envs):
                    yield self._sequences(envs, advantage, target)
            return
        flat = Batch(
            Inputs(self.symbols, self.features).flatten(),
            self.action.flatten(0, 1), self.log_prob.flatten(), self.value[:-1].flatten(0, 1),
            advantage.flatten(), target.flatten(0, 1), self.memory[:0], self.begins[:0, :0],
        )  # fmt: skip
        order = torch.randperm(total, generator=generator, device=device)
        for index in order.tensor_split(max(1, total // size)):
            yield flat.rows(index)

    def _sequences(self, envs: torch.Tensor, advantage: torch.Tensor, target: torch.Tensor) -> Batch:
        def pick(column: torch.Tensor) -> torch.Tensor:
            return column.index_select(1, envs).flatten(0, 1)

        return Batch(
            Inputs(pick(self.symbols), pick(self.features)),
            pick(self.action), pick(self.log_prob), pick(self.value[:-1]), pick(advantage), pick(target),
            self.memory.index_select(0, envs), self.begins[:-1].index_select(1, envs),
        )  # fmt: skip
