"""Seven kinds of timed tasks about regions: their formulas for any horizon, and visits that satisfy them.

A plan is a sequence of visits which, made in time and without touching an obstacle, satisfies the formula. Layouts are
accepted where one of the plans can be carried out; the scripted controllers follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cairngym.envs.checks import unknown_name
from cairngym.envs.stl.formula import And, Formula, Or, Predicate, always, eventually, until

MIN_HORIZON, MAX_HORIZON = 50, 1000
"""Steps between which a template's horizon lies."""
OBSTACLES = 3
"""Obstacles of every layout."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A disc or ball of a layout; the predicate `in_<name>` holds inside."""

    name: str
    size: float = 1.0
    """Factor of its radius."""
    host: str | None = None
    """A region, named before, within which it lies; apart from that regions do not overlap."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Be in a region from some step between `earliest` and `latest` on, for `stay` more steps."""

    region: str
    latest: int
    earliest: int = 0
    gap: int = MAX_HORIZON
    """Steps after the end of the visit before (or the start), at most."""
    stay: int = 0
    shun: str | None = None
    """A region not to be touched before the visit."""


@dataclass(frozen=True)
class Plan:
    """Visits in their order; the last `repeat` of them are made over and over."""

    visits: tuple[Visit, ...]
    repeat: int = 0


@dataclass(frozen=True, kw_only=True)
class Template:
    """A kind of task: regions and obstacles, and what is asked for within a horizon."""

    name: str
    description: str
    """One sentence."""
    regions: tuple[Region, ...]
    formula: Callable[[int], Formula]
    """The formula for a horizon T, in steps; its own horizon is T at most."""
    plans: Callable[[int], tuple[Plan, ...]]
    """Every plan for a horizon T that is worth trying."""
    obstacles: int = OBSTACLES

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the regions."""
        return tuple(region.name for region in self.regions)


def check_horizon(horizon: int) -> int:
    """Return `horizon`.

    Raises:
        TypeError: not a whole number.
        ValueError: not between `MIN_HORIZON` and `MAX_HORIZON`.
    """
    if isinstance(horizon, bool) or not isinstance(horizon, int):
        raise TypeError(f"Expected a whole number of steps as horizon, got {horizon!r}.")
    if not MIN_HORIZON <= horizon <= MAX_HORIZON:
        raise ValueError(f"Expected a horizon from {MIN_HORIZON} to {MAX_HORIZON} steps, got {horizon}.")
    return horizon


def get_template(name: str) -> Template:
    """The template of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in TEMPLATES:
        raise unknown_name("template", name, TEMPLATES)
    return TEMPLATES[name]


def inside(name: str) -> Predicate:
    """The predicate of being in region `name`."""
    return Predicate(f"in_{name}")


def clear(horizon: int) -> Formula:
    """Never touch an obstacle."""
    return always(~inside("obstacle"), 0, horizon)


def _regions(names: str) -> tuple[Region, ...]:
    return tuple(Region(name=name) for name in names)


def _both(first: Visit, second: Visit) -> tuple[Plan, ...]:
    """Two visits in either order."""
    return Plan((first, second)), Plan((second, first))


# The formulas -----------------------------------------------------------------------------------------------------


def _reach_avoid(t: int) -> Formula:
    return And((eventually(inside("a"), 0, t), eventually(inside("b"), 0, t), clear(t)))


def _sequence(t: int) -> Formula:
    k = t // 3
    windows = [eventually(inside(name), i * k, (i + 1) * k) for i, name in enumerate("abc")]
    return And((*windows, clear(t)))


def _reach_stay(t: int) -> Formula:
    stay = eventually(always(inside("a"), 0, t // 5), 0, 7 * t // 10)
    return And((stay, eventually(inside("b"), 0, t), clear(t)))


def _until(t: int) -> Formula:
    return And((until(~inside("door"), inside("key"), 0, t), eventually(inside("goal"), 0, t), clear(t)))


def _nested(t: int) -> Formula:
    k = t // 3
    rest = inside("b") & eventually(inside("c"), 0, k)
    return And((eventually(inside("a") & eventually(rest, 0, k), 0, k), clear(t)))


def _branch(t: int) -> Formula:
    a, b, c, d = (eventually(inside(name), 0, t) for name in "abcd")
    return And((Or((a, b)), Or((c, d)), clear(t)))


def _patrol(t: int) -> Formula:
    w = t // 2
    rounds = [always(eventually(inside(name), 0, w), 0, t - w) for name in "ab"]
    return And((*rounds, clear(t)))


# The plans --------------------------------------------------------------------------------------------------------


def _plan_reach_avoid(t: int) -> tuple[Plan, ...]:
    return _both(Visit(region="a", latest=t), Visit(region="b", latest=t))


def _plan_sequence(t: int) -> tuple[Plan, ...]:
    k = t // 3
    visits = (Visit(region=name, earliest=i * k, latest=(i + 1) * k) for i, name in enumerate("abc"))
    return (Plan(tuple(visits)),)


def _plan_reach_stay(t: int) -> tuple[Plan, ...]:
    return _both(Visit(region="a", latest=7 * t // 10, stay=t // 5), Visit(region="b", latest=t))


def _plan_until(t: int) -> tuple[Plan, ...]:
    return (Plan((Visit(region="key", latest=t, shun="door"), Visit(region="goal", latest=t))),)


def _plan_nested(t: int) -> tuple[Plan, ...]:
    return (Plan(tuple(Visit(region=name, latest=t, gap=t // 3) for name in "abc")),)


def _plan_branch(t: int) -> tuple[Plan, ...]:
    pairs = [(Visit(region=x, latest=t), Visit(region=y, latest=t)) for x in "ab" for y in "cd"]
    return tuple(plan for pair in pairs for plan in _both(*pair))


def _plan_patrol(t: int) -> tuple[Plan, ...]:
    # Half a window from one region to the other brings the agent back to either within a window.
    half = t // 2 // 2
    orders = ("aba", "bab")
    return tuple(Plan(tuple(Visit(region=x, latest=t, gap=half) for x in order), repeat=2) for order in orders)


TEMPLATES = {
    template.name: template
    for template in (
        Template(
            name="ReachAvoid", description="Visit two regions in any order without touching an obstacle.",
            regions=_regions("ab"), formula=_reach_avoid, plans=_plan_reach_avoid,
        ),
        Template(
            name="Sequence", description="Visit three regions, one in every third of the time.",
            regions=_regions("abc"), formula=_sequence, plans=_plan_sequence,
        ),
        Template(
            name="ReachStay", description="Reach a region and stay for a fifth of the time; visit another.",
            regions=_regions("ab"), formula=_reach_stay, plans=_plan_reach_stay,
        ),
        Template(
            name="Until", description="Stay out of the door's room until the key is found; reach the goal inside.",
            regions=(Region(name="key"), Region(name="door", size=1.8), Region(name="goal", host="door")),
            formula=_until, plans=_plan_until,
        ),
        Template(
            name="Nested", description="Visit three regions in order, each within a third of the time after the last.",
            regions=_regions("abc"), formula=_nested, plans=_plan_nested,
        ),
        Template(
            name="Branch", description="Visit one of two regions, and one of two others.",
            regions=_regions("abcd"), formula=_branch, plans=_plan_branch,
        ),
        Template(
            name="Patrol", description="Visit both of two regions in every stretch of half the time.",
            regions=_regions("ab"), formula=_patrol, plans=_plan_patrol,
        ),
    )
}  # fmt: skip
