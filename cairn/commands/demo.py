"""`cairn demo`: record demonstrations of oracles and trained runs, and look into recorded ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from cairngym.agents.demonstrations import Demonstrations

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
MINARI = "minari:"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record episodes of a task's oracle, or of a trained run, into an .npz file or a Minari dataset.

    Examples:
      cairn demo record MiniGrid-KeyCorridorS3R3-v0 --episodes 100 --output keycorridor.npz
      cairn demo record FetchPush-v4 --noise 0.3 --random-actions 0.1 --output minari:fetchpush/noisy-v0
      cairn demo record --run runs/adhoc/MiniGrid-DoorKey-8x8-v0/potential/seed_0 --output minari:doorkey/ppo-v0
    """

    task: tyro.conf.Positional[str] = ""
    """Which task's oracle plays; `cairn demo oracles` lists the tasks that have one. Left out with --run."""
    output: str = ""
    """An .npz file, or minari:NAMESPACE/NAME-vN, which lies in $MINARI_DATASETS_PATH or ~/.minari/datasets."""
    run: Path | None = None
    """The folder of a run, whose policy plays on its evaluation env."""
    episodes: int = 100
    """How many to record."""
    seed: int = 0
    """Which episodes, and of the noise."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on continuous actions, as a share of half their range."""
    random_actions: float = 0.0
    """Probability that an action is drawn uniformly."""
    greedy: Flag = False
    """Let a run's policy play its likeliest action instead of sampling."""
    failures: Flag = False
    """Keep episodes in which the task was not done, too."""
    env: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An option of the task's env as key=value; may be given often."""
    device: str = "cpu"
    """"cpu" or "cuda"."""


@dataclass(frozen=True, kw_only=True)
class Show:
    """Say what is in recorded demonstrations: episodes, steps, success, returns, and how they were made.

    Example:
      cairn demo show minari:fetchpush/noisy-v0
    """

    source: tyro.conf.Positional[str]
    """An .npz file, or minari:ID."""


@dataclass(frozen=True, kw_only=True)
class Oracles:
    """List the tasks that have a scripted oracle."""


COMMANDS: dict[str, Callable[..., Record | Show | Oracles]] = {"record": Record, "show": Show, "oracles": Oracles}


def main(arguments: Sequence[str]) -> int:
    """Record demonstrations, or tell of them."""
    options = _parse(list(arguments))
    if isinstance(options, Record):
        _record(options)
    elif isinstance(options, Show):
        shown, how = _open(options.source)
        _tell(shown, how)
    else:
        from cairngym.agents.oracles import list_oracles

        for name, tasks in list_oracles().items():
            print(f"{name:<12}{tasks}")
    return 0


def _parse(arguments: list[str]) -> Record | Show | Oracles:
    """The options of the subcommand that the arguments begin with; tyro lists them where they begin with none."""
    if not arguments or arguments[0] not in COMMANDS:
        summary = "Demonstrations: record those of oracles and trained runs, and look into recorded ones."
        return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="cairn demo", description=summary, args=arguments)
    name, *rest = arguments
    chosen = COMMANDS[name]
    return tyro.cli(chosen, prog=f"cairn demo {name}", description=getdoc(chosen), args=rest)


def _record(options: Record) -> None:
    from cairngym.envs.strict_yaml import ConfigError
    from cairngym.experiments.overlay import parse_overrides
    from cairngym.experiments.recording import RecordConfig, record

    minari = options.output.removeprefix(MINARI) if options.output.startswith(MINARI) else ""
    if not minari and not options.output.endswith(".npz"):
        raise ConfigError(f"Expected --output FILE.npz or --output {MINARI}NAMESPACE/NAME-v0, got {options.output!r}.")
    config = RecordConfig(
        task=options.task, run=options.run, episodes=options.episodes, seed=options.seed, noise=options.noise,
        random_actions=options.random_actions, greedy=options.greedy, failures=options.failures,
        device=options.device, env=parse_overrides(options.env),
    )  # fmt: skip
    if minari:
        from cairngym.agents.minari_datasets import check_free

        check_free(minari)  # before anything is played
    shown, env, how = record(config)
    try:
        place = _write(shown, options.output, minari, env, how)
    finally:
        env.close()
    _tell(shown, how)
    print(f"Written: {place}")


def _write(shown: Demonstrations, output: str, minari: str, env: Any, how: Mapping[str, Any]) -> Path:
    if minari:
        from cairngym.agents.minari_datasets import save_minari

        return save_minari(shown, minari, env, how)
    shown.save(output)
    return Path(output).resolve()


def _open(source: str) -> tuple[Demonstrations, Mapping[str, Any]]:
    """Recorded demonstrations, and how they were made where that is known."""
    if source.startswith(MINARI):
        from cairngym.agents.minari_datasets import load_minari, open_minari

        name = source.removeprefix(MINARI)
        metadata = open_minari(name).storage.metadata
        return load_minari(name), {key: value for key, value in metadata.items() if not key.endswith("_space")}
    from cairngym.agents.demonstrations import Demonstrations

    return Demonstrations.load(source), {}


def _tell(shown: Demonstrations, how: Mapping[str, Any]) -> None:
    from cairngym.experiments.recording import describe

    found = describe(shown)
    rows = {
        "task": how.get("task"), "shown by": how.get("algorithm_name"), "run": how.get("run"),
        "noise": how.get("noise") or None, "random": how.get("random_actions") or None, "seed": how.get("seed"),
        "episodes": f"{found['episodes']} of {found['mean_length']:.1f} steps, {found['steps']:,} in all",
        "success": f"{found['success_rate']:.1%}", "return": f"{found['mean_return']:.3f}",
        "ends": f"{found['terminations']} terminations, {found['truncations']} truncations",
        "state": ", ".join(shown.state) or "none",
    }  # fmt: skip
    for name, value in rows.items():
        if value is not None:
            print(f"{name:<10}{value}")
