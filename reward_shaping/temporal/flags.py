"""Flags that make the recent past of a formula's windows part of the observation (F-MDP)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from cairngym.envs.core import Observation, State, TensorEnv
from cairngym.envs.stl.formula import Always, Eventually, Formula, Interval, Release, Until
from cairngym.envs.stl.monitored import MARGINS
from cairngym.envs.wrapper import TensorWrapper
from cairngym.reward_shaping.temporal.extension import extend, extended
from cairngym.reward_shaping.temporal.plan import StateFormula
from cairngym.reward_shaping.temporal.task import stl_task

FLAGS = "flags"
"""The entry of a Dict observation that holds the flags."""


class Window(NamedTuple):
    """A temporal operator whose body can be judged at one step."""

    body: StateFormula
    length: int
    """Steps of its interval."""
    always: bool
    """Whether the body must hold throughout, rather than once."""


class FlagObservation(TensorWrapper):
    """Shows one number in [0, 1] for every temporal operator whose body has none of its own.

    The flag of F[a,b] is one while its body holds and falls to zero over the interval's length afterwards; that of
    G[a,b] rises from zero to one while the body holds without a break for as long, and drops to zero where it doesn't.
    Operators around others get none: the rest of the past stays hidden, and so does when it happened. After
    Venkataraman, Aksaray and Seiler, "Tractable reinforcement learning of signal temporal logic objectives", L4DC 2020.

    Args:
        env: a task with a formula (`cairngym.envs.stl`), unwrapped or wrapped.

    Raises:
        TypeError: a task without a formula.
        ValueError: a formula without such an operator.
    """

    def __init__(self, env: TensorEnv) -> None:
        task = stl_task(env)
        self.windows = windows(task.formula, task.horizon)
        if not self.windows:
            raise ValueError(f"Expected a formula with a temporal operator over predicates, got {task.formula}.")
        self._columns = {name: column for column, name in enumerate(task.formula.predicates)}
        super().__init__(
            env, observation_space=extended(env.single_observation_space, FLAGS, 0.0, 1.0, len(self.windows))
        )
        self._length = torch.tensor([w.length for w in self.windows], dtype=torch.float32, device=self.device)
        self._always = torch.tensor([w.always for w in self.windows], device=self.device)
        self._flags = torch.zeros(self.num_envs, len(self.windows), device=self.device)

    def _holds(self, state: State) -> torch.Tensor:
        """Where each body holds, `(N, W)`."""
        margins = state[MARGINS]
        return torch.stack([w.body.margin(margins, self._columns) >= 0 for w in self.windows], dim=1)

    def remember(self, obs: Observation, state: State) -> None:
        """Move every flag one step."""
        holds, step = self._holds(state), 1.0 / self._length
        kept = torch.where(holds, (self._flags + step).clamp(max=1.0), 0.0)
        faded = torch.where(holds, 1.0, (self._flags - step).clamp(min=0.0))
        self._flags = torch.where(self._always, kept, faded)

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Judge an episode's first state."""
        first = self._holds(state) * torch.where(self._always, 1.0 / self._length, 1.0)
        self._flags = torch.where(mask.unsqueeze(1), first, self._flags)

    def observation(self, obs: Observation, state: State) -> Observation:
        """The observation and the flags."""
        return extend(obs, FLAGS, self._flags)

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env and the flags."""
        return {"env": self.env.get_state(), "flags": self._flags.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._flags = snapshot["flags"].clone()


def windows(formula: Formula, horizon: int) -> tuple[Window, ...]:
    """The windows of a formula over `horizon` steps, each once, in the order of its text."""
    found: list[Window] = []
    for part in formula.nnf().walk():
        if isinstance(part, Eventually | Always):
            found += _window(part.of, part.interval, horizon, always=isinstance(part, Always))
        elif isinstance(part, Until | Release):
            dual = isinstance(part, Release)
            found += _window(part.left, part.interval, horizon, always=not dual)
            found += _window(part.right, part.interval, horizon, always=dual)
    return tuple(dict.fromkeys(found))


def _window(body: Formula, interval: Interval, horizon: int, *, always: bool) -> list[Window]:
    if body.horizon != 0 or not body.predicates:
        return []
    last = horizon if interval.high is None else min(interval.high, horizon)
    return [Window(StateFormula(body), max(last - interval.low + 1, 1), always)]
