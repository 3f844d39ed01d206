"""`cairn train`: one agent on one task."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from cairngym.experiments.config import AgentConfig, RunConfig, ShaperConfig, WrapperConfig

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train one agent on one task, with or without reward shapers; a run that was stopped goes on where it was.

    Examples:
      cairn train --task MiniGrid-DoorKey-8x8-v0 --steps 2e6
      cairn train --task MiniGrid-DoorKey-8x8-v0 --shaper potential --shaper count:0.01
      cairn train --task MiniGrid-MemoryS7-v0 --wrapper frame_stack:frames=4
      cairn train --config runs/adhoc/…/config.yaml --seed 1 --agent.learning-rate 3e-4
    """

    task: str = ""
    """Which task: one of `cairn list envs`."""
    wrapper: Repeated = ()
    """name[:option=value,…]: one of `cairn list wrappers`, around the env in training and evaluation; may be given
    often, the innermost first. Replaces the config's."""
    imports: Repeated = ()
    """A module that registers envs, wrappers, shapers or agents of your own; may be given often."""
    shaper: Repeated = ()
    """name[:weight][,option=value]: one of `cairn list shapers`; may be given often. Replaces the config's."""
    steps: float = 2e6
    """Env steps to train for, all copies counted."""
    seed: int = 0
    """Everything random derives from it."""
    device: str = "cpu"
    """"cpu" or "cuda"."""
    env: Repeated = ()
    """An option of the env as key=value; may be given often."""
    eval_every: float = 200_000
    """Env steps between evaluations."""
    eval_episodes: int = 256
    """Episodes of an evaluation."""
    eval_env: Repeated = ()
    """An env option for evaluation only, e.g. split=test."""
    checkpoint_every_s: float = 30.0
    """Seconds between checkpoints."""
    experiment: str = "adhoc"
    """The folder under --runs that the run is put into."""
    variant: str | None = None
    """The run's name; default is made of its wrappers and shapers."""
    runs: Path = Path("runs")
    """The folder of all experiments."""
    folder: Path | None = None
    """The run's own folder; default is <runs>/<experiment>/<task>/<variant>/seed_<seed>."""
    fresh: Flag = False
    """Move a run with other settings that lies in the folder aside."""
    config: Path | None = None
    """A run's config.yaml to start from; what else is given here is laid over it."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Mirror metrics to Weights & Biases."""
    tensorboard: Flag = False
    """Mirror metrics to TensorBoard."""


def main(arguments: Sequence[str]) -> int:
    """Train; returns 0 when the run has finished."""
    from cairngym.experiments.run import run

    options, config = parse(arguments)
    folder = options.folder or options.runs / config.folder
    try:
        summary = run(config, folder, fresh=options.fresh, tell=_tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"The run is saved; go on with: {config.command}") from None
    final = summary["final"]
    _tell(f"Finished: success {final['success']:.1%} over {final['episodes']} evaluation episodes. Files: {folder}")
    return 0


def _tell(text: str) -> None:
    print(text, flush=True)


def parse(arguments: Sequence[str]) -> tuple[Train, RunConfig]:
    """Read the command line over the config it names, over the defaults.

    Raises:
        ConfigError: a config, key or value that can't be used; no task.
        UnknownNameError: no such agent.
    """
    from cairngym.envs.strict_yaml import ConfigError
    from cairngym.experiments.config import RunConfig, load_run
    from cairngym.experiments.extensions import import_modules
    from cairngym.experiments.overlay import plain

    import_modules(_peek_all(arguments, "--imports"))
    path = _peek(arguments, "--config")
    base = load_run(Path(path)) if path else RunConfig(task="none")
    agent = _base_agent(base, _peek(arguments, "--agent.name"))
    default = _defaults(base, agent, bool(path))
    options = tyro.cli(
        type(default), prog="cairn train", description=getdoc(Train), args=list(arguments), default=default
    )
    if not options.task:
        raise ConfigError("Which task? Give --task, e.g. --task MiniGrid-DoorKey-8x8-v0; `cairn list envs` lists them.")
    command = base.command if path and options.folder else shlex.join(["cairn", "train", *arguments])
    return options, _run_config(options, plain(options.agent), base, command)


def _peek(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag that decides which other flags there are."""
    return next(iter(_peek_all(arguments, flag)), None)


def _peek_all(arguments: Sequence[str], flag: str) -> list[str]:
    """Every value of a flag that is read before the others."""
    following = [after for before, after in itertools.pairwise(arguments) if before == flag]
    return following + [text.removeprefix(flag + "=") for text in arguments if text.startswith(flag + "=")]


def _base_agent(base: RunConfig, name: str | None) -> AgentConfig:
    from cairngym.experiments.config import AgentConfig

    return base.agent if name in (None, base.agent.name) else AgentConfig(name=str(name))


def _agent_class(name: str) -> type:
    """The settings of the named agent as options of the command line: with its name, without its seed."""
    from cairngym.agents.registry import agent_config_class

    cls = agent_config_class(name)
    hidden = tyro.conf.Suppress[int]
    fields = [("name", str, dataclasses.field(default=name)), ("seed", hidden, dataclasses.field(default=0))]
    namespace = {"__doc__": f"Options of the agent {name}.", "__module__": cls.__module__}
    return dataclasses.make_dataclass(
        cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True, namespace=namespace
    )


def _defaults(base: RunConfig, agent: AgentConfig, from_file: bool) -> Any:
    """`Train` with the agent's options under `--agent.`, filled from the config that everything is laid over."""
    from cairngym.envs.strict_yaml import build

    chosen = _agent_class(agent.name)
    settings: Any = build(chosen, {**agent.options, "name": agent.name}, source=f"agent {agent.name!r}")
    cls = dataclasses.make_dataclass(
        "Train", [("agent", chosen, dataclasses.field(default=settings))],
        bases=(Train,), frozen=True, kw_only=True, namespace={"__doc__": Train.__doc__},
    )  # fmt: skip
    return cls(
        task=base.task if from_file else "", steps=base.steps, seed=base.seed, device=base.device,
        eval_every=base.evaluation.every, eval_episodes=base.evaluation.episodes,
        checkpoint_every_s=base.checkpoint.every_s, experiment=base.experiment,
        variant=base.variant if from_file else None, wandb=base.sinks.wandb, tensorboard=base.sinks.tensorboard,
    )  # fmt: skip


def _run_config(options: Train, agent: dict[str, Any], base: RunConfig, command: str) -> RunConfig:
    from cairngym.envs.strict_yaml import build
    from cairngym.experiments.config import RunConfig
    from cairngym.experiments.overlay import merge, parse_overrides, plain

    wrappers = tuple(parse_wrapper(text) for text in options.wrapper) or base.wrappers
    shapers = tuple(parse_shaper(text) for text in options.shaper) or base.shapers
    names = [*(wrapper.name for wrapper in wrappers), *(shaper.term or shaper.name for shaper in shapers)]
    over = {
        "experiment": options.experiment, "task": options.task, "seed": options.seed, "steps": options.steps,
        "device": options.device, "command": command,
        "variant": options.variant or "+".join(names) or "sparse",
        "env": parse_overrides(options.env),
        "evaluation": {
            "every": options.eval_every, "episodes": options.eval_episodes, "env": parse_overrides(options.eval_env),
        },
        "checkpoint": {"every_s": options.checkpoint_every_s},
        "sinks": {"wandb": options.wandb, "tensorboard": options.tensorboard},
        "imports": [*options.imports] or [*base.imports],
    }  # fmt: skip
    data = merge(plain(base), over)
    data |= {"wrappers": plain(wrappers), "shapers": plain(shapers)}
    data |= {"agent": {key: value for key, value in agent.items() if key != "seed"}}
    return build(RunConfig, data, source="command line")


def parse_wrapper(text: str) -> WrapperConfig:
    """Read `name[:option=value,…]`; a comma inside brackets belongs to the value.

    Raises:
        ConfigError: an option without `=`.

    Example:
        >>> parse_wrapper("frame_stack:frames=3,keys=[image, carrying]").options
        {'frames': 3, 'keys': ['image', 'carrying']}
    """
    from cairngym.envs.strict_yaml import ConfigError
    from cairngym.experiments.config import WrapperConfig
    from cairngym.experiments.overlay import parse_overrides

    name, colon, rest = text.partition(":")
    options = _split(rest) if colon else []
    if not all("=" in option for option in options):
        raise ConfigError(f"Expected name[:option=value,…], e.g. frame_stack:frames=4, got {text!r}.")
    return WrapperConfig(name=name.strip(), options=parse_overrides(options))


def _split(text: str) -> list[str]:
    """Split at commas outside square brackets."""
    return re.split(r",(?![^\[]*\])", text)


def parse_shaper(text: str) -> ShaperConfig:
    """Read `name[:weight][,option=value…]`.

    Raises:
        ConfigError: a weight that is no number, or an option without `=`.

    Example:
        >>> parse_shaper("count:0.01,mode=lifelong").options
        {'mode': 'lifelong'}
    """
    from cairngym.envs.strict_yaml import ConfigError
    from cairngym.experiments.config import ShaperConfig
    from cairngym.experiments.overlay import parse_overrides

    head, *options = _split(text)
    name, colon, weight = head.partition(":")
    try:
        number = float(weight) if colon else 1.0
    except ValueError:
        raise ConfigError(f"Expected name[:weight][,option=value], e.g. count:0.01, got {text!r}.") from None
    parsed = parse_overrides(options)
    return ShaperConfig(name=name.strip(), weight=number, term=parsed.pop("term", None), options=parsed)
