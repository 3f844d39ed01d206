"""The cross-entropy method over policy parameters: sample policies, keep the best, sample around them.

Rubinstein (1999), with the decaying extra noise of Szita and Lorincz, "Learning Tetris using the noisy cross-entropy
method" (2006).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from cairngym.agents.core import Actor, Agent, Callback, Metrics, check_autoreset, check_discounts, update_shapers
from cairngym.agents.distributions import make_distribution
from cairngym.agents.evolution.cem_config import CEMConfig
from cairngym.agents.evolution.population import (
    PolicyActor,
    PolicyShape,
    PolicyStack,
    play_episodes,
    worlds_per_policy,
)
from cairngym.agents.inputs import Inputs, make_encoder
from cairngym.agents.meters import EpisodeMeans
from cairngym.agents.networks import check_same_networks
from cairngym.agents.normalization import RunningNormalizer
from cairngym.envs.core import Observation, TensorEnv


def elite_weights(fitness: torch.Tensor, elites: int) -> torch.Tensor:
    """How much of each of P candidates is among the `elites` best, float32 `(P,)` that sums to `elites`.

    Candidates that tie at the border share the places left over. Where few succeed at a sparse task and the others all
    earn nothing, no chance order of the others decides which of them count as elite.

    Example:
        >>> elite_weights(torch.tensor([0.0, 1.0, 0.0, 2.0]), 3).tolist()
        [0.5, 1.0, 0.5, 1.0]
    """
    border = fitness.kthvalue(len(fitness) - elites + 1).values
    better, tied = fitness > border, fitness == border
    return better + tied * ((elites - better.sum()) / tied.sum())


class SearchDistribution(nn.Module):
    """An independent normal distribution of every policy parameter.

    Args:
        size: D, parameters of one policy.
        std: first standard deviation; the first mean is zero.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, size: int, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.full((size,), std))

    def sample(self, count: int, generator: torch.Generator, *, antithetic: bool = False) -> torch.Tensor:
        """Draw `count` parameter vectors, float32 `(count, D)`; with `antithetic` the second half mirrors the first."""
        drawn = count // 2 if antithetic else count
        noise = torch.randn(drawn, len(self.mean), generator=generator, device=generator.device)
        return self.mean + self.std * (torch.cat((noise, -noise)) if antithetic else noise)

    def refine(
        self, candidates: torch.Tensor, weights: torch.Tensor, *, extra_variance: float = 0.0, smoothing: float = 1.0
    ) -> None:
        """Move towards mean and standard deviation of the weighted `(P, D)` candidates.

        Args:
            candidates: float32 `(P, D)`.
            weights: float32 `(P,)`, not negative.
            extra_variance: added to their variance.
            smoothing: how far to move, 1 all the way.
        """
        share = weights / weights.sum()
        mean = share @ candidates
        std = (share @ (candidates - mean).square() + extra_variance).sqrt()
        self.mean.lerp_(mean, smoothing)
        self.std.lerp_(std, smoothing)


class CEM(Agent):
    """The noisy cross-entropy method; its mean is the policy that acts.

    Every generation, P policies are drawn and play whole episodes from a reset, world i policy i // (N / P). A policy's
    fitness is the mean return of its worlds, in what the env pays (`reward`, shaped where the env is).

    Args:
        env: gives the spaces, the device and the number of envs, a multiple of the population.
        config: settings.

    Example:
        >>> import cairngym
        >>> from cairngym.agents.evolution.cem import CEM, CEMConfig
        >>> agent = CEM(cairngym.make("Chain-N10-v0", num_envs=32), CEMConfig(population=16))
        >>> agent.learn(agent.env, steps=1)
        >>> agent.generations_done
        1
    """

    name: ClassVar[str] = "cem"
    stochastic: ClassVar[bool] = False

    def __init__(self, env: TensorEnv, config: CEMConfig | None = None) -> None:
        self.env, self.config = env, config or CEMConfig()
        check_autoreset(env)
        self.device, self.steps_done, self.generations_done = env.device, 0, 0
        self.encoder = make_encoder(env)
        self.actions = make_distribution(env.single_action_space, self.config.squash).to(self.device)
        self.shape = PolicyShape(
            self.encoder, self.actions.num_outputs, tuple(self.config.hidden), self.config.activation
        )
        self.search = SearchDistribution(self.shape.size, self.config.std).to(self.device)
        selected = self.encoder.normalized & self.config.normalize
        # Policies play by what earlier generations saw; the statistics move on only between two generations.
        self.normalizer, self.seen = RunningNormalizer(selected), RunningNormalizer(selected)
        self.model = nn.ModuleDict({"search": self.search, "normalizer": self.normalizer})
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)

    # Learning ---------------------------------------------------------------------------------------------------------

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Learn from at least `steps` more env steps, in whole generations.

        Args:
            env: has the spaces the agent was made for; it is reset at the start of every generation.
            steps: env steps, every one of the `num_envs` counted.
            callbacks: called with the metrics of every generation, until one returns False.

        Raises:
            ValueError: the number of envs is no multiple of the population, a shaper is built for another discount, a
                return is not finite, or the env does not reset within the step.
        """
        check_discounts(env, self.config.gamma)
        check_autoreset(env)
        worlds_per_policy(env.num_envs, self.config.population)
        self.env, callbacks = env, tuple(callbacks)
        target = self.steps_done + steps
        while self.steps_done < target:
            metrics = self._generation(env)
            # Every callback hears of the generation, even where an earlier one asks to stop.
            if False in [callback(metrics) for callback in callbacks]:
                break

    @torch.no_grad()
    def _generation(self, env: TensorEnv) -> Metrics:
        start, config = time.perf_counter(), self.config
        candidates = self.search.sample(config.population, self.generator, antithetic=config.antithetic)
        fitness, steps, episodes = self._judge(env, self.shape.stack(candidates))
        weights = elite_weights(fitness, config.elites)
        remaining = max(0.0, 1.0 - self.generations_done / config.extra_generations)
        extra = config.extra_variance * remaining
        self.search.refine(candidates, weights, extra_variance=extra, smoothing=config.smoothing)
        self.normalizer.load_state_dict(self.seen.state_dict())
        shapers = update_shapers(env)
        self.steps_done += steps
        self.generations_done += 1
        speed = steps / (time.perf_counter() - start)
        found = self._metrics(fitness, weights)
        return {"step": self.steps_done, **episodes} | found | shapers | {"steps_per_s": speed}

    def _judge(self, env: TensorEnv, policies: PolicyStack) -> tuple[torch.Tensor, int, Metrics]:
        """Fitness `(P,)` of the policies, the env steps it took, and means of the episodes."""
        means = EpisodeMeans(self.device)

        def act(obs: Observation) -> torch.Tensor:
            inputs = self.encoder(obs)
            self.seen.update(inputs.features)
            return self._act(policies, inputs)

        returns, steps = play_episodes(
            env, act, episodes=self.config.episodes, gamma=self.config.gamma, watch=means.add
        )
        fitness = returns.view(policies.policies, -1).mean(1)
        if not bool(fitness.isfinite().all()):
            raise ValueError(
                f"Expected finite returns from {env}, got {int((~fitness.isfinite()).sum())} policies of "
                f"{policies.policies} with NaN or infinity. Look for where the env's reward comes from."
            )
        return fitness, steps, means.take()

    def _act(self, policies: PolicyStack, inputs: Inputs) -> torch.Tensor:
        inputs = Inputs(inputs.symbols, self.normalizer(inputs.features))
        return self.actions.to_env(self.actions.mode(policies(inputs)))

    def _metrics(self, fitness: torch.Tensor, weights: torch.Tensor) -> Metrics:
        elite = (fitness * weights).sum() / weights.sum()
        names = ("fitness/mean", "fitness/best", "fitness/elite", "std")
        values = torch.stack((fitness.mean(), fitness.max(), elite, self.search.std.mean()))
        return dict(zip(names, values.tolist(), strict=True))

    # Playing and saving -----------------------------------------------------------------------------------------------

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The mean policy; it follows the agent's later learning, keeps no memory and draws nothing."""
        del num_envs, deterministic, seed

        def policy(obs: Observation) -> torch.Tensor:
            return self._act(self.shape.stack(self.search.mean.unsqueeze(0)), self.encoder(obs))

        return PolicyActor(policy)

    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env."""
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "generator": self.generator.get_state(),
            "steps_done": self.steps_done,
            "generations_done": self.generations_done,
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: if it is of other policies.
        """
        check_same_networks(self.model, snapshot["model"])
        self.model.load_state_dict(snapshot["model"])
        self.seen.load_state_dict(self.normalizer.state_dict())
        self.generator.set_state(snapshot["generator"].cpu())
        self.steps_done, self.generations_done = snapshot["steps_done"], snapshot["generations_done"]

    def forget_env(self) -> None:
        """Nothing to forget: every generation begins new episodes."""
