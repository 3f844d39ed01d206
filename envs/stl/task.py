"""The task of satisfying a formula: the verdict on the whole trace, once, at the horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import Observation, State, Task, TaskSpec, judged
from cairngym.envs.stl.formula import Formula
from cairngym.envs.stl.measures import Measure, evaluate
from cairngym.envs.stl.monitored import HIGH, LOW, TIME
from cairngym.envs.stl.robustness import robustness

CLOCK = "time"
"""The entry of the observation that says which share of the horizon has passed."""
LONE = "observation"
"""The entry under which an observation that cannot be extended stands beside it."""


class StlTask(Task):
    """Satisfy a formula over a trace of `horizon` steps.

    At the horizon the episode terminates; it succeeds, for a reward of 1, where the exact robustness of the trace at
    its first sample is zero or more. Every other step earns 0. With `terminate_on_violation` an episode also ends,
    for nothing, at the step from which no future satisfies the formula; one that can no longer be lost goes on.

    An episode that ends before its horizon, because it was staggered or the world diverged, is truncated without a
    verdict.

    The observation is the base task's and, so that it tells what is left to do by when, the share of the horizon that
    has passed: a further number of a one-dimensional Box of floats, a further entry "time" `(1,)` of a Dict, and beside
    any other observation in a Dict of both.

    Args:
        formula: what is to hold.
        measures: what its predicates measure.
        horizon: steps of an episode.
        base: the task whose observation is shown.
        observe: how, from the state; None asks `base`.
        terminate_on_violation: whether an episode ends once it is lost.
        count_fields: state fields that tell places apart, where `base` names none.

    Raises:
        TypeError: no `observe`, and a base that cannot be asked.
        ValueError: a base observation that has an entry "time".
    """

    progress_fields = (LOW, HIGH)

    def __init__(
        self,
        formula: Formula,
        measures: Mapping[str, Measure],
        horizon: int,
        base: TaskSpec,
        *,
        observe: Callable[[State], Observation] | None = None,
        terminate_on_violation: bool = False,
        count_fields: tuple[str, ...] = (),
    ) -> None:
        self.instruction = f"Satisfy the formula of signal temporal logic, times in steps: {formula}"
        self.formula, self.measures, self.horizon, self.base = formula, dict(measures), horizon, base
        self.terminate_on_violation = terminate_on_violation
        self.count_fields = base.count_fields or count_fields
        self.scale = max((measure.scale for measure in self.measures.values()), default=1.0)
        self._base = observe or judged(base).observe
        self.single_observation_space = with_clock(base.single_observation_space)
        self.categories = self._categories()

    def _categories(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """The base's, under the names that its entries have here."""
        if isinstance(self.base.single_observation_space, spaces.Dict):
            return dict(self.base.categories)
        if isinstance(self.single_observation_space, spaces.Box) or "" not in self.base.categories:
            return {}
        return {LONE: self.base.categories[""]}

    def observe(self, state: State) -> Observation:
        """The base task's observation and the share of the horizon that has passed."""
        obs, share = self._base(state), (state[TIME] / self.horizon).unsqueeze(-1)
        if isinstance(obs, dict):
            return {**obs, CLOCK: share}
        if isinstance(self.single_observation_space, spaces.Dict):
            return {LONE: obs, CLOCK: share}
        return torch.cat((obs, share.to(obs.dtype)), dim=-1)

    def success(self, state: State) -> torch.Tensor:
        """Whether the trace is complete and satisfies the formula, bool `(B,)`."""
        return (state[TIME] >= self.horizon) & (state[LOW] >= 0.0)

    def failure(self, state: State) -> torch.Tensor:
        """Whether the trace is complete and does not, or cannot any more where that ends episodes, bool `(B,)`."""
        lost = (state[TIME] >= self.horizon) & ~(state[LOW] >= 0.0)
        return lost | (state[HIGH] < 0.0) if self.terminate_on_violation else lost

    def objective(self, states: Sequence[State], smooth: float | None = None) -> torch.Tensor:
        """Robustness of whole traces at their first sample, `(B,)`, differentiable in the states.

        Args:
            states: `horizon + 1` states of B episodes, the first right after the reset.
            smooth: as of `robustness`; None for the exact one, zero or more exactly where the task succeeds.
        """
        trace = {name: torch.stack([state[name] for state in states], 1).flatten(0, 1) for name in states[0]}
        margins = evaluate(self.measures, tuple(self.measures), trace).unflatten(0, (-1, len(states)))
        named = dict(zip(self.measures, margins.unbind(-1), strict=True))
        return robustness(self.formula, named, smooth=smooth, steps=1)[:, 0]

    def progress(self, state: State) -> torch.Tensor:
        """Where the robustness still possible lies, float32 `(B,)` in [0, 1]; one where success is certain.

        The mean of both ends of the interval, each rising from zero at a violation by the greatest `scale` of the
        measures to one at satisfaction: 1/2 while all is open, more as the least robustness rises towards zero, less
        as the greatest falls below it.
        """
        low, high = ((1.0 + state[end] / self.scale).clamp(0.0, 1.0) for end in (LOW, HIGH))
        short = ((low + high) / 2.0).clamp(max=1.0 - 2.0**-24)
        return torch.where(state[LOW] >= 0.0, 1.0, short).to(torch.float32)


def with_clock(space: spaces.Space) -> spaces.Space:
    """One env's observation space with the share of the horizon that has passed.

    Raises:
        ValueError: it has such an entry.
    """
    clock = spaces.Box(0.0, 1.0, (1,), np.float32)
    if isinstance(space, spaces.Dict):
        if CLOCK in space.spaces:
            raise ValueError(
                f"Expected an observation without an entry {CLOCK!r}, which the share of the horizon is shown under, "
                f"got {sorted(space.spaces)}. Rename the env's own."
            )
        return spaces.Dict({**space.spaces, CLOCK: clock})
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and np.dtype(space.dtype).kind == "f":
        low, high = np.append(space.low, 0.0), np.append(space.high, 1.0)
        return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=np.dtype(space.dtype).type)
    return spaces.Dict({LONE: space, CLOCK: clock})
