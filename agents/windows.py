"""The steps that samples of a replay are made of: as they were recorded, under another goal, under another plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from cairngym.agents.hindsight import PLAN_STRATEGIES, Goals, Hindsight
from cairngym.agents.ring import Columns, Ring, take
from cairngym.envs.core import Observation, State, TensorEnv, where
from cairngym.envs.relabelling import Relabeller, Steps

Seen = tuple[Observation, State, Observation, State]
"""Observation and state before steps, and after them."""


class Sample(NamedTuple):
    """Where B samples of n steps lie."""

    step: torch.Tensor
    """int64 `(B,)`, the step each begins with."""
    env: torch.Tensor
    """int64 `(B,)`."""
    first: torch.Tensor
    """int64 `(B,)`, the first step held of its episode."""
    last: torch.Tensor
    """int64 `(B,)`, the last one."""
    rows: torch.Tensor
    """int64 `(B, n)`, where the steps are held; the last one in place of those after it."""


class Window:
    """The steps of B samples, n each, as they were recorded. Tensors of all steps are `(B * n, ...)`.

    Args:
        held: the columns of a ring.
        rows: int64 `(B, n)`.
    """

    def __init__(self, held: Columns, rows: torch.Tensor) -> None:
        self.held, self.rows, self.flat = held, rows, rows.flatten()

    def outcome(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Task reward, termination and success of every step."""
        reward, terminated, success = (take(self.held[name], self.flat) for name in ("reward", "terminated", "success"))
        return reward, terminated, success

    def seen(self) -> Seen:
        """What was seen before and after every step."""
        obs, state, next_obs, next_state = (take(self.held[name], self.flat) for name in Steps._fields)
        return obs, state, next_obs, next_state

    def ends(self, end: torch.Tensor) -> tuple[Observation, Observation]:
        """The observations `(B, ...)` before every sample's first step and after its step number `end` `(B,)`."""
        last = self.rows.gather(1, end.unsqueeze(1)).squeeze(1)
        return take(self.held["obs"], self.rows[:, 0]), take(self.held["next_obs"], last)


class GoalWindow(Window):
    """Steps judged by another goal where `mask` `(B,)` holds; `goal` is `(B, goal_size)`."""

    def __init__(self, held: Columns, rows: torch.Tensor, goals: Goals, goal: torch.Tensor, mask: torch.Tensor) -> None:
        super().__init__(held, rows)
        self.goals, self.asked = goals, (goal, mask)
        steps = rows.shape[1]
        self.spread = goal.unsqueeze(1).expand(-1, steps, -1).flatten(0, 1), _spread(mask, steps)

    def outcome(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Task reward, termination and success, judged anew."""
        (goal, mask), recorded = self.spread, super().outcome()
        achieved = take(achieved_goals(self.held), self.flat)
        anew = self.goals.judge(achieved, goal, *recorded[1:])
        reward, terminated, success = (torch.where(mask, *pair) for pair in zip(anew, recorded, strict=True))
        return reward, terminated, success

    def seen(self) -> Seen:
        """What was seen, with the goal in its place."""
        obs, state, next_obs, next_state = super().seen()
        goals, spread = self.goals, self.spread
        return (
            goals.into_obs(obs, *spread), goals.into_state(state, *spread),
            goals.into_obs(next_obs, *spread), goals.into_state(next_state, *spread),
        )  # fmt: skip

    def ends(self, end: torch.Tensor) -> tuple[Observation, Observation]:
        """The observations at both ends, with the goal in its place."""
        obs, next_obs = super().ends(end)
        return self.goals.into_obs(obs, *self.asked), self.goals.into_obs(next_obs, *self.asked)


class PlanWindow(Window):
    """Steps seen under another plan, `steps` `(B, n, ...)`; the task judges them as before."""

    def __init__(self, held: Columns, rows: torch.Tensor, steps: Steps) -> None:
        super().__init__(held, rows)
        self.steps = steps

    def seen(self) -> Seen:
        """What would have been seen before and after every step."""
        obs, state, next_obs, next_state = (_each(part, lambda t: t.flatten(0, 1)) for part in self.steps)
        return obs, state, next_obs, next_state

    def ends(self, end: torch.Tensor) -> tuple[Observation, Observation]:
        """The observations at both ends."""
        row = torch.arange(len(end), device=end.device)
        return _each(self.steps.obs, lambda t: t[:, 0]), _each(self.steps.next_obs, lambda t: t[row, end])


# Who makes them ------------------------------------------------------------------------------------------------------


class Recorded:
    """Windows on steps as they were recorded."""

    fields: tuple[str, ...] = ()
    """State fields that replay stores for it."""

    def window(self, ring: Ring, sample: Sample, generator: torch.Generator) -> Window:
        """The steps of the samples; every draw comes from `generator`."""
        del generator
        return Window(ring.columns, sample.rows)


class OtherGoals(Recorded):
    """Windows under goals achieved elsewhere in the episode.

    Args:
        env: its task has goals.
        hindsight: which ones.

    Raises:
        TypeError: the task has none, or a wrapper hides them.
    """

    def __init__(self, env: TensorEnv, hindsight: Hindsight) -> None:
        self.goals, self.hindsight = Goals(env), hindsight

    def window(self, ring: Ring, sample: Sample, generator: torch.Generator) -> Window:
        """The steps, a share of the samples under another goal."""
        mask, source = self.hindsight.draw(sample.step, sample.first, sample.last, generator)
        goal = take(achieved_goals(ring.columns), ring.locate(source, sample.env))
        return GoalWindow(ring.columns, sample.rows, self.goals, goal, mask)


class OtherPlans(Recorded):
    """Windows under plans that episodes might have had.

    Args:
        env: gives plans, and shows them.
        hindsight: how often.

    Raises:
        TypeError: it gives none, or a wrapper hides them.
    """

    def __init__(self, env: TensorEnv, hindsight: Hindsight) -> None:
        self.relabeller, self.hindsight = _relabeller(env), hindsight
        self.fields = self.relabeller.fields

    def window(self, ring: Ring, sample: Sample, generator: torch.Generator) -> Window:
        """The steps, a share of the samples under another plan."""
        held, own, shape = ring.columns, self.relabeller, (len(sample.step), self.relabeller.glimpses)
        mask = self.hindsight.choose(sample.step, generator)
        step, first, last = (part.unsqueeze(1).expand(shape) for part in (sample.step, sample.first, sample.last))
        glimpsed = ring.locate(self.hindsight.source(step, first, last, generator), sample.env.unsqueeze(1))
        later = {name: take(held["next_state"][name], glimpsed) for name in own.glimpse_fields}
        uniforms = torch.rand(shape[0], own.draws, generator=generator, device=mask.device)
        recorded = Steps(*(take(held[name], sample.rows) for name in Steps._fields))
        anew = own.relabel(recorded, later, uniforms)
        steps = Steps(*(where(mask, new, old) for new, old in zip(anew, recorded, strict=True)))
        return PlanWindow(held, sample.rows, steps)


def achieved_goals(held: Columns) -> torch.Tensor:
    """The goals that steps achieved: truly, where sensors show something else and the record says so."""
    return held["achieved"] if "achieved" in held else held["next_obs"]["achieved_goal"]


def make_windows(env: TensorEnv, hindsight: Hindsight) -> Recorded:
    """What makes the windows that `hindsight` asks for.

    Raises:
        TypeError: the env has not what is to be replaced.
    """
    if not hindsight.active:
        return Recorded()
    return (OtherPlans if hindsight.strategy in PLAN_STRATEGIES else OtherGoals)(env, hindsight)


def _relabeller(env: TensorEnv) -> Relabeller:
    found = env.relabeller
    if found is None:
        raise TypeError(
            'Expected an env whose episodes follow plans, for the hindsight strategy "times"; found none that the '
            'observation shows unchanged. Wrap a task with a formula in "temporal", outside of wrappers that change '
            "the observation."
        )
    return found


def _spread(column: torch.Tensor, steps: int) -> torch.Tensor:
    """`(B,)` for each of `steps` steps, `(B * steps,)`."""
    return column.unsqueeze(1).expand(-1, steps).flatten()


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _each(item, change) for name, item in value.items()}
    return change(value)
