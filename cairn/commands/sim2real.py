"""`cairn sim2real`: from a trained policy to a robot. Every action is a module `sim2real_<action>`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from inspect import getdoc

import tyro

ACTIONS = {
    "evaluate": ("Evaluate", "play trained runs in simulation and on hidden twins, and report the gap"),
    "envelope": ("Envelope", "find the range of every parameter that a trained policy survives"),
    "identify": ("Identify", "fit a model's parameters to logs of a robot"),
    "fleet": ("Fleet", "identify several robots of one kind, and propose what to train on"),
    "twin": ("Twin", "run a twin of a robot in a process of its own"),
    "run": ("Run", "control a robot with a policy"),
    "replay": ("Replay", "look into a flight recorder's log, or play it again"),
}
"""Each is a module of `cairngym.commands` with a dataclass of its options, of that name, and `main(options)`."""


def usage() -> str:
    """What `cairn sim2real --help` prints."""
    width = max(map(len, ACTIONS))
    actions = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in ACTIONS.items())
    return (
        "usage: cairn sim2real ACTION [options]\n\n"
        "From simulation to the robot, with twins in the robot's place: separate simulations with hidden parameters,\n"
        f"delays and noise.\n\nactions:\n{actions}\n\n"
        "`cairn sim2real ACTION --help` explains an action and its options."
    )


def main(arguments: Sequence[str]) -> int:
    """Run an action; returns its exit code.

    Raises:
        UnknownNameError: no such action.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *rest = arguments
    if name not in ACTIONS:
        from cairngym.envs.checks import unknown_name

        raise unknown_name("action of cairn sim2real", name, ACTIONS)
    module = importlib.import_module(f"cairngym.commands.sim2real_{name}")
    options = getattr(module, ACTIONS[name][0])
    return int(module.main(tyro.cli(options, prog=f"cairn sim2real {name}", description=getdoc(options), args=rest)))
