"""A formula over any env's state as the env's task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.core import State, TensorEnv, World
from cairngym.envs.episodes import Episodes
from cairngym.envs.stl.env_world import EnvWorld
from cairngym.envs.stl.formula import Formula, Predicate
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.monitored import MonitoredWorld, lookup
from cairngym.envs.stl.parser import parse
from cairngym.envs.stl.satisfiability import check_satisfiable
from cairngym.envs.stl.task import StlTask

Margin = Callable[[State], torch.Tensor]
"""`(B,)` from the state, zero or more where the predicate holds."""


def specify(
    env: TensorEnv,
    formula: str | Formula,
    predicates: Mapping[str, Measure | Margin] | None = None,
    *,
    horizon: int | None = None,
    terminate_on_violation: bool = False,
    dt: float | None = None,
) -> TensorEnv:
    """Make satisfying a formula the task of an env.

    The env's worlds are taken over: go on with the env returned. Seed and autoreset mode stay, and env i's episode e
    begins as it does in the plain env. The env's own reward, success and ends play no part; see `StlTask` for those of
    the formula, and `EnvWorld` for envs that end episodes by themselves. An env that has a formula gets another.

    Args:
        env: any TensorEnv, without wrappers.
        formula: over predicates; text as `parse` reads it.
        predicates: further ones, beside those that `env.world.predicates` publishes: a `Measure`, or a function from
            the state to margins `(B,)` that are zero or more where it holds.
        horizon: steps of an episode, at least the formula's; default is the formula's.
        terminate_on_violation: end an episode at the step from which no future satisfies the formula.
        dt: length of a step in seconds, for formulas in seconds; default is the world's where it runs on MuJoCo.

    Raises:
        TypeError: an env with wrappers, or a predicate that is no function or returns no real numbers.
        FormulaError: malformed text, or a predicate in it that nobody defines.
        UnknownNameError: such a predicate in a formula of objects, or no predicates at all.
        ValueError: a horizon shorter than the formula's, a formula without end and no horizon, one that nothing
            satisfies, a predicate of the wrong shape or with NaN, or a name that is taken.

    Example:
        >>> import cairngym
        >>> env = specify(
        ...     cairngym.make("Chain-N10-v0", num_envs=4),
        ...     "F[0,12] G[0,2] near",
        ...     {"near": lambda state: state["node"] - 7.5},
        ... )
        >>> obs, info = env.reset(seed=0)
        >>> for _ in range(14):
        ...     obs, reward, terminated, truncated, info = env.step(torch.ones(4, dtype=torch.int64))
        >>> reward.tolist(), terminated.tolist()
        ([1.0, 1.0, 1.0, 1.0], [True, True, True, True])
    """
    world, base = unspecified(env)
    known = merge(getattr(env.world, "predicates", {}), predicates or {})
    wanted = (
        formula if isinstance(formula, Formula) else read(formula, known, seconds_per_step(env) if dt is None else dt)
    )
    check_names(wanted, known)
    steps = check_horizon(wanted, horizon)
    check_satisfiable(wanted, horizon=steps)
    monitored = MonitoredWorld(world, wanted, known, steps)
    try_predicates(monitored, env.episodes.seed)
    shown = world if isinstance(world, EnvWorld) else None
    task = StlTask(
        wanted, monitored.measures, steps, base,
        observe=shown.observe if shown else None, terminate_on_violation=terminate_on_violation,
        count_fields=tuple((shown.inner if shown else world).state_spec),
    )  # fmt: skip
    made = TensorEnv(monitored, task, seed=env.episodes.seed, autoreset_mode=env.autoreset_mode)
    made.metadata, made.render_mode = dict(env.metadata), env.render_mode  # a world that draws nothing still cannot
    return made


def unspecified(env: TensorEnv) -> tuple[World, Any]:
    """The world under `env` and the task whose observation is shown, without a formula it may have.

    Raises:
        TypeError: no TensorEnv, or one with wrappers.
    """
    if not isinstance(env, TensorEnv):
        raise TypeError(
            f"Expected a TensorEnv, got {type(env).__name__}. Make one with cairngym.make, or from_gymnasium."
        )
    if env.unwrapped is not env:
        raise TypeError(
            f"Expected an env without wrappers, got {type(env).__name__} around one: specify first, wrap after."
        )
    if isinstance(env.world, MonitoredWorld) and isinstance(env.task, StlTask):
        return env.world.inner, env.task.base
    return env.world if isinstance(env.world, World) else EnvWorld(env), env.task


def seconds_per_step(env: TensorEnv) -> float | None:
    """Length of a step, s; None where the world does not run on MuJoCo."""
    model, substeps = getattr(env.world, "model", None), getattr(env.world, "substeps", None)
    return None if model is None or substeps is None else float(model.opt.timestep) * int(substeps)


def read(text: str, known: Mapping[str, Measure], dt: float | None) -> Formula:
    """The formula that `text` is; where predicates are known, its errors name the nearest."""
    return parse(text, dt, known or None)


def merge(published: Mapping[str, Measure], given: Mapping[str, Measure | Margin]) -> dict[str, Measure]:
    """All predicates by name; functions become measures of their own unit.

    Raises:
        TypeError: neither a measure nor a function.
        ValueError: a name that the world publishes, or that no formula can use.
    """
    merged = dict(published)
    for name, one in given.items():
        if name in published:
            raise ValueError(f"The world publishes a predicate {name!r} of its own; choose another name for yours.")
        if not isinstance(one, Measure) and not callable(one):
            raise TypeError(f"Expected a Measure or a function of the state as predicate {name!r}, got {one!r}.")
        Predicate(name)  # refuses what is no name
        merged[name] = one if isinstance(one, Measure) else named(name, one)
    return merged


def named(name: str, margin: Margin) -> Measure:
    """A function as a measure, described by its docstring."""
    lines = (getattr(margin, "__doc__", None) or "").strip().splitlines()
    return Measure(margin=margin, unit="", description=lines[0] if lines else f"The margin of {name!r}.")


def check_horizon(formula: Formula, horizon: int | None) -> int:
    """Steps of an episode.

    Raises:
        TypeError: no whole number.
        ValueError: less than the formula needs, less than a step, or none for a formula without end.
    """
    needed = formula.horizon
    if horizon is None and needed is None:
        raise ValueError(f"Expected a horizon for {formula}, which has no end; pass horizon=… in steps.")
    steps = needed if horizon is None else horizon
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"Expected a whole number of steps as horizon, got {steps!r}.")
    if needed is not None and steps < needed:
        raise ValueError(
            f"Expected a horizon of at least {needed} steps, which {formula} depends on, got {steps}. "
            "Lengthen the horizon or shorten the formula's intervals."
        )
    if steps < 1:
        raise ValueError(
            f"Expected a horizon of at least one step, got {steps}; {formula} says nothing of what follows the first "
            "state."
        )
    return steps


def check_names(formula: Formula, known: Mapping[str, Measure]) -> None:
    """Make sure that there are predicates, and all of them `known`.

    Raises:
        ValueError: a formula without predicates.
        UnknownNameError: a predicate that nobody defines.
    """
    if not formula.predicates:
        raise ValueError(f"Expected a formula over predicates, got {formula}, which has none.")
    if not known:
        raise UnknownNameError(
            f"Unknown predicate {formula.predicates[0]!r}: the world publishes none. Pass "
            "predicates={name: function of the state}."
        )
    for name in formula.predicates:
        lookup(known, name)


def try_predicates(world: MonitoredWorld, seed: int) -> None:
    """Begin episode 0 everywhere, which measures every predicate once."""
    life = world.episodes = Episodes(world.num_envs, world.device, seed)
    world.begin(torch.ones(world.num_envs, dtype=torch.bool, device=world.device), life)
