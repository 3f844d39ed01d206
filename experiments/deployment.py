"""From a run's folder to a policy file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cairngym.envs.strict_yaml import ConfigError, load_yaml
from cairngym.experiments.config import RunConfig
from cairngym.experiments.overlay import plain
from cairngym.experiments.runfolder import IGNORED, RunFolder
from cairngym.experiments.trained import load_trained

if TYPE_CHECKING:
    from cairngym.sim2real.export import Exported
    from cairngym.sim2real.export_metadata import Training

ENVS = 16
"""That the states come from on which file and agent are compared."""


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
    trained = load_trained(run, autoreset_mode="SameStep", device="cpu")
    env = trained.make_env(ENVS)
    training = training_of(RunFolder(run), trained.config, trained.steps)
    try:
        return export_policy(
            trained.agent, env, output, training=training, states=states, seed=seed, allow_rounding=allow_rounding
        )
    finally:
        env.close()


def training_of(place: RunFolder, config: RunConfig, steps: int) -> Training:
    """What a run's folder says of how its policy came about after `steps` env steps."""
    from cairngym.sim2real.export_metadata import Training, config_hash

    last = place.last_metrics("eval")
    # A run that was stopped between two evaluations says nothing about the policy of its checkpoint.
    known = last if last.get("step") == steps else {}
    recorded = {key: value for key, value in load_yaml(place.config).items() if key not in IGNORED}
    return Training(
        experiment=config.experiment, variant=config.variant, seed=config.seed, steps=steps,
        config_sha256=config_hash(recorded), success=known.get("success_greedy"), episodes=known.get("episodes"),
        finished=place.finished, wrappers=tuple(plain(wrapper) for wrapper in config.wrappers),
    )  # fmt: skip
