"""`cairn stl`: what a formula asks for, and figures of policies that were trained to satisfy one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from cairngym.envs.stl.formula import Formula
    from cairngym.envs.stl.measures import Measure

_ID = re.compile(r"^[\w./]+(-[\w.]+)*-v\d+$")
INDENT = " " * 14


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Say what a formula of signal temporal logic asks for: horizon, normal form, predicates, timed subgoals.

    Examples:
      cairn stl explain "F[0,8](reach_a & F[0,4] G[0,2] in_b) & G[0,20] !touch_c"
      cairn stl explain "F[0s,1.5s] a" --dt 0.1
      cairn stl explain StlLinear-Nested-v0 --horizon 60
    """

    formula: tyro.conf.Positional[str]
    """The formula, in quotes, or the id of an env that has one."""
    horizon: int | None = None
    """Steps of an episode; default is the formula's, or the env's."""
    dt: float | None = None
    """Length of a step in seconds, for formulas in seconds."""
    slack: int = 1
    """Hits beyond the fewest of a chain of hits (G F)."""
    branches: int = 8
    """How many branches to print."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw a run's policy on a task with a formula: its ways, the robustness still possible, the critic's times.

    Example:
      cairn stl figures runs/adhoc/StlLinear-ReachAvoid-v0/temporal+stages/seed_0
    """

    run: tyro.conf.Positional[Path]
    """The run's folder: the one that holds checkpoint.pt. The run need not be finished."""
    episodes: int = 8
    """Episodes to show."""
    out: Path | None = None
    """The folder that the pictures go to; default is figures in the run's folder."""
    seed: int = 7
    """Which episodes."""
    greedy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Play the likeliest action instead of sampling."""


COMMANDS: dict[str, Callable[..., Explain | Figures]] = {"explain": Explain, "figures": Figures}


def main(arguments: Sequence[str]) -> int:
    """Explain a formula, or draw figures."""
    from cairngym.envs.stl.lexer import FormulaError

    options = _parse(list(arguments))
    if isinstance(options, Figures):
        return _draw(options)
    try:
        print("\n".join(explain(options)))
    except FormulaError as error:
        print(f"cairn stl: {error}", file=sys.stderr)  # `cairn` itself prints errors in one line, without the caret's
        return 2
    return 0


def _parse(arguments: list[str]) -> Explain | Figures:
    """The options of the subcommand that the arguments begin with; tyro lists them where they begin with none."""
    if not arguments or arguments[0] not in COMMANDS:
        summary = "Formulas of signal temporal logic, and policies that were trained to satisfy one."
        return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="cairn stl", description=summary, args=arguments)
    name, *rest = arguments
    chosen = COMMANDS[name]
    return tyro.cli(chosen, prog=f"cairn stl {name}", description=getdoc(chosen), args=rest)


def _draw(options: Figures) -> int:
    from cairngym.experiments.stl_figures import draw_run

    output = options.out or options.run / "figures"
    drawn = draw_run(options.run, output, episodes=options.episodes, seed=options.seed, greedy=options.greedy)
    print(f"{drawn.successes} of {drawn.episodes} episodes succeeded.")
    print("\n".join(str(path.resolve()) for path in drawn.files))
    return 0


def explain(options: Explain) -> list[str]:
    """The lines of an explanation.

    Raises:
        FormulaError: malformed text.
        UnknownNameError: an id that is not registered.
        TypeError: an env without a formula.
        ValueError: a horizon or `dt` that can't be used.
    """
    formula, measures, horizon = _read(options)
    own = formula.horizon
    ends = "no end" if own is None else f"{own} steps"
    lines = [
        _row("formula", str(formula)),
        _row("horizon", ends if horizon in (None, own) else f"{ends}, within episodes of {horizon} steps"),
        _row("normal form", str(formula.nnf())),
        *_predicates(formula, measures),
        _row("satisfiable", _verdict(formula, horizon)),
    ]
    return lines + _grounding(formula, horizon, options)


def _row(name: str, text: str) -> str:
    return f"{name:<{len(INDENT)}}{text}"


def _read(options: Explain) -> tuple[Formula, dict[str, Measure], int | None]:
    """The formula, what its predicates measure where that is known, and the steps of an episode."""
    if _ID.match(options.formula):
        if options.dt is not None:
            raise ValueError(f"Expected --dt with a formula as text, got it with the id {options.formula!r}.")
        return _of_env(options.formula, options.horizon)
    from cairngym.envs.stl.parser import parse

    formula = parse(options.formula, options.dt)
    return formula, {}, formula.horizon if options.horizon is None else options.horizon


def _of_env(env_id: str, horizon: int | None) -> tuple[Formula, dict[str, Measure], int]:
    from cairngym.envs.registry import make
    from cairngym.reward_shaping.temporal.task import stl_task

    options: dict[str, Any] = {} if horizon is None else {"horizon": horizon}
    env = make(env_id, **options)
    try:
        task = stl_task(env)
    finally:
        env.close()
    return task.formula, task.measures, task.horizon


def _predicates(formula: Formula, measures: dict[str, Measure]) -> list[str]:
    width = max(map(len, formula.predicates), default=0)
    described = [
        f"{name:<{width}}  {measures[name].unit:<3} {measures[name].description}" if name in measures else name
        for name in formula.predicates
    ]
    first, *rest = described or ["none"]
    return [_row("predicates", first), *(INDENT + line for line in rest)]


def _verdict(formula: Formula, horizon: int | None) -> str:
    from cairngym.envs.stl.satisfiability import UnsatisfiableError, check_satisfiable

    try:
        check_satisfiable(formula, horizon=horizon)
    except UnsatisfiableError as error:
        return f"no. {error}"
    return "perhaps: cheap reasoning finds nothing against it"


def _grounding(formula: Formula, horizon: int | None, options: Explain) -> list[str]:
    """The branches, or why there are none."""
    from cairngym.reward_shaping.temporal.grounding import GroundingError, ground

    if not horizon:
        wanted = "the formula has no end" if horizon is None else "it says nothing of what follows the first state"
        return [_row("grounding", f"needs --horizon, in steps: {wanted}")]
    try:
        plan = ground(formula, horizon, slack=options.slack)
    except GroundingError as error:
        return [_row("grounding", f"none. {error}")]
    times = max(len(branch.variables) for branch in plan.branches)
    shown = replace(plan, branches=plan.branches[: options.branches])
    more = len(plan.branches) - len(shown.branches)
    count = f"{len(plan.branches)} branch{'es' * (len(plan.branches) > 1)}, up to {times} time{'s' * (times != 1)} each"
    rest = [f"and {more} more branches; --branches {len(plan.branches)} prints all"] if more else []
    return [_row("grounding", count), *(f"  {line}" for line in str(shown).splitlines()[1:]), *rest]
