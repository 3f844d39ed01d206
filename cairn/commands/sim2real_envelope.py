"""`cairn sim2real envelope`: which range of each parameter a trained policy survives."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from cairngym.sim2real.randomization.envelopes import Envelope as Found
    from cairngym.sim2real.randomization.envelopes import Surface


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Find the range of every parameter that a trained policy survives, and propose what to randomize.

    Writes proposed.yaml (a preset for --wrapper randomization:config=PATH), envelopes.json and pictures.

    Examples:
      cairn sim2real envelope runs/adhoc/FetchPush-v4/sparse/seed_0 --parameter body_mass:object0:scale:0.2,5
      cairn sim2real envelope RUN --parameter action_delay:0,40 --parameter geom_friction:object0:scale:0.2,5 --pairs
    """

    run: tyro.conf.Positional[Path]
    """The run's folder: the one that holds checkpoint.pt."""
    parameter: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIELD:NAMES:OPERATION:LOW,HIGH, action_delay:LOW,HIGH or sensor_delay:FIELDS:LOW,HIGH; may be given often. NAMES
    are elements of the MuJoCo model joined by +, OPERATION is scale, add or abs (then LOW,NOMINAL,HIGH), and a fifth
    part names a component of a vector."""
    points: int = 9
    """Values of a grid; the nominal one is added where it is not among them."""
    episodes: int = 100
    """Episodes at each value."""
    share: float = 0.8
    """A value is survived where success is at least this share of the nominal success."""
    pairs: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Try all pairs of the parameters, too, and draw heat maps."""
    pair_points: int = 5
    """Values of each parameter of a pair."""
    sampled: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Sample actions instead of playing the likeliest."""
    max_envs: int = 512
    """Copies of the env that step together."""
    seed: int = 7
    """Which episodes."""
    out: Path | None = None
    """The folder that everything goes to; default is envelopes in the run's folder."""


def main(config: Envelope) -> int:
    """Sweep the parameters, write what was found, and print it.

    Raises:
        ValueError: no parameter, one of another form, or a policy that never succeeds.
        ConfigError: the folder holds no trained run.
    """
    from cairngym.experiments.trained import load_trained
    from cairngym.sim2real.randomization.envelopes import envelope, surface
    from cairngym.sim2real.randomization.fixed import parse_parameter

    if not config.parameter:
        raise ValueError("Expected at least one --parameter, e.g. --parameter body_mass:object0:scale:0.2,5; got none.")
    parameters = [parse_parameter(text, config.points) for text in config.parameter]
    trained = load_trained(config.run, autoreset_mode="SameStep")
    make = partial(trained.make_nominal, seed=config.seed)  # all that is not swept is nominal
    options: dict[str, Any] = {
        "wrap": trained.wrap, "episodes": config.episodes, "max_envs": config.max_envs, "seed": config.seed,
        "deterministic": not config.sampled, "success": trained.config.evaluation.success,
    }  # fmt: skip
    found = []
    for parameter in parameters:
        found.append(envelope(trained.agent, make, parameter, share=config.share, **options))
        print(line(found[-1]), flush=True)
    surfaces = []
    if config.pairs:
        coarse = [parse_parameter(text, config.pair_points) for text in config.parameter]
        surfaces = [surface(trained.agent, make, pair, **options) for pair in itertools.combinations(coarse, 2)]
    for path in write(config.out or config.run / "envelopes", str(config.run), found, surfaces):
        print(path.resolve())
    return 0


def line(found: Found) -> str:
    """One line on an envelope."""
    place = found.parameter.values.index(found.parameter.nominal)
    low, high = (float(end[place]) for end in found.intervals)
    lowest = f"{found.low:g}{' or less' * found.open[0]}"
    greatest = f"{found.high:g}{' or more' * found.open[1]}"
    return (
        f"{found.parameter.name}: survives [{lowest}, {greatest}]; "
        f"nominal success {found.rates[place]:.2f} [{low:.2f}, {high:.2f}]"
    )


def write(folder: Path, source: str, found: Sequence[Found], surfaces: Sequence[Surface]) -> list[Path]:
    """Write the proposal, the counts and the pictures; returns their paths.

    Raises:
        OSError: a file that can't be written.
    """
    from cairngym.envs.files import replacing
    from cairngym.sim2real.randomization.config import to_yaml
    from cairngym.sim2real.randomization.envelope_figures import envelope_figure, heat_map
    from cairngym.sim2real.randomization.envelopes import propose

    folder.mkdir(parents=True, exist_ok=True)
    counts = {"envelopes": [each.to_dict() for each in found], "pairs": [each.to_dict() for each in surfaces]}
    contents = {
        "proposed.yaml": to_yaml(propose(found, source)).encode(),
        "envelopes.json": json.dumps(counts, indent=1).encode(),
        "envelopes.png": envelope_figure(found),
        **{f"pair_{index}.png": heat_map(each) for index, each in enumerate(surfaces)},
    }
    for name, content in contents.items():
        with replacing(folder / name) as file:
            file.write(content)
    return [folder / name for name in contents]
