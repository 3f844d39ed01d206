"""Stable-Baselines3 on our envs: its algorithms as agents, and `train_sb3` for any other.

Stable-Baselines3 is imported when one of them is made. It trains through numpy, thousands of steps a second rather than
hundreds of thousands: it is here as a reference and for the algorithms it has.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from cairngym.agents.core import Actor, Agent, Callback, Metrics, check_discounts, update_shapers
from cairngym.envs.checks import check_seed
from cairngym.envs.core import Observation, TensorEnv

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback


@dataclass(frozen=True, kw_only=True)
class SB3Config:
    """Settings of a Stable-Baselines3 agent."""

    num_envs: int = 16
    """Envs stepped together; whoever makes the env reads it."""
    policy: str = "auto"
    """SB3's policy; "auto" is MultiInputPolicy for Dict observations, else MlpPolicy."""
    gamma: float = 0.99
    """Discount."""
    learning_rate: float = 3e-4
    """Of the optimizer."""
    update_period: int = 2048
    """Env steps between two updates of learned shapers, and between two reports."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of the algorithm's constructor, by SB3's names."""
    seed: int = 0
    """Of everything random in the agent."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("num_envs", "update_period"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} >= 1, got {getattr(self, name)}.")


A2CConfig = DQNConfig = PPOConfig = SACConfig = TD3Config = SB3Config


def train_sb3(
    algorithm: str | type[BaseAlgorithm], env: TensorEnv, steps: int, *, period: int = 2048, **options: Any
) -> BaseAlgorithm:
    """Train any Stable-Baselines3 algorithm on any env, shaped or not.

    Args:
        algorithm: the class, or its name in `stable_baselines3` ("PPO", "DQN", …).
        env: any TensorEnv that resets within the step; its shapers learn every `period` env steps.
        steps: env steps, every env counted.
        period: see `env`.
        options: arguments of the algorithm's constructor; `policy` is chosen by the observation space.

    Returns:
        The trained model.

    Raises:
        ValueError: a shaper is built for another discount than the algorithm's.
        AttributeError: no such algorithm.
    """
    model = make_sb3(algorithm, env, **options)
    check_discounts(env, vars(model)["gamma"])
    model.learn(steps, callback=_callback(lambda metrics: None, env, period))
    return model


def make_sb3(algorithm: str | type[BaseAlgorithm], env: TensorEnv, **options: Any) -> BaseAlgorithm:
    """Make an untrained model; arguments as for `train_sb3`."""
    from gymnasium import spaces

    from cairngym.envs.adapters import SB3VecEnv

    if isinstance(algorithm, str):
        algorithm = getattr(importlib.import_module("stable_baselines3"), algorithm)
    is_dict = isinstance(env.single_observation_space, spaces.Dict)
    policy = options.pop("policy", "MultiInputPolicy" if is_dict else "MlpPolicy")
    return algorithm(policy, SB3VecEnv(env), device=options.pop("device", env.device), **options)  # type: ignore[operator]


class SB3Agent(Agent):
    """A Stable-Baselines3 algorithm as an agent.

    It saves what SB3 saves: parameters, optimizers and counters, but neither replay buffers nor random numbers, so a
    resumed run is a continuation and not the same run bit for bit.

    Args:
        env: gives the spaces and the number of envs.
        config: settings.

    Raises:
        AssertionError: SB3 does not have this algorithm for the env's action space.
    """

    algorithm: ClassVar[str]

    def __init__(self, env: TensorEnv, config: SB3Config | None = None) -> None:
        self.env, self.config, self.steps_done = env, config or SB3Config(), 0
        self.model = self._make(env)

    def _make(self, env: TensorEnv) -> BaseAlgorithm:
        config = self.config
        options = {"gamma": config.gamma, "learning_rate": config.learning_rate, **config.options}
        if config.policy != "auto":
            options["policy"] = config.policy
        return make_sb3(self.algorithm, env, seed=config.seed % 2**32, **options)

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Learn from at least `steps` more env steps; callbacks are called every `update_period` of them."""
        from cairngym.envs.adapters import SB3VecEnv

        check_discounts(env, self.config.gamma)
        if env is not self.env:
            self.model.set_env(SB3VecEnv(env))
            self.env = env
        done, before = tuple(callbacks), self.model.num_timesteps

        def report(metrics: Metrics) -> bool | None:
            self.steps_done = self.model.num_timesteps
            return False not in [callback(metrics) for callback in done]

        period = min(self.config.update_period, steps)
        self.model.learn(steps, callback=_callback(report, env, period), reset_num_timesteps=before == 0)
        self.steps_done = self.model.num_timesteps

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy; it follows the agent's later learning."""
        del num_envs
        return SB3Actor(self, deterministic, seed)

    def get_state(self) -> dict[str, Any]:
        """The bytes that SB3 saves."""
        buffer = io.BytesIO()
        self.model.save(buffer)
        return {"zip": buffer.getvalue(), "steps_done": self.steps_done}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to what SB3 saved.

        Raises:
            ValueError: if it was saved for other spaces.
        """
        from cairngym.envs.adapters import SB3VecEnv

        buffer = io.BytesIO(snapshot["zip"])
        self.model = type(self.model).load(buffer, env=SB3VecEnv(self.env), device=self.model.device)
        self.steps_done = snapshot["steps_done"]

    def forget_env(self) -> None:
        """Nothing to do: SB3 begins new episodes after every load."""


class A2C(SB3Agent):
    """SB3's A2C."""

    name, algorithm = "sb3-a2c", "A2C"


class DQN(SB3Agent):
    """SB3's DQN."""

    name, algorithm = "sb3-dqn", "DQN"


class PPO(SB3Agent):
    """SB3's PPO."""

    name, algorithm = "sb3-ppo", "PPO"


class SAC(SB3Agent):
    """SB3's SAC."""

    name, algorithm = "sb3-sac", "SAC"


class TD3(SB3Agent):
    """SB3's TD3."""

    name, algorithm = "sb3-td3", "TD3"


class SB3Actor(Actor):
    """A Stable-Baselines3 policy at play.

    Args:
        agent: whose model decides.
        deterministic: the likeliest action instead of a sampled one.
        seed: of the sampling.
    """

    def __init__(self, agent: SB3Agent, deterministic: bool, seed: int) -> None:
        self.agent, self.deterministic = agent, deterministic
        self._random = torch.Generator().manual_seed(seed).get_state()

    def act(self, obs: Observation) -> torch.Tensor:
        """Actions for the N envs."""
        model = self.agent.model
        with torch.random.fork_rng(devices=[]):  # SB3 samples from torch's global numbers; lend it ours
            torch.set_rng_state(self._random)
            action, _ = model.predict(_read(obs, model.observation_space), deterministic=self.deterministic)
            self._random = torch.get_rng_state()
        return torch.as_tensor(action, device=self.agent.env.device)


def _read(obs: Observation, space: Any) -> Any:
    if isinstance(obs, Mapping):
        return {name: _read(entry, space[name]) for name, entry in obs.items()}
    return obs.cpu().numpy().astype(space.dtype)


def _callback(report: Any, env: TensorEnv, period: int) -> BaseCallback:
    """What SB3 calls at every step: updates shapers and reports, every `period` env steps."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Bridge(BaseCallback):
        def _init_callback(self) -> None:
            self.episodes: list[tuple[float, float, bool]] = []
            self.last, self.clock = self.num_timesteps, time.perf_counter()

        def _on_step(self) -> bool:
            for info in self.locals["infos"]:
                if "episode" in info:
                    self.episodes.append((info["episode"]["r"], info["episode"]["l"], info["is_success"]))
            if self.num_timesteps - self.last < period:
                return True
            shapers = update_shapers(env)
            speed = (self.num_timesteps - self.last) / (time.perf_counter() - self.clock)
            metrics = {"step": self.num_timesteps, **_summary(self.episodes), **shapers, "steps_per_s": speed}
            go_on = report(metrics) is not False
            self.episodes, self.last, self.clock = [], self.num_timesteps, time.perf_counter()
            return go_on

    return Bridge()


def _summary(episodes: list[tuple[float, float, bool]]) -> Metrics:
    means = np.mean(episodes, axis=0).tolist() if episodes else (None, None, None)
    names = ("episode_return", "episode_length", "success_rate")
    return {**dict(zip(names, means, strict=True)), "episodes": len(episodes)}
