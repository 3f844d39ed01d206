"""`cairn export`: a trained policy as an ONNX file that a robot runs without torch and cairngym."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the deterministic policy of a run as an ONNX file, trained to its end or to its last checkpoint.

    The observation's normaliser, the squashing and the limits of actions are in the graph; a recurrent policy has its
    memory as an input and an output. The file says which numbers it takes and gives, in which units and how often, and
    how it was trained. It is written only if it does what the agent does on 10,000 states.

    Examples:
      cairn export runs/adhoc/PointMaze_UMaze-v3/sparse/seed_0 policy.onnx --benchmark
    """

    run: tyro.conf.Positional[Path]
    """The run's folder: the one that holds checkpoint.pt."""
    output: tyro.conf.Positional[Path]
    """The file, which ends in .onnx."""
    states: int = 10_000
    """On how many states file and agent are compared."""
    seed: int = 0
    """Of those states."""
    allow_rounding: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take a file that is further from the agent than 1e-5, if it is as close to the networks in float64 as the agent
    itself: rounding, which differs between torch and onnxruntime and which steep policies enlarge."""
    benchmark: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Time the policy on one core."""
    metadata: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what the file says of itself, as JSON."""


def main(arguments: Sequence[str]) -> int:
    """Write the file and say how close it is."""
    options = tyro.cli(Export, prog="cairn export", description=getdoc(Export), args=list(arguments))

    from cairngym.experiments.deployment import export_run

    exported = export_run(
        options.run, options.output, states=options.states, seed=options.seed, allow_rounding=options.allow_rounding
    )
    said = exported.metadata
    inputs = ", ".join(f"{entry['name']} {tuple(entry['shape'])}" for entry in said["inputs"])
    print(f"Policy of {said['agent']} on {said['env']}: {inputs} -> action {tuple(said['action']['shape'])}")
    if said["requires"]:
        print(f"Note: the observation has parts made by {', '.join(said['requires'])}, which the file lacks.")
    print(f"Parity: {exported.parity.text()}")
    if options.benchmark:
        from cairngym.sim2real.policy_latency import measure

        print(f"Latency: {measure(exported.path).text()}")
    if options.metadata:
        print(json.dumps(said, indent=2, sort_keys=True))
    print(f"File: {exported.path.resolve()} ({exported.size / 1024:.0f} KiB)")
    return 0
