"""From a run's folder to a policy file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.envs.strict_yaml import ConfigError, load_yaml
from cairngym.experiments.config import RunConfig, load_run
from cairngym.experiments.overlay import plain
from cairngym.experiments.resolve import resolve
from cairngym.experiments.run import make_env, make_evaluation_env, make_run_agent
from cairngym.experiments.runfolder import IGNORED, CorruptCheckpointError, RunFolder

if TYPE_CHECKING:
    from cairngym.agents.core import Agent
    from cairngym.envs.core import TensorEnv
    from cairngym.sim2real.export import Exported
    from cairngym.sim2real.export_metadata import Training


def export_run(
    run: Path, output: Path, *, states: int = 10_000, seed: int = 0, allow_rounding: bool = False
) -> Exported:
    """Write the deterministic policy of a run, trained to its end or to its last checkpoint, as an ONNX file.

    Args:
        run: the run's folder.
        output: an .onnx file.
        states: on how many states file and agent are compared.
        seed: of those states.
        allow_rounding: take a file that is beyond the limit by rounding alone, see `check_parity`.

    Raises:
        ConfigError: the folder holds no trained run, or the output is no .onnx.
        NotExportableError: a policy that can't be a file of its own.
        ParityError: the file would do something else than the agent; nothing is written.
        ImportError: a package is missing.
        OSError: the file can't be written.
    """
    from cairngym.sim2real.export import check_packages, export_policy

    if output.suffix != ".onnx":
        raise ConfigError(f"Expected an output that ends in .onnx, got {output}.")
    check_packages()
    agent, env, training = load_trained(run)
    try:
        return export_policy(
            agent, env, output, training=training, states=states, seed=seed, allow_rounding=allow_rounding
        )
    finally:
        env.close()


def load_trained(run: Path, num_envs: int = 16) -> tuple[Agent, TensorEnv, Training]:
    """The agent of a run's checkpoint and its evaluation env, both on the CPU, and what is known of its training.

    Raises:
        ConfigError: the folder holds no config, no checkpoint, or one that can't be used.
    """
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"Expected a run's folder with a config.yaml in it, got {run}.")
    place = RunFolder(run)
    config = resolve(load_run(place.config, {"device": "cpu", "agent": {"num_envs": 1}}))
    try:
        saved = place.load_checkpoint()
    except CorruptCheckpointError as error:
        raise ConfigError(f"The checkpoint of {run} can't be used: {error}") from error
    if saved is None:
        raise ConfigError(f"{run} has no checkpoint.pt yet; let the run go on for a while.")
    agent = make_run_agent(config, make_env(config))
    _restore(agent, saved["state"], run)
    evaluation = replace(config.evaluation, env={**config.evaluation.env, "autoreset_mode": "SameStep"})
    env = make_evaluation_env(replace(config, evaluation=evaluation), num_envs=num_envs)
    if agent.values is not None:
        env.guide(agent.values, exploit=True)
    return agent, env, training_of(place, config, saved)


def _restore(agent: Agent, state: Mapping[str, Any], run: Path) -> None:
    try:
        agent.set_state(state)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise ConfigError(
            f"The checkpoint of {run} does not fit its config and this version of cairngym ({type(error).__name__}: "
            f"{error}). Export with the version that trained it, or train again."
        ) from error


def training_of(place: RunFolder, config: RunConfig, saved: Mapping[str, Any]) -> Training:
    """What a run's folder says of how its policy came about."""
    from cairngym.sim2real.export_metadata import Training, config_hash

    last = place.last_metrics("eval")
    # A run that was stopped between two evaluations says nothing about the policy of its checkpoint.
    known = last if last.get("step") == saved["step"] else {}
    recorded = {key: value for key, value in load_yaml(place.config).items() if key not in IGNORED}
    return Training(
        experiment=config.experiment, variant=config.variant, seed=config.seed, steps=int(saved["step"]),
        config_sha256=config_hash(recorded), success=known.get("success_greedy"), episodes=known.get("episodes"),
        finished=place.finished, wrappers=tuple(plain(wrapper) for wrapper in config.wrappers),
    )  # fmt: skip
