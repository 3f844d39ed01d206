"""`cairn reward`: prompts, programs that a language model writes, what they are worth, and recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]
Files = tyro.conf.UseAppendAction[tuple[Path, ...]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Options of every subcommand."""

    task: str = ""
    """The task's id: one of `cairn list envs`."""
    env: Repeated = ()
    """An option of the env as key=value; may be given often."""
    imports: Repeated = ()
    """A module that registers envs of your own; may be given often."""
    system: str = "text2reward"
    """The system that asks: text2reward, auto_mc, lare; for prompt and record also oni, beacons, calm, eureka."""
    option: Repeated = ()
    """An option of the system as key=value, e.g. potential=true (text2reward) or critic=true (auto_mc); may be given
    often."""


@dataclass(frozen=True, kw_only=True)
class Asking(Task):
    """Options of what asks a model."""

    provider: str | None = None
    """Who answers: "recorded:", "recorded:PATH", "openai:MODEL" or "endpoint:URL#MODEL"."""
    model_options: Repeated = ()
    """An option of the provider as key=value: timeout=60, retries=2, token_budget=200000, cost_budget=1.5,
    "prices={MODEL: {prompt: 1.0, completion: 4.0}}" (US dollars a million tokens), api_key_env=NAME; may be given
    often."""
    completion: Files = ()
    """A file with a pasted answer, in place of a provider; may be given often, once for each candidate."""
    candidates: int | None = None
    """Answers to the first prompt; default is one."""
    repairs: int = 3
    """Rounds in which the model may mend what is refused."""


@dataclass(frozen=True, kw_only=True)
class Prompt(Task):
    """Print the exact prompts that a system asks about a task.

    Examples:
      cairn reward prompt --task FetchPush-v4
      cairn reward prompt --task MiniGrid-KeyCorridorS3R3-v0 --system beacons --json > prompts.jsonl
      cairn reward prompt --task FetchPush-v4 --after recorded:
    """

    json: Flag = False
    """JSON lines, which `cairn reward record --prompts` takes with answers added to them."""
    number: int | None = None
    """Only this one of them, counted from 0."""
    after: str | None = None
    """Recordings ("recorded:" or "recorded:PATH"): print what is asked when they have answered, repairs included."""
    repairs: int = 3
    """Rounds of repair to follow, with --after."""


@dataclass(frozen=True, kw_only=True)
class Generate(Asking):
    """Have programs written: ask or replay, compile, verify, repair. Exits with 1 where none is accepted.

    Examples:
      cairn reward generate --task FetchPush-v4
      cairn reward generate --task FetchPush-v4 --provider openai:gpt-5 --candidates 4
      cairn reward generate --task FetchPush-v4 --provider endpoint:http://localhost:8000/v1#qwen3
      cairn reward generate --task FetchPush-v4 --completion pasted.md
    """

    out: Path | None = None
    """The folder for accepted programs and transcript.jsonl; default is rewards/<task>/<system>."""


@dataclass(frozen=True, kw_only=True)
class Check(Task):
    """Compile a program and verify it in a sandbox. Exits with 1 where it is refused.

    Example:
      cairn reward check my_reward.py --task FetchPush-v4
    """

    file: tyro.conf.Positional[Path]
    """The program, or a completion in Markdown that holds it."""


@dataclass(frozen=True, kw_only=True)
class Show(Task):
    """Draw what a program pays along an episode that succeeds and one that fails.

    Examples:
      cairn reward show my_reward.py --task FetchPush-v4
      cairn reward show my_reward.py --run runs/adhoc/FetchPush-v4/program/seed_0
    """

    file: tyro.conf.Positional[Path]
    """The program, or a completion in Markdown that holds it."""
    run: Path | None = None
    """A run's folder: play its policy, rather than a scripted one."""
    out: Path | None = None
    """The picture; default is the program's name with .png."""
    episodes: int = 16
    """Episodes to play, from which the first of either kind is shown."""
    seed: int = 7
    """Which episodes."""
    greedy: Flag = False
    """With --run, play the likeliest action instead of sampling."""


@dataclass(frozen=True, kw_only=True)
class Refine(Asking):
    """Write the prompt that asks for a better program after a policy was trained; with a provider, have it answered.

    Examples:
      cairn reward refine my_reward.py --run runs/adhoc/FetchPush-v4/program/seed_0
      cairn reward refine my_reward.py --task FetchPush-v4 --feedback "It pushes the block past the goal."
    """

    file: tyro.conf.Positional[Path]
    """The program that the policy learned from."""
    run: Path | None = None
    """A run's folder: what its policy does is put into the prompt."""
    feedback: str = ""
    """What a person says about the policy."""
    episodes: int = 64
    """Episodes of the run's policy to summarise."""
    seed: int = 7
    """Which episodes."""
    json: Flag = False
    """Print the prompt as a JSON line for `cairn reward record --prompts`."""
    out: Path | None = None
    """The folder for accepted programs; default is rewards/<task>/<system>_refined."""


@dataclass(frozen=True, kw_only=True)
class Record(Asking):
    """Record answers to prompts in a cassette, unedited, for the provider "recorded:".

    Examples:
      cairn reward record --task FetchPush-v4 --provider openai:gpt-5 --candidates 3 --date 2026-01-31
      cairn reward record --task FetchPush-v4 --completion a.md --completion b.md --source "A. Person" --date 2026-01-31
      cairn reward record --system calm --prompts answered.jsonl --source "B. Other" --date 2026-01-31
    """

    date: str
    """When the answers were given, YYYY-MM-DD."""
    prompts: Path | None = None
    """Prompts as `cairn reward prompt --json` prints them, instead of --task; a list of texts "completions" in a line
    holds its answers."""
    number: int | None = None
    """Which prompt is answered, counted from 0; default is all of them."""
    source: str = ""
    """Who or what wrote the completions; default is "written by hand"."""
    note: str = ""
    """What a reader of the recording should know."""
    cassette: Path | None = None
    """The JSONL file; default is the packaged one of the system."""
    overwrite: Flag = False
    """Replace what the cassette holds for the prompts, rather than add candidates to it."""
    after: str | None = None
    """Recordings ("recorded:" or "recorded:PATH") that answer what they can: the rest is asked, or numbered as
    `cairn reward prompt --after` does."""


Options = Prompt | Generate | Check | Show | Refine | Record
COMMANDS: dict[str, Callable[..., Options]] = {
    "prompt": Prompt, "generate": Generate, "check": Check, "show": Show, "refine": Refine, "record": Record,
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand; returns 0, or 1 where no program was accepted."""
    options = _parse(list(arguments))

    from cairngym.commands import reward_actions as actions

    runners: dict[type, Callable[[Any], int]] = {
        Prompt: actions.prompt, Generate: actions.generate, Check: actions.check, Show: actions.show,
        Refine: actions.refine, Record: actions.record,
    }  # fmt: skip
    return runners[type(options)](options)


def _parse(arguments: list[str]) -> Options:
    """The options of the subcommand that the arguments begin with; tyro lists them where they begin with none."""
    if not arguments or arguments[0] not in COMMANDS:
        summary = "Rewards written by language models: prompts, programs, verification, feedback and recordings."
        return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="cairn reward", description=summary, args=arguments)
    name, *rest = arguments
    chosen = COMMANDS[name]
    return tyro.cli(chosen, prog=f"cairn reward {name}", description=getdoc(chosen), args=rest)
