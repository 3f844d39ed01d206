"""Trained runs: the agent of a run's checkpoint, and the envs it was evaluated in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import RunConfig, load_run
from cairngym.experiments.resolve import resolve
from cairngym.experiments.run import make_env, make_evaluation_env, make_run_agent, wrap
from cairngym.experiments.runfolder import CorruptCheckpointError, RunFolder

if TYPE_CHECKING:
    from cairngym.agents.core import Agent
    from cairngym.envs.core import TensorEnv

RANDOMIZATION = "randomization"
"""The wrapper that a nominal env goes without."""


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A run's agent as its checkpoint left it; the run need not be finished."""

    config: RunConfig
    """Resolved; with one env to train on, which is all that playing needs."""
    agent: Agent
    steps: int = 0
    """Env steps it was trained for."""

    def make_env(self, num_envs: int, seed: int | None = None) -> TensorEnv:
        """Copies of the run's evaluation env, told the agent's values if it has any; by default on its own episodes."""
        env = make_evaluation_env(self.config, num_envs=num_envs, seed=seed)
        if self.agent.values is not None:
            env.guide(self.agent.values, exploit=True)
        return env

    def make_nominal(self, num_envs: int, seed: int) -> TensorEnv:
        """The task with the options of the run's evaluations, but without wrappers."""
        from cairngym.envs.registry import make

        options = {**self.config.env, **self.config.evaluation.env}
        return make(self.config.task, num_envs=num_envs, device=self.config.device, seed=seed, **options)

    def wrap(self, env: TensorEnv) -> TensorEnv:
        """Put the wrappers of the run's evaluations around `env`, except randomization."""
        evaluation = self.config.evaluation
        worn = self.config.wrappers if evaluation.wrappers is None else evaluation.wrappers
        return wrap([wrapper for wrapper in worn if wrapper.name != RANDOMIZATION], env)


def load_trained(run: Path, *, autoreset_mode: str | None = None, device: str | None = None) -> TrainedRun:
    """Load a run's agent from its folder.

    Args:
        run: the folder that holds `config.yaml` and `checkpoint.pt`.
        autoreset_mode: of the evaluation env; None: as in the run's evaluations.
        device: where the agent and its envs are; None: where it was trained.

    Raises:
        ConfigError: the folder holds no config, no checkpoint, or one that can't be used.
    """
    own: dict[str, Any] = {} if device is None else {"device": device}
    config = run_config(run, {**own, "agent": {"num_envs": 1}})
    if autoreset_mode is not None:
        options = {**config.evaluation.env, "autoreset_mode": autoreset_mode}
        config = replace(config, evaluation=replace(config.evaluation, env=options))
    try:
        saved = RunFolder(run).load_checkpoint()
    except CorruptCheckpointError as error:
        raise ConfigError(f"The checkpoint of {run} can't be used: {error}") from error
    if saved is None:
        raise ConfigError(f"{run} has no checkpoint.pt yet; let the run go on for a while.")
    agent = make_run_agent(config, make_env(config))
    _restore(agent, saved["state"], run)
    return TrainedRun(config=config, agent=agent, steps=int(saved["step"]))


def run_config(run: Path, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """The resolved config in a run's folder, with changes laid over it.

    Raises:
        ConfigError: there is none in the folder, or one that can't be used.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"Expected a run's folder with a config.yaml in it, got {run}.")
    return resolve(load_run(path, changes))


def _restore(agent: Agent, state: Mapping[str, Any], run: Path) -> None:
    # The replay is of no use here, and large.
    state = {key: None if key == "replay" else value for key, value in state.items()}
    try:
        agent.set_state(state)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise ConfigError(
            f"The checkpoint of {run} does not fit its config and this version of cairngym ({type(error).__name__}: "
            f"{error}). Use the version that trained it, or train again."
        ) from error
