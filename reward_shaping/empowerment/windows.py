"""The last n steps of every env: where they started, and what was done since."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from gymnasium import spaces


class Windows:
    """Windows of n steps within each env's episode.

    An episode that terminates j < n steps into a window completes it all the same, with actions drawn uniformly for
    those never played: from a state that nothing leads out of, any action leads to where the window ended. Windows that
    a time limit cuts short are left out.

    Args:
        num_envs: N.
        steps: n.
        features: of a state.
        shape: of an action.
        space: of an action.
        generator: what draws.
    """

    def __init__(
        self, num_envs: int, steps: int, features: int, shape: tuple[int, ...], space: spaces.Space,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        device = generator.device
        self.steps, self.numbers, self._generator = steps, steps * math.prod(shape), generator
        kind = torch.int64 if isinstance(space, spaces.Discrete) else torch.float32
        self._starts = torch.zeros(steps, num_envs, features, device=device)
        self._actions = torch.zeros(steps, num_envs, *shape, dtype=kind, device=device)
        self._age = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self._clock, self._count = 0, int(space.n) if isinstance(space, spaces.Discrete) else 0
        if isinstance(space, spaces.Box):
            self._low = torch.as_tensor(space.low, dtype=torch.float32, device=device)
            self._range = torch.as_tensor(space.high, dtype=torch.float32, device=device) - self._low

    def add(
        self, features: torch.Tensor, action: torch.Tensor, terminated: torch.Tensor, valid: torch.Tensor | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Take in a step and yield the windows it completes.

        Args:
            features: of the state acted in, `(N, F)`.
            action: `(N, ...)`.
            terminated: bool `(N,)`.
            valid: bool `(N,)`; rows that are not start over.

        Yields:
            Features of the state the window starts from, `(N, F)`; its actions, `(N, n, ...)`; and which envs have such
            a window, bool `(N,)`.
        """
        slot = self._clock % self.steps
        self._starts[slot], self._actions[slot] = features, action.to(self._actions.dtype)
        self._clock += 1
        self._age += 1
        if valid is not None:
            self._age *= valid
        yield self._window(self.steps, self._age >= self.steps)
        early = terminated if valid is None else terminated & valid
        if self.steps == 1 or (early.device.type == "cpu" and not bool(early.any())):
            return
        for length in range(1, self.steps):
            yield self._window(length, early & (self._age >= length))

    def _window(self, length: int, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last `length` steps, filled up to n."""
        slots = [(self._clock - back) % self.steps for back in range(length, 0, -1)]
        played = self._actions[slots].transpose(0, 1)
        if length < self.steps:
            played = torch.cat((played, self._draw(self.steps - length)), dim=1)
        return self._starts[slots[0]], played, whole

    def _draw(self, count: int) -> torch.Tensor:
        size, device = (self._actions.shape[1], count, *self._actions.shape[2:]), self._actions.device
        if self._count:
            return torch.randint(self._count, size, generator=self._generator, device=device)
        return self._low + self._range * torch.rand(size, generator=self._generator, device=device)

    def begin(self, mask: torch.Tensor) -> None:
        """Start over in the masked `(N,)` envs."""
        self._age = self._age.masked_fill(mask, 0)

    def get_state(self) -> dict[str, Any]:
        """Copy the last n steps."""
        return {
            "starts": self._starts.clone(), "actions": self._actions.clone(),
            "age": self._age.clone(), "clock": self._clock,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._starts, self._actions = snapshot["starts"].clone(), snapshot["actions"].clone()
        self._age, self._clock = snapshot["age"].clone(), snapshot["clock"]
