"""`cairn watch`: a video and a contact sheet of a trained policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Write a video of the policy of a run, trained to its end or to its last checkpoint.

    A contact sheet is written beside it: a PNG with a row of frames for each episode.

    Example:
      cairn watch runs/quickstart/MiniGrid-DoorKey-8x8-v0/potential/seed_0 --episodes 5
    """

    run: tyro.conf.Positional[Path]
    """The run's folder: the one that holds checkpoint.pt."""
    output: Path | None = None
    """Where the video goes; default is video.mp4 in the run's folder. The contact sheet is named alike, with .png."""
    episodes: int = 4
    """Episodes to show, one after another."""
    seed: int = 7
    """Which episodes."""
    greedy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Play the likeliest action instead of sampling."""
    fps: int = 10
    """Steps a second."""


def main(arguments: Sequence[str]) -> int:
    """Write the video and the contact sheet."""
    options = tyro.cli(Watch, prog="cairn watch", description=getdoc(Watch), args=list(arguments))

    from cairngym.experiments.video import record

    output = options.output or options.run / "video.mp4"
    result = record(
        options.run, output, episodes=options.episodes, seed=options.seed, greedy=options.greedy, fps=options.fps
    )
    print(f"{result.successes} of {result.episodes} episodes succeeded.")
    print(f"Video: {output.resolve()}\nContact sheet: {result.sheet.resolve()}")
    return 0
