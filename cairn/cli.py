"""The `cairn` command: finds the subcommand, and turns errors a user can mend into one line."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "list": "what there is: envs, wrappers, shapers, agents, variants",
    "train": "train one agent on one task",
    "compare": "run tasks x variants x seeds and report which variant wins",
    "report": "rebuild the report of a comparison from its files",
    "watch": "write a video of a trained policy",
    "export": "write a trained policy as an ONNX file for robots, checked against the agent",
    "stl": "explain a temporal formula, or draw a policy that was trained to satisfy one",
    "reward": "rewards written by language models: prompts, programs, verification, feedback, recordings",
    "demo": "record demonstrations of oracles and trained runs, and look into recorded ones",
    "evolve": "have a language model write reward programs, and training choose between them",
    "sim2real": "from a policy to the robot: hidden twins, the gap, identification, control",
    "check": "hold a comparison's results against the thresholds in its config",
    "bench": "measure how fast the worlds step",
}
"""Each is a module of `cairngym.commands` whose `main(arguments)` returns an exit code."""

EXAMPLES = """\
  cairn compare quickstart                      the first comparison; ends with report.html
  cairn list envs                               ids of all tasks
  cairn train --task MiniGrid-DoorKey-8x8-v0 --shaper potential --shaper count:0.01 --steps 2e6
  cairn watch runs/adhoc/MiniGrid-DoorKey-8x8-v0/potential+count/seed_0
  cairn reward generate --task FetchPush-v4 --candidates 3
  cairn compare my_comparison.yaml --seeds 5 --workers 2"""


def usage() -> str:
    """What `cairn --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: cairn COMMAND [options]\n\n"
        "Sparse-reward worlds, reward shapers that plug into any of them, agents that learn from both,\n"
        "and one command that shows, with statistics, which shaper beats the sparse baseline.\n\n"
        f"commands:\n{commands}\n\nexamples:\n{EXAMPLES}\n\n"
        "`cairn COMMAND --help` explains a command and all its options. With CAIRN_TRACEBACK=1 in the environment,\n"
        "errors show where they arose."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cairn` with the given arguments (default: the process's own); returns the exit code.

    0 is success, 1 a run or a threshold that failed, 2 an input that can't be used, 130 Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from cairngym import __version__

        print(f"cairngym {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        return _unknown(name)
    return _guarded(name, rest)


def _unknown(name: str) -> int:
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    print(f"cairn: there is no command {name!r}.{hint} Commands: {', '.join(COMMANDS)}.", file=sys.stderr)
    return 2


def _guarded(name: str, arguments: list[str]) -> int:
    try:
        return importlib.import_module(f"cairngym.commands.{name}").main(arguments)
    except KeyboardInterrupt as error:
        print(f"cairn {name}: stopped. {error}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of `cairn list | head` has left
        sys.stderr.close()
        return 0
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    except Exception as error:
        from cairngym.experiments.launcher import TRACEBACK

        if os.environ.get(TRACEBACK) or not _mendable(error):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"cairn {name}: {message}", file=sys.stderr)
        return 2


def _mendable(error: Exception) -> bool:
    """Whether the error is one of those our public borders raise, whose message says what to do."""
    from cairngym.envs.checks import UnknownNameError

    ours = type(error).__module__.startswith("cairngym.")
    return ours or isinstance(error, ValueError | TypeError | OSError | ImportError | UnknownNameError)
