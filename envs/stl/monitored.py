"""A world with a formula watched over it: margins, the robustness that is still possible, and time as state fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cairngym.envs.checks import check_shape, unknown_name
from cairngym.envs.core import State, StateField, World, where
from cairngym.envs.data import refreshed
from cairngym.envs.episodes import Episodes
from cairngym.envs.state_view import StateRows, StateView
from cairngym.envs.stl.formula import Formula
from cairngym.envs.stl.measures import Measure, evaluate
from cairngym.envs.stl.monitor import Monitor

MARGINS, LOW, HIGH, TIME = "stl_margins", "stl_low", "stl_high", "stl_time"


class MonitoredWorld(World):
    """A world whose state also says how a formula stands.

    Sample 0 of the trace is the state an episode begins with, sample t the one after t steps; the predicates are
    measured once per sample, before goals move. What a world did after `horizon` steps is not part of its trace:
    `stl_time`, `stl_low` and `stl_high` stay as they were then. A world that diverged keeps its last margins.

    Attributes of the inner world show through.

    Args:
        inner: the world.
        formula: what is watched.
        predicates: what the formula's predicates measure, by name; it may hold further ones.
        horizon: steps of a trace.

    Raises:
        UnknownNameError: a predicate of the formula that is not among them.
        ValueError: the world has state fields of the names added, or, on the CPU, a margin that is not a number.
    """

    def __init__(self, inner: World, formula: Formula, predicates: Mapping[str, Measure], horizon: int) -> None:
        self.inner, self.formula, self.horizon = inner, formula, horizon
        self.num_envs, self.device = inner.num_envs, inner.device
        self.single_action_space = inner.single_action_space
        self.predicates = dict(predicates)
        self.measures = {name: lookup(predicates, name) for name in formula.predicates}
        self.state_spec = describe(inner.state_spec, self.measures)
        self.monitor = Monitor(formula, self.num_envs, self.device, horizon=horizon)
        self.margins = torch.zeros(self.num_envs, len(self.measures), device=self.device)
        self.time = torch.zeros(self.num_envs, device=self.device)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not yet set: copying or unpickling
            raise AttributeError(name)
        return getattr(self.inner, name)

    # The inner world's ------------------------------------------------------------------------------------------------

    @property
    def episodes(self) -> Episodes:
        """The lives, shared with the inner world."""
        return self.inner.episodes

    @episodes.setter
    def episodes(self, episodes: Episodes) -> None:
        self.inner.episodes = episodes

    @property
    def spectators(self) -> tuple[Callable[[], None], ...]:
        """The inner world's."""
        return self.inner.spectators

    @spectators.setter
    def spectators(self, spectators: tuple[Callable[[], None], ...]) -> None:
        self.inner.spectators = spectators

    @property
    def reset_options(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inner world's."""
        return self.inner.reset_options

    def prepare(self, options: Mapping[str, Any]) -> None:
        """Pass the options on."""
        self.inner.prepare(options)

    def diverged(self) -> torch.Tensor:
        """Where the inner world's last step failed."""
        return self.inner.diverged()

    def settle(self, success: torch.Tensor, episodes: Episodes) -> None:
        """Pass the verdict on."""
        self.inner.settle(success, episodes)

    def report(self) -> Mapping[str, Any]:
        """The inner world's."""
        return self.inner.report()

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The inner world's frames."""
        return self.inner.render(env_ids)

    def close(self) -> None:
        """Close the inner world."""
        self.inner.close()

    @property
    def dynamics(self) -> Callable[[State, torch.Tensor], dict[str, torch.Tensor]]:
        """The inner world's differentiable dynamics, and the clock; only where the inner world has them."""
        inner = self.inner.dynamics  # type: ignore[attr-defined]
        return lambda state, action: {**inner(state, action), TIME: state[TIME] + 1.0}

    # The trace --------------------------------------------------------------------------------------------------------

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Start the masked worlds and their traces."""
        self.inner.begin(mask, episodes)
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        self.margins = refreshed(mask, self.margins, self._first_sample)
        self.monitor.begin(mask, self.margins)
        self.time = self.time.masked_fill(mask, 0.0)

    def _first_sample(self, rows: torch.Tensor | None) -> torch.Tensor:
        count = self.num_envs if rows is None else len(rows)
        return sample(self.measures, StateRows(self.inner.state, rows), count)

    def advance(self, action: torch.Tensor) -> None:
        """Move every world and add a sample to its trace."""
        self.inner.advance(action)
        margins = sample(self.measures, self.inner.state, self.num_envs)
        self.margins = where(self.inner.diverged(), self.margins, margins)
        self.monitor.update(self.margins)
        self.time = (self.time + 1.0).clamp(max=self.horizon)

    @property
    def state(self) -> State:
        """The inner world's fields, and those of the trace."""
        inner = self.inner.state
        own = {MARGINS: self.margins, LOW: self.monitor.low, HIGH: self.monitor.high, TIME: self.time}
        return StateView(
            lambda name: own[name] if name in own else inner[name], tuple(self.state_spec), 0, lambda: 0
        )  # fmt: skip

    def get_state(self) -> dict[str, Any]:
        """Copy the inner world, the monitor and the fields of the trace."""
        own = {"margins": self.margins.clone(), "time": self.time.clone()}
        return {
            "inner": self.inner.get_state(), "monitor": self.monitor.get_state(), "formula": str(self.formula), **own
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: it is of another formula.
        """
        if snapshot["formula"] != str(self.formula):
            raise ValueError(f"Expected a snapshot of {self.formula}, got one of {snapshot['formula']}.")
        self.inner.set_state(snapshot["inner"])
        self.monitor.set_state(snapshot["monitor"])
        self.margins, self.time = snapshot["margins"].clone(), snapshot["time"].clone()


def lookup(predicates: Mapping[str, Measure], name: str) -> Measure:
    """The measure of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in predicates:
        raise unknown_name("predicate", name, predicates)
    return predicates[name]


def sample(measures: Mapping[str, Measure], state: State, num_envs: int) -> torch.Tensor:
    """The margins of every world, float32 `(N, P)`, in the order of `measures` and apart from any graph.

    Raises:
        TypeError: a predicate that returns no floating-point tensor.
        ValueError: one that returns another shape or, on the CPU, NaN.
    """
    margins = evaluate(measures, tuple(measures), state).detach()
    name = next(iter(measures))  # all have the same length
    check_shape(f"the margins of the predicate {name!r}", margins[:, 0], (num_envs,), "(num_envs,)")
    return margins


def describe(spec: Mapping[str, StateField], measures: Mapping[str, Measure]) -> dict[str, StateField]:
    """The world's fields and those of the trace."""
    names = ", ".join(f"{name} ({one.unit})" if one.unit else name for name, one in measures.items())
    own = {
        MARGINS: StateField(
            shape=(len(measures),), unit="margin",
            description=f"Margin of each predicate, zero or more where it holds: {names}.",
        ),
        LOW: StateField(
            shape=(), unit="margin", description="The formula's robustness is no less than this, whatever follows."
        ),
        HIGH: StateField(
            shape=(), unit="margin", description="The formula's robustness is no more than this, whatever follows."
        ),
        TIME: StateField(shape=(), unit="step", description="Steps of the trace, up to the horizon."),
    }  # fmt: skip
    clash = sorted(spec.keys() & own.keys())
    if clash:
        raise ValueError(f"The state fields {clash} hold how a formula stands; the world must name its own otherwise.")
    return {**spec, **own}
