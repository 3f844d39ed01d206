"""`cairn evolve`: a language model writes reward programs, training decides between them, and the best is compared."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from cairngym.experiments.search.config import SearchConfig


@dataclass(frozen=True, kw_only=True)
class Evolve:
    """Evolve a reward program for a task, then compare agents that learn with and without it on fresh seeds.

    Stopped with Ctrl-C, or by a crash, it goes on where it stopped when given again.

    Examples:
      cairn evolve eureka_keycorridor
      cairn evolve eureka_keycorridor --provider openai:gpt-5 --candidates 8 --rounds 5 --name hosted
      cairn evolve my_search.yaml --workers 2 --to results/my_search
    """

    config: tyro.conf.Positional[str]
    """A packaged search (eureka_keycorridor) or the path of a YAML file."""
    name: str | None = None
    """Name of the search's folder; default is the config's."""
    provider: str | None = None
    """Who writes: recorded:, recorded:PATH, openai:MODEL or endpoint:URL#MODEL."""
    candidates: int | None = None
    """Programs asked for in a round."""
    rounds: int | None = None
    """Rounds of programs."""
    steps: float | None = None
    """Env steps of a full run, e.g. 2e6."""
    device: str | None = None
    """"cpu" or "cuda"."""
    workers: int | None = None
    """Runs at a time; default is one per core."""
    runs: Path = Path("runs/search")
    """The folder of all searches."""
    to: Path | None = None
    """Write the report into this folder too, without links to the runs, to be kept or published without them."""
    fresh: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Move a search that was made with other settings aside and begin anew."""
    strict: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Where an answer is missing in a later round, stop with an error, instead of comparing what was found so far."""
    prompt: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what is asked next, in the first round or by a search that is under way, and nothing else."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Override any key of the config: --set agent.gamma=0.995; may be given often, the last wins."""


def main(arguments: Sequence[str]) -> int:
    """Evolve; returns 1 when a final run failed or no program was found."""
    options = tyro.cli(Evolve, prog="cairn evolve", description=getdoc(Evolve), args=list(arguments))

    from cairngym.experiments.launcher import LocalPool
    from cairngym.experiments.search.evolution import evolve
    from cairngym.experiments.search.report import write_search_report

    config = load(options)
    if options.prompt:
        return show_prompts(config, options.runs / config.name)
    command = shlex.join(["cairn", "evolve", *arguments])
    launcher = LocalPool(options.workers)
    try:
        outcome = evolve(
            config, options.runs, launcher=launcher, fresh=options.fresh, strict=options.strict, command=command
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Nothing is lost; go on with: {command}") from None
    if options.to is not None:
        print(f"Published: {write_search_report(outcome.folder, options.to)}")
    return 1 if outcome.final is None or outcome.final.failed else 0


def load(options: Evolve) -> SearchConfig:
    """Read the search and lay the command line over it.

    Raises:
        ConfigError: a file, key or value that can't be used.
    """
    from cairngym.experiments.overlay import merge, parse_overrides
    from cairngym.experiments.presets import find_config
    from cairngym.experiments.search.config import load_search

    names = ("name", "provider", "candidates", "rounds", "steps", "device")
    overrides: dict[str, Any] = {key: value for key in names if (value := getattr(options, key)) is not None}
    return load_search(find_config(options.config, "search"), merge(overrides, parse_overrides(options.set)))


def show_prompts(config: SearchConfig, folder: Path) -> int:
    """Print what a search in `folder` asks next."""
    from cairngym.experiments.search.evolution import next_requests

    for request in next_requests(config, folder):
        print(f"{request.label}: hash {request.hash}, {request.n} candidates, temperature {request.temperature}")
        for message in request.messages:
            print(f"\n[{message.role}]\n{message.content}")
    return 0
