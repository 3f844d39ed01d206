"""Behavior cloning: supervised learning of demonstrated actions, one at a time or in chunks.

The env is never stepped. A gradient step counts as many steps as it has samples, as PPO with one epoch counts its own,
so that the same budget means the same number of samples learned from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from cairngym.agents.behavior_cloning_config import BehaviorCloningConfig
from cairngym.agents.checkpoint import load_moments
from cairngym.agents.cloning import from_env
from cairngym.agents.core import Actor, Agent, Callback
from cairngym.agents.demonstration_sources import load_demonstrations
from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.distributions import Categorical, Distribution, make_distribution
from cairngym.agents.inputs import InputEncoder, Inputs, make_encoder
from cairngym.agents.networks import Trunk, check_same_networks, linear
from cairngym.agents.normalization import RunningNormalizer
from cairngym.envs.core import Observation, TensorEnv


class ChunkPolicy(nn.Module):
    """From encoded observations to the outputs of the next H actions, `(B, H, outputs)`."""

    def __init__(self, encoder: InputEncoder, outputs: int, config: BehaviorCloningConfig) -> None:
        super().__init__()
        self.chunk = config.chunk
        self.normalizer = RunningNormalizer(encoder.normalized)
        self.trunk = Trunk(encoder, tuple(config.hidden), config.activation)
        self.head = linear(config.hidden[-1], config.chunk * outputs, 0.01)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Logits of discrete actions, or continuous actions on a scale where the box is [-1, 1]."""
        inputs = Inputs(inputs.symbols, self.normalizer(inputs.features))
        return self.head(self.trunk(inputs)).unflatten(1, (self.chunk, -1))


class BehaviorCloning(Agent):
    """Imitates demonstrations: cross-entropy for discrete actions, squared error for continuous ones.

    Args:
        env: gives the spaces and the device, and is what an oracle plays in.
        config: settings.
    """

    name: ClassVar[str] = "bc"

    def __init__(self, env: TensorEnv, config: BehaviorCloningConfig | None = None) -> None:
        self.env, self.config = env, config or BehaviorCloningConfig()
        self.device, self.steps_done = env.device, 0
        self.encoder = make_encoder(env)
        with torch.random.fork_rng(devices=[]):  # same parameters on every device, and nobody else's draws moved
            torch.manual_seed(self.config.seed)
            self.distribution: Distribution = make_distribution(env.single_action_space).to(self.device)
            self.model = ChunkPolicy(self.encoder, self.distribution.num_outputs, self.config).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        self.shown: dict[str, torch.Tensor] | None = None

    # Learning ---------------------------------------------------------------------------------------------------------

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Take gradient steps until at least `steps` more samples were learned from; the env is not stepped.

        Args:
            env: has the spaces the agent was made for; an oracle plays in it before the first gradient step.
            steps: samples, `batch` of them a gradient step.
            callbacks: called with the metrics every `report` gradient steps, until one returns False.

        Raises:
            FileNotFoundError: no demonstrations where the config names them.
            ValueError: demonstrations of another env.
        """
        self.env, callbacks = env, tuple(callbacks)
        if self.shown is None:
            config = self.config
            shown = load_demonstrations(
                config.demonstrations, env, episodes=config.demonstration_episodes, seed=config.seed
            )
            self.shown = self._prepare(shown)
        target = self.steps_done + steps
        while self.steps_done < target:
            start, before = time.perf_counter(), self.steps_done
            losses: list[torch.Tensor] = []
            while len(losses) < self.config.report and self.steps_done < target:
                losses.append(self._update(self.shown))
                self.steps_done += self.config.batch
            loss, error = torch.stack(losses).mean(0).tolist()
            metrics = {
                "step": self.steps_done, "success_rate": None, "loss/cloning": loss, "error": error,
                "steps_per_s": (self.steps_done - before) / (time.perf_counter() - start),
            }  # fmt: skip
            if False in [callback(metrics) for callback in callbacks]:
                break

    def _prepare(self, shown: Demonstrations) -> dict[str, torch.Tensor]:
        """Encoded observations, actions, and how many steps of the episode are left, `(S, ...)` each."""
        inputs = self.encoder(shown.obs)
        self.model.normalizer.update(inputs.features)
        lengths = shown.lengths.to(self.device)
        ends = lengths.cumsum(0).repeat_interleave(lengths)
        left = ends - torch.arange(len(ends), device=self.device)
        return {**inputs._asdict(), "action": from_env(self.distribution, shown.action.to(self.device)), "left": left}

    def _update(self, shown: Mapping[str, torch.Tensor]) -> torch.Tensor:
        index = torch.randint(len(shown["left"]), (self.config.batch,), generator=self.generator, device=self.device)
        loss, error = self.loss(shown, index)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return torch.stack((loss, error)).detach()

    def loss(self, shown: Mapping[str, torch.Tensor], index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss over the actions of the chunks at `index` that lie within their episodes, and its plain error.

        The error is the share of wrong actions, or the mean distance of an entry of continuous ones.
        """
        offset = torch.arange(self.config.chunk, device=self.device)
        inside = offset < shown["left"][index].unsqueeze(1)
        rows = (index.unsqueeze(1) + offset).clamp_max(len(shown["left"]) - 1)
        wanted = shown["action"][rows]
        outputs = self.model(Inputs(shown["symbols"][index], shown["features"][index]))
        if isinstance(self.distribution, Categorical):
            each = -self.distribution.evaluate(outputs, wanted)[0]
            error = (self.distribution.mode(outputs) != wanted).float()
        else:
            each = (outputs - wanted).square().mean(-1)
            error = (outputs - wanted).abs().mean(-1).detach()
        total = inside.sum()
        return (each * inside).sum() / total, (error * inside).sum() / total

    # Playing and saving -----------------------------------------------------------------------------------------------

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy for `num_envs` envs; it follows the agent's later learning."""
        return ChunkActor(self, num_envs, deterministic=deterministic, seed=seed)

    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env: the demonstrations too, so that a run goes on without their source."""
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "steps_done": self.steps_done,
            "shown": self.shown,
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: if it is of other networks.
        """
        check_same_networks(self.model, snapshot["model"])
        self.model.load_state_dict(snapshot["model"])
        load_moments(self.optimizer, snapshot["optimizer"])
        self.generator.set_state(snapshot["generator"].cpu())
        self.steps_done = snapshot["steps_done"]
        shown = snapshot["shown"]
        self.shown = None if shown is None else {name: value.to(self.device) for name, value in shown.items()}

    def forget_env(self) -> None:
        """Nothing is known of any episode."""


class ChunkActor(Actor):
    """Plays chunks of actions, open loop or blended.

    Args:
        agent: predicts them.
        num_envs: how many envs.
        deterministic: the likeliest discrete action instead of a sampled one; continuous ones are never sampled.
        seed: of the sampling.
    """

    def __init__(self, agent: BehaviorCloning, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> None:
        self.agent, self.deterministic = agent, deterministic
        self.chunk, device = agent.config.chunk, agent.device
        self.generator = torch.Generator(device).manual_seed(seed)
        # Slot k holds the chunk predicted k steps ago; `age` says how many are of this episode.
        self.chunks = torch.zeros(self.chunk, num_envs, self.chunk, agent.distribution.num_outputs, device=device)
        self.age = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.envs = torch.arange(num_envs, device=device)

    @property
    def memory(self) -> dict[str, torch.Tensor]:
        """What is remembered, `(N, ...)` each."""
        return {"chunks": self.chunks.transpose(0, 1).clone(), "age": self.age.clone()}

    @memory.setter
    def memory(self, held: dict[str, torch.Tensor]) -> None:
        self.chunks, self.age = held["chunks"].transpose(0, 1).clone(), held["age"].clone()

    @torch.no_grad()
    def act(self, obs: Observation) -> torch.Tensor:
        """Actions for the N envs."""
        fresh = self.agent.model(self.agent.encoder(obs))
        outputs = self._blended(fresh) if self.agent.config.play == "ensemble" else self._open_loop(fresh)
        self.age += 1
        distribution = self.agent.distribution
        if self.deterministic or not isinstance(distribution, Categorical):
            return distribution.to_env(distribution.mode(outputs))
        noise = distribution.noise((len(outputs),), self.generator)
        return distribution.to_env(distribution.sample(outputs, noise)[0])

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the chunks of the masked envs."""
        self.age.masked_fill_(mask, 0)

    def _open_loop(self, fresh: torch.Tensor) -> torch.Tensor:
        place = self.age % self.chunk
        self.chunks[0] = torch.where((place == 0).view(-1, 1, 1), fresh, self.chunks[0])
        return self.chunks[0][self.envs, place]

    def _blended(self, fresh: torch.Tensor) -> torch.Tensor:
        self.chunks = torch.cat((fresh.unsqueeze(0), self.chunks[:-1]))
        said = torch.stack([self.chunks[k, :, k] for k in range(self.chunk)])
        discrete = isinstance(self.agent.distribution, Categorical)
        said = said.softmax(-1) if discrete else said
        k = torch.arange(self.chunk, device=said.device).unsqueeze(1)
        oldest = self.age.clamp_max(self.chunk - 1)
        weight = torch.exp(-self.agent.config.ensemble_decay * (oldest - k)) * (k <= oldest)
        mean = (said * weight.unsqueeze(-1)).sum(0) / weight.sum(0).unsqueeze(-1)
        return mean.log() if discrete else mean
