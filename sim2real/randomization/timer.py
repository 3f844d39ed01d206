"""When something happens again, in every world by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cairngym.envs.physics.world import put
from cairngym.sim2real.randomization.parts import Draws, Moment

NEVER_EARLY = 1e-9
"""Share of a step by which a time may be missed through rounding."""


class Timer:
    """Times within each episode, a uniformly drawn wait after one another; they fall on the beginnings of steps.

    Args:
        every_s: least and greatest wait, s; waits below a step make every step due.
        draws: of the event; the wait is drawn by its own number of the step, so its other draws stay independent.
        step_s: seconds per step.
        num_worlds: N.
        device: of the tensors.
    """

    def __init__(
        self, every_s: tuple[float, float], draws: Draws, step_s: float, num_worlds: int, device: torch.device
    ) -> None:
        self._low, self._high = (seconds / step_s for seconds in every_s)
        self._draws = draws
        self._next = torch.zeros(num_worlds, dtype=torch.float64, device=device)

    def begin(self, mask: torch.Tensor, start: Moment) -> None:
        """Draw the first wait of the masked worlds, whose episodes begin."""
        put(mask, self._next, self._wait(start))

    def due(self, moment: Moment) -> torch.Tensor:
        """Where it is time, bool `(N,)`; the next wait begins there."""
        due = moment.step.to(torch.float64) + NEVER_EARLY >= self._next
        put(due, self._next, moment.step + self._wait(moment))
        return due

    def _wait(self, moment: Moment) -> torch.Tensor:
        share = self._draws.wait(moment).to(torch.float64)
        return (self._low + share * (self._high - self._low)).clamp(min=1.0)

    def get_state(self) -> dict[str, Any]:
        """Copy the times to come."""
        return {"next": self._next.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._next.copy_(snapshot["next"])
