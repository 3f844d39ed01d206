"""Demonstrations of oracles, noisy oracles and trained runs, with a record of how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.agents.demonstrations import Demonstrations, collect
from cairngym.agents.oracles import AgentPolicy, NoisyPolicy, find_oracle, make_oracle
from cairngym.envs.strict_yaml import ConfigError

if TYPE_CHECKING:
    from cairngym.agents.demonstrations import Policy
    from cairngym.envs.core import TensorEnv

PLAYERS = 16
"""Envs that play at once, at most."""


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """Who shows what."""

    task: str = ""
    """Id of the task whose oracle plays; empty where a run plays."""
    run: Path | None = None
    """Folder of the run whose policy plays instead, on its evaluation env."""
    episodes: int = 100
    seed: int = 0
    noise: float = 0.0
    """See `NoisyPolicy`."""
    random_actions: float = 0.0
    greedy: bool = False
    """Whether a run's policy plays its likeliest action."""
    failures: bool = False
    """Whether episodes are kept in which the task was not done."""
    device: str = "cpu"
    env: Mapping[str, Any] | None = None
    """Options of the task's env."""

    def __post_init__(self) -> None:
        if bool(self.task) == (self.run is not None):
            raise ConfigError("Expected either a task, whose oracle plays, or a run, whose policy plays.")
        if self.run is not None and (self.env or self.device != "cpu"):
            raise ConfigError("Expected no env options and no device with a run, which brings its own.")
        if self.episodes < 1:
            raise ConfigError(f"expected episodes >= 1, got {self.episodes}")


def record(config: RecordConfig) -> tuple[Demonstrations, TensorEnv, dict[str, Any]]:
    """Let the oracle or the run play.

    Returns:
        What it showed, the env it played in, and a record of how: strings and numbers.

    Raises:
        ConfigError: the run's folder holds no config or no checkpoint.
        UnknownNameError: no such task, or one without an oracle.
        RuntimeError: too few episodes succeeded.
    """
    players = min(config.episodes, PLAYERS)
    env, policy, source = _of_task(config, players) if config.run is None else _of_run(config, config.run, players)
    if config.noise or config.random_actions:
        policy = NoisyPolicy(policy, env, noise=config.noise, random_actions=config.random_actions, seed=config.seed)
    shown = collect(policy, env, config.episodes, config.seed, only_successful=not config.failures)
    return shown, env, {**source, **describe(shown), **_how(config)}


def describe(shown: Demonstrations) -> dict[str, Any]:
    """What is in demonstrations: episodes, steps, share of successful episodes, mean return and length."""
    successes, returns = shown.per_episode(shown.success) > 0, shown.per_episode(shown.reward)
    return {
        "episodes": len(shown), "steps": int(shown.lengths.sum()), "success_rate": float(successes.double().mean()),
        "mean_return": float(returns.mean()), "mean_length": float(shown.lengths.double().mean()),
        "terminations": int(shown.terminated.sum()), "truncations": int((shown.truncated & ~shown.terminated).sum()),
    }  # fmt: skip


def _how(config: RecordConfig) -> dict[str, Any]:
    from cairngym import __version__

    return {
        "seed": config.seed, "noise": config.noise, "random_actions": config.random_actions,
        "only_successful": not config.failures, "env_options": {**(config.env or {})}, "cairngym_version": __version__,
    }  # fmt: skip


def _of_task(config: RecordConfig, players: int) -> tuple[TensorEnv, Policy, dict[str, Any]]:
    from cairngym.envs.registry import get_spec, make

    task = get_spec(config.task).id
    name = find_oracle(task)  # before anything is built
    env = make(task, num_envs=players, device=config.device, seed=config.seed, **(config.env or {}))
    return env, make_oracle(env), {"task": task, "algorithm_name": f"oracle {name}"}


def _of_run(config: RecordConfig, run: Path, players: int) -> tuple[TensorEnv, Policy, dict[str, Any]]:
    from cairngym.experiments.trained import load_trained

    trained = load_trained(run)
    env = trained.make_env(players, config.seed)
    policy = AgentPolicy(trained.agent, env, players, deterministic=config.greedy, seed=config.seed)
    played = trained.config
    source = {"task": played.task, "algorithm_name": f"{played.agent.name} {played.variant}"}
    return env, policy, {**source, "run": str(played.folder), "run_steps": trained.steps}
