"""When a subgoal ends: exactly, from whole states, and by rule, from what an event tells."""

from __future__ import annotations

from collections import Counter

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.minigrid.cells import BOX, BYTE, COLOR, DOOR, EMPTY_CELL, GOAL, STATE
from cairngym.envs.minigrid.cells import OPEN as DOOR_OPEN
from cairngym.reward_shaping.llm.beacons.observation import minigrid_world, planned
from cairngym.reward_shaping.llm.beacons.prompts import prompt_levels
from cairngym.reward_shaping.llm.beacons.subgoals import GO, NOUNS, OPEN, PUT, TAKE, THINGS, Subgoal
from cairngym.reward_shaping.llm.calm.events import ACTED, MOVED, TURNED, Event

SAMPLE = 64
"""Levels that a task's subgoals are gathered from."""
FEW_COLORS = 2
"""A thing of at most so many colours in a task is told by its colour."""


def task_subgoals(env: TensorEnv) -> list[Subgoal]:
    """The subgoals that the plans of a task's levels have in common, without places, in the order in which they come.

    They are those of levels that neither split draws, so that they belong to the env's id. Colours are named where a
    task has at most two of them for a thing, as for the two balls of ObstructedMaze-1Dlhb.

    Raises:
        TypeError: no MiniGrid env.
        ValueError: levels without a plan, or whose plans name nothing that can be told without its place.
    """
    table = planned(prompt_levels(env, SAMPLE), minigrid_world(env))
    colors: dict[tuple[int, int, int | None], Counter[int | None]] = {}
    ranks: dict[Subgoal, list[float]] = {}
    levels = [table.level(row) for row in range(len(table))]
    for goal in (goal for level in levels for goal in level if goal.kind in THINGS):
        colors.setdefault((goal.deed, goal.kind, goal.state), Counter())[goal.color] += 1
    for level in levels:
        for rank, goal in enumerate(level):
            if goal.kind in THINGS:
                few = goal.kind != GOAL and len(colors[goal.deed, goal.kind, goal.state]) <= FEW_COLORS
                color = goal.color if few else None
                general = Subgoal(deed=goal.deed, kind=goal.kind, color=color, state=goal.state)
                ranks.setdefault(general, []).append(rank / len(level))
    if not ranks:
        raise ValueError("Expected levels whose plans are about doors, keys, balls, boxes or goals; these are not.")
    return sorted(ranks, key=lambda goal: (sum(ranks[goal]) / len(ranks[goal]), goal.sentence))


def is_judgeable(goal: Subgoal) -> bool:
    """Whether `terminates` and `rule` know what the subgoal means."""
    return goal.deed in (GO, TAKE, OPEN, PUT) and goal.kind in THINGS and goal.kind in NOUNS


# Exactly --------------------------------------------------------------------------------------------------------------


def terminates(goal: Subgoal, state: State, next_state: State) -> torch.Tensor:
    """Whether the subgoal holds after the step and did not before, from whole states, bool `(B,)`.

    Carrying a thing; one door of the kind more that stands open; one box less on the floor and in the hand; standing on
    a goal, or beside another thing; having just put something down beside a thing.
    """
    if goal.deed == TAKE:
        return carries(goal, next_state) & ~carries(goal, state)
    if goal.deed == GO:
        return is_at(goal, next_state) & ~is_at(goal, state)
    if goal.deed == PUT:
        empty, full = next_state["carrying"][:, 0] == 1, state["carrying"][:, 0] > 1
        return full & empty & dropped_near(goal, state, next_state)
    before, after = matches(goal, state), matches(goal, next_state)
    if goal.kind == DOOR:
        opened = (state["grid"][..., 2] != DOOR_OPEN) & (next_state["grid"][..., 2] == DOOR_OPEN)
        wanted = opened if goal.state is None else opened & (state["grid"][..., 2] == goal.state)
        return (before & after & wanted).flatten(1).any(1)
    gone = before.flatten(1).sum(1) > after.flatten(1).sum(1)
    return gone & ~(carries(goal, next_state) & ~carries(goal, state))


def matches(goal: Subgoal, state: State) -> torch.Tensor:
    """Which cells hold a thing of the subgoal's type and colour, bool `(B, width, height)`."""
    grid = state["grid"]
    fits = grid[..., 0] == goal.kind
    return fits if goal.color is None or goal.kind == GOAL else fits & (grid[..., 1] == goal.color)


def carries(goal: Subgoal, state: State) -> torch.Tensor:
    """Whether a thing of the subgoal's type and colour is in the hand, bool `(B,)`."""
    fits = state["carrying"][:, 0] == goal.kind
    return fits if goal.color is None else fits & (state["carrying"][:, 1] == goal.color)


def is_at(goal: Subgoal, state: State) -> torch.Tensor:
    """Whether the agent stands on a goal, or beside a thing of another type, bool `(B,)`."""
    away = offsets(state, state["agent_pos"]).abs().sum(-1)
    return (matches(goal, state) & (away <= (0 if goal.kind == GOAL else 1))).flatten(1).any(1)


def dropped_near(goal: Subgoal, state: State, next_state: State) -> torch.Tensor:
    """Whether a cell that holds an object only after the step lies within one of the thing, bool `(B,)`."""
    fresh = (state["grid"][..., 0] == 1) & (next_state["grid"][..., 0] > 1)
    wide = torch.nn.functional.max_pool2d(fresh.float().unsqueeze(1), 3, stride=1, padding=1)[:, 0] > 0
    return (wide & matches(goal, next_state) & ~fresh).flatten(1).any(1)


def offsets(state: State, place: torch.Tensor) -> torch.Tensor:
    """From `place` `(B, 2)` to every cell, int64 `(B, width, height, 2)`."""
    width, height = state["grid"].shape[1:3]
    x, y = torch.arange(width, device=place.device), torch.arange(height, device=place.device)
    cells = torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1)
    return cells - place.view(-1, 1, 1, 2)


# By rule --------------------------------------------------------------------------------------------------------------


def rule(goal: Subgoal, event: Event) -> bool:
    """Whether an event ends a subgoal, as far as it tells.

    It does not tell what lies beside the agent but not before it, nor what lies around a thing that is put down: "go to
    the door" ends when the door comes to be before the agent, "put it down near …" whenever something is put down.
    """
    if goal.deed == TAKE:
        return fits(goal, event.holds) and not fits(goal, event.held)
    if goal.deed == GO and goal.kind == GOAL:
        return event.deed == MOVED and fits(goal, event.first)
    if goal.deed == GO:
        return event.deed in (MOVED, TURNED) and fits(goal, event.second)
    if event.deed != ACTED:
        return False
    if goal.deed == PUT:
        return event.held != EMPTY_CELL and event.holds == EMPTY_CELL
    if goal.kind == BOX:
        return fits(goal, event.first) and event.second & BYTE != BOX and event.held == event.holds
    was, now = event.first >> STATE & BYTE, event.second >> STATE & BYTE
    opened = fits(goal, event.first) and fits(goal, event.second) and was != DOOR_OPEN and now == DOOR_OPEN
    return opened and goal.state in (None, was)


def fits(goal: Subgoal, cell: int) -> bool:
    """Whether a packed cell is of the subgoal's type and colour."""
    any_color = goal.color is None or goal.kind == GOAL
    return cell & BYTE == goal.kind and (any_color or cell >> COLOR & BYTE == goal.color)
