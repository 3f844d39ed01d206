"""What distinguishes one family of MiniGrid tasks from another: its rule, its variables and its subgoals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import warp as wp

from cairngym.envs.minigrid.cells import pack
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.random_kernels import Key

NUM_VARIABLES = 8
NEAR, CARRY, OPENED, UNLOCKED, CLEARED, BESIDE = range(1, 7)
"""Kinds of subgoal: be within `detail` steps of a cell; carry an object of that type and colour (`detail`); the door
at the cell stands open; it is not locked; the cell holds no box; an object of that type and colour lies on the cell
or one of the eight squares around it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to be done on the way to success, for the task's progress."""

    kind: int
    cell: int
    """Index x + width * y."""
    detail: int = 0
    """Radius of NEAR, packed type and colour of CARRY and BESIDE."""


@wp.func
def same_action(action: int) -> int:
    """Every action means itself."""
    return action


@wp.func
def nothing_before(grids: Grids, e: int, action: int, key: Key, step: int, script: wp.array2d(dtype=wp.int32)) -> int:
    """Nothing moves before the agent does."""
    return 0


@wp.func
def base_verdict(grids: Grids, e: int, action: int, carried: int, flag: int, verdict: int) -> int:
    """Only goals and lava count."""
    return verdict


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Warp functions around the base step; see the defaults for their signatures."""

    translate: Any = same_action
    """What an action is taken for."""
    before: Any = nothing_before
    """Runs before the agent acts; its result is handed to `after` as `flag`."""
    after: Any = base_verdict
    """Turns the base step's verdict into the task's; `carried` is what the agent carried before."""


def goal_targets(env: Any) -> list[Target]:
    """Reach the goal square."""
    cells = [i for i, thing in enumerate(env.grid.grid) if thing is not None and thing.type == "goal"]
    return [Target(kind=NEAR, cell=cells[0])] if cells else []


def no_variables(env: Any) -> Sequence[int]:
    """The grid says it all."""
    del env
    return ()


@dataclass(frozen=True, kw_only=True)
class Generator:
    """How a family's levels are made inside the kernel, one anew for every episode.

    Attributes:
        begin: Warp function `(grids, levels, plans, e, key)` that writes world e's cells, agent, variables, current
            mission, the targets of its plan, and the plan itself (`cairngym.envs.minigrid.procedural.finish`).
        missions: the texts that `levels.current_mission` counts.
        subgoals: most subgoals a plan can have.
        parameters: what distinguishes one id of the family from another, handed over as `levels.parameters`.
    """

    begin: Any
    missions: tuple[str, ...]
    subgoals: int = 1
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of tasks that share a rule.

    Attributes:
        references: class names of the reference envs it covers.
        rule: what happens around the base step.
        variables: reads up to eight integers from a reference env at the start of an episode.
        targets: reads the subgoals, in order, from a reference env at the start of an episode.
        colors: whether an object's colour says something the agent needs.
        generator: "module:function" that makes the `Generator` of a reference env, if there is one.
    """

    references: tuple[str, ...]
    rule: Rule = Rule()
    variables: Callable[[Any], Sequence[int]] = no_variables
    targets: Callable[[Any], list[Target]] = goal_targets
    colors: bool = False
    generator: str | None = None


def cell_index(env: Any, position: Sequence[int]) -> int:
    """Index of a position (x, y) in the packed grid."""
    return int(position[0]) + env.width * int(position[1])


def kind_of_object(thing: Any) -> int:
    """Packed type and colour of a reference object."""
    kind, color, _ = thing.encode()
    return pack(kind, color)
