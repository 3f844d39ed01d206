"""What SAC and TD3 share: collecting with N envs into a replay, gradient steps in proportion, saving everything."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import torch

from cairngym.agents.core import Actor, Callback, Metrics, check_autoreset, check_discounts, update_shapers
from cairngym.agents.critics import Minibatch
from cairngym.agents.demonstration_sources import load_demonstrations
from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.hindsight import Hindsight
from cairngym.agents.meters import EpisodeMeans
from cairngym.agents.off_policy_config import OffPolicyConfig
from cairngym.agents.off_policy_motion import Motion
from cairngym.agents.off_policy_updates import GradientSteps
from cairngym.agents.records import read_state, record_step
from cairngym.agents.replay import Replay
from cairngym.agents.returns import return_bounds
from cairngym.agents.unit_actions import UnitActor, UnitBox
from cairngym.envs.core import Critic, Observation, TensorEnv, clone

BLOCK = 2**14
"""Transitions drawn from the replay at once; more would leave the caches before they are used."""


class OffPolicy(GradientSteps):
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

    def __init__(self, env: TensorEnv, config: OffPolicyConfig | None = None) -> None:
        self.env, self.config = env, config or self.config_class()
        check_autoreset(env)
        self.device, self.steps_done, self.updates_done = env.device, 0, 0
        self.box = self.make_box(env)
        self.ratio = Fraction(self.config.updates_per_step).limit_denominator(2**20)
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        self._build(env)
        self.bounds = return_bounds(env, self.config.gamma) if self._clips() else None
        self.replay = self._make_replay(env)
        self._obs: Observation = {}
        self._playing, self._credit, self._motion = False, 0, Motion(self.device)

    # What the algorithm decides ---------------------------------------------------------------------------------------

    def make_box(self, env: TensorEnv) -> UnitBox:
        """The box that [-1, 1]^A stands for."""
        return UnitBox(env.single_action_space, self.name, env.device)

    @abstractmethod
    def explore(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Actions `(N, A)` to collect with."""

    @abstractmethod
    def play(self, features: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Actions `(N, A)` of the present policy, the likeliest where there is no generator to sample by."""

    def begin_with(self, features: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Actions `(N, A)` of the warm-up, by draws `(N, A)` from [-1, 1); the draws themselves by default."""
        del features
        return uniform

    def command(self, obs: Observation, unit: torch.Tensor) -> torch.Tensor:
        """What the env is given to do `unit` `(N, A)` where it shows `obs`."""
        del obs
        return self.box.to_env(unit)

    def done(self, unit: torch.Tensor, info: Mapping[str, Any]) -> torch.Tensor:
        """What replay keeps as the action, `(N, *shape)` in [-1, 1]: what was asked for by default."""
        del info
        return unit.view(-1, *self.box.shape)

    @property
    def kept(self) -> int:
        """How many of the first transitions replay never drops."""
        return 0

    def demonstrated(self, env: TensorEnv, source: str) -> Demonstrations:
        """The demonstrations that `source` names, as replay keeps them for `env`."""
        return load_demonstrations(
            source, env, episodes=self.config.demonstration_episodes, seed=self.config.seed, device=self.device
        )

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
                metrics = {"step": self.steps_done, **episodes.take(), **self._motion.take(), **self._means.take()}
                metrics |= {**shapers, "updates": self.updates_done, "steps_per_s": speed}
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
            self._load_demonstrations(env, self.config.demonstrations)
        if not self._playing:
            self.replay.cut()
            self._obs, _ = env.reset(options={"stagger": True} if self.config.stagger else None)
            self._playing = True

    def _load_demonstrations(self, env: TensorEnv, source: str) -> None:
        # An oracle plays in the env itself, which a run without a saved replay goes on with.
        before = env.get_state() if self._playing else None
        self.replay.load_demonstrations(self.demonstrated(env, source))
        if before is not None:
            env.set_state(before)

    def _make_replay(self, env: TensorEnv) -> Replay:
        config = self.config
        return Replay(
            env, capacity=config.capacity, gamma=config.gamma, n_step=config.n_step,
            hindsight=Hindsight(strategy=config.hindsight, ratio=config.hindsight_ratio),
            demonstration_ratio=config.demonstration_ratio, kept=self.kept, generator=self.generator,
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
        result = env.step(self.command(obs, unit))
        self.replay.add(record_step(env, obs, state, self.done(unit, result[-1]), result))
        self._motion.add(self.replay.newest)
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
            return self.begin_with(features, uniform)
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
            **self._learned(),
            "generator": self.generator.get_state(),
            "steps_done": self.steps_done, "credit": self._credit,
            "playing": self._playing, "obs": clone(self._obs),
            "replay": self.replay.get_state() if self.config.save_replay else None,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`; a replay of another number of envs is left out.

        Raises:
            ValueError: if it is of other networks.
        """
        self._set_learned(snapshot)
        self.replay = self._make_replay(self.env)
        self._restore(snapshot["replay"])
        self.generator.set_state(snapshot["generator"].cpu())
        self.steps_done, self._credit = snapshot["steps_done"], snapshot["credit"]
        self._playing, self._obs = snapshot["playing"], clone(snapshot["obs"])

    def forget_env(self) -> None:
        """Begin new episodes at the next `learn`; what the replay holds is kept."""
        self._playing, self._obs = False, {}
