"""What SAC and TD3 share: collecting with N envs into a replay, gradient steps in proportion, saving everything."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import nn

from cairngym.agents.checkpoint import to_plain
from cairngym.agents.core import Actor, Agent, Callback, Metrics, check_autoreset, check_discounts, update_shapers
from cairngym.agents.critics import EnsembleCritic, Features, Minibatch, follow, frozen_copy, frozen_view
from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.hindsight import Hindsight
from cairngym.agents.inputs import make_encoder
from cairngym.agents.meters import EpisodeMeans, Means
from cairngym.agents.networks import check_same_networks
from cairngym.agents.off_policy_config import OffPolicyConfig
from cairngym.agents.records import read_state, record_step
from cairngym.agents.replay import Replay, ReplayBatch
from cairngym.agents.returns import return_bounds
from cairngym.agents.unit_actions import UnitActor, UnitBox
from cairngym.envs.core import Critic, Observation, TensorEnv, clone

BLOCK = 2**14
"""Transitions drawn from the replay at once; more would leave the caches before they are used."""


class OffPolicy(Agent):
    """The loop of an actor and an ensemble of critics that learn from replay.

    Every vector step of the N envs earns `num_envs * updates_per_step` gradient steps, kept in whole numbers so that
    no fraction is lost. Policies act on [-1, 1]^A, which is mapped onto the env's box.

    Args:
        env: gives the spaces, the device and the number of envs.
        config: settings.

    Raises:
        TypeError: an action space other than Box, or hindsight for a task without goals (for "times": without plans).
        ValueError: an action box without finite bounds, or an env that does not reset within the step.
    """

    config: OffPolicyConfig
    config_class: ClassVar[type[OffPolicyConfig]]
    noise_draws: ClassVar[int]
    """Standard normal vectors of A numbers that one transition's losses need."""
    critic_metrics: ClassVar[tuple[str, ...]] = ("loss/critic", "q_mean", "target_mean")
    actor_metrics: ClassVar[tuple[str, ...]]

    def __init__(self, env: TensorEnv, config: OffPolicyConfig | None = None) -> None:
        self.env, self.config = env, config or self.config_class()
        check_autoreset(env)
        self.device, self.steps_done, self.updates_done = env.device, 0, 0
        self.box = UnitBox(env.single_action_space, self.name, env.device)
        self.ratio = Fraction(self.config.updates_per_step).limit_denominator(2**20)
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        self._build(env)
        self.bounds = return_bounds(env, self.config.gamma) if self._clips() else None
        self._critic_loss, self._actor_loss = self.critic_loss, self.actor_loss
        if self.config.compile:
            self._critic_loss, self._actor_loss = torch.compile(self.critic_loss), torch.compile(self.actor_loss)
        self.replay = self._make_replay(env)
        self._obs: Observation = {}
        self._playing, self._credit, self._losses = False, 0, Means()

    def _build(self, env: TensorEnv) -> None:
        config = self.config
        with torch.random.fork_rng(devices=[]):  # same parameters on every device, and nobody else's draws moved
            torch.manual_seed(config.seed)
            features = Features(
                make_encoder(env), normalize=config.normalize, clip=config.observation_clip,
                floor=config.observation_floor,
            )  # fmt: skip
            self.critic = EnsembleCritic(
                features.size + self.box.size, config.hidden, config.critics, activation=config.activation,
                layer_norm=config.layer_norm,
            )  # fmt: skip
            self.policy = self.make_policy(features.size)
        modules = {"features": features, "critic": self.critic, "policy": self.policy}
        self.networks = nn.ModuleDict(modules).to(self.device)
        self.features = features
        self.frozen_critic = frozen_view(self.critic)
        targets = self.targets()
        self.networks.update({name: frozen_copy(source) for name, source in targets.items()})
        self._followers = (
            [parameter.detach() for name in targets for parameter in self.networks[name].parameters()],
            [parameter.detach() for source in targets.values() for parameter in source.parameters()],
        )
        actor_rate = config.actor_learning_rate or config.learning_rate
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.learning_rate, fused=True)
        self.actor_optimizer = torch.optim.Adam(self.policy.parameters(), lr=actor_rate, fused=True)

    def _clips(self) -> bool:
        return self.config.clip_targets

    # What the algorithm decides ---------------------------------------------------------------------------------------

    @abstractmethod
    def make_policy(self, num_features: int) -> nn.Module:
        """The network whose parameters the actor's loss trains."""

    @abstractmethod
    def explore(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Actions `(N, A)` to collect with."""

    @abstractmethod
    def play(self, features: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Actions `(N, A)` of the present policy, the likeliest where there is no generator to sample by."""

    @abstractmethod
    def next_value(self, batch: Minibatch, members: torch.Tensor | None) -> torch.Tensor:
        """Value `(B,)` of what follows, by the target critics `members`, int64 `(M,)`, or all of them."""

    @abstractmethod
    def actor_loss(self, batch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's loss, and the means named in `actor_metrics`."""

    def targets(self) -> dict[str, nn.Module]:
        """Names of target networks, and what they follow."""
        return {"target_critic": self.critic}

    # Learning ---------------------------------------------------------------------------------------------------------

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Learn from at least `steps` more env steps, in whole steps of the `num_envs`.

        Args:
            env: has the spaces the agent was made for; going on with the same env goes on with its episodes.
            steps: env steps, every one of the `num_envs` counted.
            callbacks: called with the metrics about every `report_period` env steps and at the end, until one returns
                False.

        Raises:
            FileNotFoundError: no demonstrations where the config names them.
            ValueError: a shaper is built for another discount, or the env does not reset within the step.
        """
        self._enter(env)
        callbacks, target = tuple(callbacks), self.steps_done + steps
        episodes, shapers = EpisodeMeans(env.device), Metrics()
        start, since = time.perf_counter(), self.steps_done
        while self.steps_done < target:
            episodes.add(self._advance(env))
            if self._passed(self.config.period):
                shapers |= update_shapers(env)
            if self._passed(self.config.report_period) or self.steps_done >= target:
                speed = (self.steps_done - since) / (time.perf_counter() - start)
                metrics = {"step": self.steps_done, **episodes.take(), **self._losses.take(), **shapers}
                metrics |= {"updates": self.updates_done, "steps_per_s": speed}
                # Every callback hears of it, even where an earlier one asks to stop.
                if False in [callback(metrics) for callback in callbacks]:
                    break
                start, since = time.perf_counter(), self.steps_done

    def _enter(self, env: TensorEnv) -> None:
        check_discounts(env, self.config.gamma)
        env.guide(self.values)
        if env is not self.env:
            check_autoreset(env)
            self.forget_env()
            self.env = env
        if env is not self.replay.env:
            self.bounds = return_bounds(env, self.config.gamma) if self._clips() else None
            held, self.replay = self.replay.get_state(), self._make_replay(env)
            self._restore(held)
        if self.config.demonstrations is not None and self.replay.demonstrations is None:
            self.replay.load_demonstrations(Demonstrations.load(self.config.demonstrations, env.device))
        if not self._playing:
            self.replay.cut()
            self._obs, _ = env.reset(options={"stagger": True} if self.config.stagger else None)
            self._playing = True

    def _make_replay(self, env: TensorEnv) -> Replay:
        config = self.config
        return Replay(
            env, capacity=config.capacity, gamma=config.gamma, n_step=config.n_step,
            hindsight=Hindsight(strategy=config.hindsight, ratio=config.hindsight_ratio),
            demonstration_ratio=config.demonstration_ratio, generator=self.generator,
        )  # fmt: skip

    def _restore(self, held: Mapping[str, Any] | None) -> None:
        """Take over what a replay held, unless it was of another number of envs."""
        if held is not None and held["ring"]["num_envs"] == self.replay.env.num_envs:
            self.replay.set_state(held)

    def _passed(self, period: int) -> bool:
        return self.steps_done // period != (self.steps_done - self.env.num_envs) // period

    # Collecting -------------------------------------------------------------------------------------------------------

    def _advance(self, env: TensorEnv) -> Mapping[str, Any]:
        """One step of every env and the gradient steps it earns; returns the step's `info`."""
        obs, state = self._obs, read_state(env, self.replay.windows.fields)
        unit = self._choose(obs)
        result = env.step(self.box.to_env(unit))
        self.replay.add(record_step(env, obs, state, unit.view(-1, *self.box.shape), result))
        self.features.update(obs)
        self._obs = result[0]
        self.steps_done += env.num_envs
        if self.replay.size >= self._enough(env):
            self._learn_from_replay(self._earned(env.num_envs))
        return result[-1]

    @torch.no_grad()
    def _choose(self, obs: Observation) -> torch.Tensor:
        """Actions `(N, A)` to collect with: uniform ones at first and, with `random_actions`, at times."""
        features = self.features(obs)
        shape = (len(features), self.box.size)
        warm, share = self.steps_done >= self.config.warmup_steps, self.config.random_actions
        if warm and share == 0.0:
            return self.explore(features, self.generator)
        uniform = torch.rand(shape, generator=self.generator, device=self.device) * 2.0 - 1.0
        if not warm:
            return uniform
        rare = torch.rand(shape[0], 1, generator=self.generator, device=self.device) < share
        return torch.where(rare, uniform, self.explore(features, self.generator))

    def _enough(self, env: TensorEnv) -> int:
        held = self.config.capacity // env.num_envs * env.num_envs
        return max(1, min(self.config.warmup_steps, held))

    def _earned(self, steps: int) -> int:
        """Gradient steps that `steps` env steps pay for together with the fractions left by earlier ones."""
        self._credit += steps * self.ratio.numerator
        updates, self._credit = divmod(self._credit, self.ratio.denominator)
        return updates

    # Updating ---------------------------------------------------------------------------------------------------------

    def _learn_from_replay(self, updates: int) -> None:
        size = max(1, BLOCK // self.config.batch)
        for first in range(0, updates, size):
            count = min(size, updates - first)
            block = self._prepare(self.replay.sample(count * self.config.batch))
            members = self._draw_members(count)
            for index in range(count):
                rows = slice(index * self.config.batch, (index + 1) * self.config.batch)
                self.update(Minibatch(*(column[rows] for column in block)), None if members is None else members[index])

    @torch.no_grad()
    def _prepare(self, batch: ReplayBatch) -> Minibatch:
        noise = (len(batch.reward), self.noise_draws * self.box.size)
        return Minibatch(
            self.features(batch.obs), batch.action.flatten(1), batch.reward, self.features(batch.next_obs),
            batch.discount, torch.randn(noise, generator=self.generator, device=self.device),
        )  # fmt: skip

    def _draw_members(self, updates: int) -> torch.Tensor | None:
        """For every gradient step the critics its target asks, int64 `(updates, M)`; None for all."""
        count = self.config.target_critics
        if count is None or count == self.config.critics:
            return None
        order = torch.rand(updates, self.config.critics, generator=self.generator, device=self.device).argsort(1)
        return order[:, :count]

    def update(self, batch: Minibatch, members: torch.Tensor | None = None) -> None:
        """One gradient step of the critics, of the actor where it is due, and of the targets."""
        with self._precision():
            loss, parts = self._critic_loss(batch, members)
        _descend(self.critic_optimizer, loss)
        self._losses.add(self.critic_metrics, parts)
        if self.updates_done % self.config.policy_delay == 0:
            with self._precision():
                loss, parts = self._actor_loss(batch)
            _descend(self.actor_optimizer, loss)
            self._losses.add(self.actor_metrics, parts)
        self.updates_done += 1
        follow(*self._followers, self.config.tau)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def critic_loss(self, batch: Minibatch, members: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Half the squared error, summed over the critics, and the means named in `critic_metrics`."""
        with torch.no_grad():
            target = self.target(batch, members)
        value = self.critic(batch.features, batch.action)
        loss = 0.5 * (value - target).square().mean(1).sum()
        return loss, torch.stack((loss, value.mean(), target.mean())).detach()

    def target(self, batch: Minibatch, members: torch.Tensor | None = None) -> torch.Tensor:
        """What the critics should say, `(B,)`: reward plus discounted value, within the attainable returns."""
        target = batch.reward + batch.discount * self.next_value(batch, members)
        return target if self.bounds is None else target.clamp(*self.bounds)

    # Playing and saving -----------------------------------------------------------------------------------------------

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy; it follows the agent's later learning and keeps nothing for each of `num_envs`."""
        del num_envs

        def policy(obs: Observation, generator: torch.Generator) -> torch.Tensor:
            return self.play(self.features(obs), None if deterministic else generator)

        return UnitActor(policy, self.box, self.device, seed)

    @property
    def values(self) -> Critic:
        """The least of the critics' values of what the present policy does."""
        return self._value

    @torch.no_grad()
    def _value(self, obs: Observation) -> torch.Tensor:
        features = self.features(obs)
        return self.critic(features, self.play(features, None)).amin(0)

    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env."""
        return {
            "networks": {name: value.clone() for name, value in self.networks.state_dict().items()},
            "critic_optimizer": to_plain(self.critic_optimizer.state_dict()),
            "actor_optimizer": to_plain(self.actor_optimizer.state_dict()),
            "generator": self.generator.get_state(),
            "steps_done": self.steps_done, "updates_done": self.updates_done, "credit": self._credit,
            "playing": self._playing, "obs": clone(self._obs),
            "replay": self.replay.get_state() if self.config.save_replay else None,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`; a replay of another number of envs is left out.

        Raises:
            ValueError: if it is of other networks.
        """
        check_same_networks(self.networks, snapshot["networks"])
        self.networks.load_state_dict(snapshot["networks"])
        self.critic_optimizer.load_state_dict(snapshot["critic_optimizer"])
        self.actor_optimizer.load_state_dict(snapshot["actor_optimizer"])
        self.replay = self._make_replay(self.env)
        self._restore(snapshot["replay"])
        self.generator.set_state(snapshot["generator"].cpu())
        self.steps_done, self.updates_done = snapshot["steps_done"], snapshot["updates_done"]
        self._credit, self._playing, self._obs = snapshot["credit"], snapshot["playing"], clone(snapshot["obs"])

    def forget_env(self) -> None:
        """Begin new episodes at the next `learn`; what the replay holds is kept."""
        self._playing, self._obs = False, {}


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
