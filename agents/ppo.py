"""Proximal policy optimisation (Schulman et al. 2017) on batches of tensors, from reset to update."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from cairngym.agents.checkpoint import load_moments
from cairngym.agents.cloning import Cloning
from cairngym.agents.core import Actor, Agent, Callback, Metrics, check_autoreset, check_discounts, update_shapers
from cairngym.agents.distributions import make_distribution
from cairngym.agents.inputs import Inputs, make_encoder
from cairngym.agents.networks import ActorCritic, check_same_networks
from cairngym.agents.play import NetworkActor
from cairngym.agents.ppo_config import PPOConfig
from cairngym.agents.rollout import Batch, Rollout
from cairngym.envs.core import Critic, Observation, TensorEnv


class PPO(Agent):
    """PPO with two-mask GAE, an optional intrinsic value stream, an optional GRU, and imitation of demonstrations.

    Args:
        env: gives the spaces, the device and the number of envs.
        config: settings.

    Example:
        >>> import cairngym
        >>> from cairngym.agents.ppo import PPO, PPOConfig
        >>> env = cairngym.make("Chain-N10-v0", num_envs=64)
        >>> agent = PPO(env, PPOConfig(rollout_steps=16, minibatch=256))
        >>> agent.learn(env, steps=2048)
        >>> agent.steps_done
        2048
    """

    name: ClassVar[str] = "ppo"

    def __init__(self, env: TensorEnv, config: PPOConfig | None = None) -> None:
        self.env, self.config = env, config or PPOConfig()
        check_autoreset(env)
        self.device, self.steps_done = env.device, 0
        self.learning_rate = self.config.learning_rate
        self.encoder = make_encoder(env)
        intrinsic = self.config.intrinsic_gamma
        self.discounts = (self.config.gamma,) if intrinsic is None else (self.config.gamma, intrinsic)
        self._build(env)
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        self.cloning = Cloning(self)
        self._loss = torch.compile(self.loss) if self.config.compile else self.loss
        self._rollout: Rollout | None = None
        self._cuts: list[tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]] = []
        self.forget_env()

    def _build(self, env: TensorEnv) -> None:
        config = self.config
        with torch.random.fork_rng(devices=[]):  # same parameters on every device, and nobody else's draws moved
            torch.manual_seed(config.seed)
            self.distribution = make_distribution(env.single_action_space, config.squash, config.log_std)
            self.model = ActorCritic(
                self.encoder, self.distribution.num_outputs, len(self.discounts), hidden=tuple(config.hidden),
                activation=config.activation, memory=config.memory, shared=config.shared,
            )  # fmt: skip
        self.distribution.to(self.device)
        self.model.to(self.device)
        self.parameters = [*self.model.parameters(), *self.distribution.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.learning_rate, eps=1e-5, fused=True)

    # Learning ---------------------------------------------------------------------------------------------------------

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Learn from at least `steps` more env steps, in whole iterations of `num_envs * rollout_steps`.

        Args:
            env: has the spaces the agent was made for; going on with the same env goes on with its episodes.
            steps: env steps, every one of the `num_envs` counted.
            callbacks: called with the metrics of every iteration, until one returns False.

        Raises:
            ValueError: a shaper is built for another discount, the env does not reset within the step, or the
                demonstrations do not fit it.
        """
        check_discounts(env, self.config.gamma, self.config.intrinsic_gamma)
        if env is not self.env:
            check_autoreset(env)
            self.forget_env()
        self.env, callbacks = env, tuple(callbacks)
        env.guide(self.values)
        self.cloning.begin()
        if len(self._inputs.symbols) != env.num_envs:
            self._begin(env)
        target = self.steps_done + steps
        while self.steps_done < target:
            metrics = self._iterate(env)
            # Every callback hears of the iteration, even where an earlier one asks to stop.
            if False in [callback(metrics) for callback in callbacks]:
                break

    def _begin(self, env: TensorEnv) -> None:
        obs, _ = env.reset(options={"stagger": True} if self.config.stagger else None)
        self._inputs = self.encoder(obs)
        self._memory = self.model.initial_memory(env.num_envs)
        self._begins = torch.ones(env.num_envs, dtype=torch.bool, device=self.device)

    def _iterate(self, env: TensorEnv) -> Metrics:
        start = time.perf_counter()
        rollout, terms = self._collect(env)
        losses = self._update(rollout)
        shapers = update_shapers(env)
        self.steps_done += rollout.steps * rollout.num_envs
        metrics = {"step": self.steps_done, **_episode_metrics(rollout)}
        metrics |= {f"reward_terms/{name}": float(value) / rollout.steps for name, value in terms.items()}
        speed = rollout.steps * rollout.num_envs / (time.perf_counter() - start)
        return metrics | losses | self.cloning.metrics() | shapers | {"steps_per_s": speed}

    # Collecting -------------------------------------------------------------------------------------------------------

    def _collect(self, env: TensorEnv) -> tuple[Rollout, dict[str, torch.Tensor]]:
        rollout = self._prepare(env.num_envs)
        noise = self.distribution.noise((rollout.steps, rollout.num_envs), self.generator)
        terms: dict[str, torch.Tensor] = {}
        for t in range(rollout.steps):
            self._decide(rollout, t, noise[t])
            obs, reward, terminated, truncated, info = env.step(self.distribution.to_env(rollout.action[t]))
            self._record(rollout, t, reward, terminated, truncated, info)
            self._inputs = self.encoder(obs)
            for name, value in info.get("reward_terms", {}).items():
                terms[name] = terms.get(name, 0.0) + value.mean()
        with torch.inference_mode():
            rollout.value[-1] = self.model(self._inputs, self._memory)[1]
            self._value_cuts(rollout)
        return rollout, terms

    def _prepare(self, num_envs: int) -> Rollout:
        if self._rollout is None or self._rollout.num_envs != num_envs:
            self._rollout = Rollout(
                self.config.rollout_steps, self._inputs, self.distribution, len(self.discounts), self.config.memory
            )
        self._rollout.memory.copy_(self._memory)
        self._rollout.begins[0] = self._begins
        return self._rollout

    @torch.inference_mode()
    def _decide(self, rollout: Rollout, t: int, noise: torch.Tensor) -> None:
        outputs, value, self._memory = self.model(self._inputs, self._memory)
        action, log_prob = self.distribution.sample(outputs, noise)
        rollout.symbols[t], rollout.features[t] = self._inputs
        rollout.action[t], rollout.log_prob[t], rollout.value[t] = action, log_prob, value

    @torch.inference_mode()
    def _record(
        self,
        rollout: Rollout,
        t: int,
        reward: torch.Tensor,
        terminated: torch.Tensor,
        truncated: torch.Tensor,
        info: Mapping[str, Any],
    ) -> None:
        done = terminated | truncated
        rollout.terminated[t], rollout.done[t], rollout.begins[t + 1] = terminated, done, done
        intrinsic = info.get("intrinsic_reward") if rollout.streams == 2 else None
        rollout.reward[t, :, 0] = reward if intrinsic is None else reward - intrinsic
        if intrinsic is not None:
            rollout.reward[t, :, 1] = intrinsic
        self._keep_cut(rollout, t, truncated & ~terminated, info["final_obs"])
        if self.config.memory:
            self._memory = self._memory.masked_fill(done.unsqueeze(1), 0.0)
        self._begins = done
        episode = info["episode"]
        rollout.returns[t], rollout.lengths[t] = episode["return"], episode["length"]
        rollout.successes[t] = episode["success_once"]

    def _keep_cut(self, rollout: Rollout, t: int, cut: torch.Tensor, final_obs: Observation) -> None:
        if self.device.type != "cpu":  # picking rows would wait for the device
            rollout.final_value[t] = self.model(self.encoder(final_obs), self._memory)[1]
            return
        rows = cut.nonzero().squeeze(1)
        if len(rows):
            entries = final_obs if isinstance(final_obs, dict) else {"": final_obs}
            last = {name: entry.index_select(0, rows) for name, entry in entries.items()}
            self._cuts.append((t * rollout.num_envs + rows, last, self._memory.index_select(0, rows)))

    def _value_cuts(self, rollout: Rollout) -> None:
        if not self._cuts:
            return
        places, lasts, memories = zip(*self._cuts, strict=True)
        obs = {name: torch.cat([last[name] for last in lasts]) for name in lasts[0]}
        values = self.model(self.encoder(obs), torch.cat(memories))[1]
        rollout.final_value.view(-1, rollout.streams).index_copy_(0, torch.cat(places), values)
        self._cuts.clear()

    # Updating ---------------------------------------------------------------------------------------------------------

    def _update(self, rollout: Rollout) -> Metrics:
        config = self.config
        if config.schedule == "linear":
            remaining = 1.0 - self.steps_done / config.schedule_steps
            self.learning_rate = config.learning_rate * max(0.0, remaining)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        episodic = (True, config.intrinsic_episodic)[: rollout.streams]
        rollout.estimate(self.discounts, config.lam, episodic)
        advantage = rollout.total_advantage(normalize=config.normalize_advantage)
        statistics = []
        for _ in range(config.epochs):
            for batch in rollout.minibatches(config.minibatch, advantage, self.generator, sequences=config.memory > 0):
                loss, parts = self._loss(batch)
                self.optimizer.zero_grad(set_to_none=True)
                (loss + self.cloning.penalty()).backward()
                nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
                self.optimizer.step()
                statistics.append(parts)
        self.model.normalizer.update(rollout.features.flatten(0, 1))
        return self._loss_metrics(torch.stack(statistics))

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """PPO's loss of a minibatch, and `(5,)`: policy loss, value loss, entropy, KL divergence, clipped fraction."""
        config = self.config
        outputs, value = self.model.sequence(batch.inputs, batch.memory, batch.begins)
        log_prob, entropy = self.distribution.evaluate(outputs, batch.action)
        advantage = batch.advantage
        log_ratio = log_prob - batch.log_prob
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
        value_loss = self._value_loss(value, batch)
        mean_entropy = entropy.mean()
        loss = policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * mean_entropy
        with torch.no_grad():
            kl = (ratio - 1.0 - log_ratio).mean()  # non-negative estimate of low variance (Schulman 2020)
            fraction = ((ratio - 1.0).abs() > config.clip).float().mean()
        return loss, torch.stack((policy_loss, value_loss, mean_entropy, kl, fraction)).detach()

    def _value_loss(self, value: torch.Tensor, batch: Batch) -> torch.Tensor:
        error = (value - batch.target).square()
        if self.config.value_clip is not None:
            near = batch.value + (value - batch.value).clamp(-self.config.value_clip, self.config.value_clip)
            error = torch.max(error, (near - batch.target).square())
        return 0.5 * error.sum(-1).mean()

    def _loss_metrics(self, statistics: torch.Tensor) -> Metrics:
        names = ("policy", "value", "entropy", "kl", "clip_fraction")
        metrics = {f"loss/{name}": value for name, value in zip(names, statistics.mean(0).tolist(), strict=True)}
        if self.config.schedule == "kl":
            self.learning_rate = adapt(self.learning_rate, metrics["loss/kl"], self.config.target_kl)
        return metrics | {"learning_rate": self.learning_rate}

    # Playing and saving -----------------------------------------------------------------------------------------------

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy for `num_envs` envs; it follows the agent's later learning."""
        return NetworkActor(
            self.encoder, self.model, self.distribution, num_envs, deterministic=deterministic, seed=seed
        )

    @property
    def values(self) -> Critic:
        """The value of first observations: a memory is empty there."""
        return self._value

    @torch.no_grad()
    def _value(self, obs: Observation) -> torch.Tensor:
        inputs = self.encoder(obs)
        return self.model(inputs, self.model.initial_memory(len(inputs.features)))[1][:, 0]

    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env."""
        carried = {**self._inputs._asdict(), "memory": self._memory, "begins": self._begins}
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "distribution": {name: value.clone() for name, value in self.distribution.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "steps_done": self.steps_done,
            "learning_rate": self.learning_rate,
            "cloning": self.cloning.get_state(),
            "carried": {name: value.clone() for name, value in carried.items()},
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: if it is of other networks.
        """
        check_same_networks(self.model, snapshot["model"])
        self.model.load_state_dict(snapshot["model"])
        self.distribution.load_state_dict(snapshot["distribution"])
        load_moments(self.optimizer, snapshot["optimizer"])
        self.generator.set_state(snapshot["generator"].cpu())
        self.steps_done = snapshot["steps_done"]
        if self.config.schedule == "kl":  # else the rate is what the config says, whoever learned before
            self.learning_rate = snapshot["learning_rate"]
        if "cloning" in snapshot:  # checkpoints of agents that could not imitate have none
            self.cloning.set_state(snapshot["cloning"])
        carried = {name: value.to(self.device, copy=True) for name, value in snapshot["carried"].items()}
        self._inputs = Inputs(carried["symbols"], carried["features"])
        self._memory, self._begins = carried["memory"], carried["begins"]

    def forget_env(self) -> None:
        """Begin new episodes at the next `learn`."""
        self._inputs = Inputs(*torch.zeros(2, 0, 0, device=self.device))
        self._memory = self.model.initial_memory(0)
        self._begins = torch.zeros(0, dtype=torch.bool, device=self.device)


def adapt(learning_rate: float, kl: float, target: float) -> float:
    """Lower the rate where the policy moved twice too far, raise it where half too little, within [1e-5, 1e-2]."""
    if kl > 2.0 * target:
        return max(1e-5, learning_rate / 1.5)
    if kl < 0.5 * target:
        return min(1e-2, learning_rate * 1.5)
    return learning_rate


def _episode_metrics(rollout: Rollout) -> Metrics:
    done = rollout.done
    sums = [(column * done).sum() for column in (rollout.successes, rollout.returns, rollout.lengths)]
    episodes, successes, returns, lengths = torch.stack((done.sum().float(), *sums)).tolist()
    means = (successes, returns, lengths)
    rates = [value / episodes if episodes else None for value in means]
    names = ("success_rate", "episode_return", "episode_length")
    return {**dict(zip(names, rates, strict=True)), "episodes": int(episodes)}
