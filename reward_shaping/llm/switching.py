"""A fuse for terms that run code of others: one that pays what no reward may be is off for the rest of the run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

LIMIT = 1e4
"""Absolute value beyond which a reward counts as exploded; sparse rewards are about one."""


class Fuse:
    """Tells sound values from NaN, infinities and explosions, and remembers the first that was not.

    `passed` never changes anything: unsound rows become zero, and so does everything once the fuse has blown. It blows
    in `observe`, for transitions just made. On a GPU nothing waits for the device until `metrics` is asked.

    Args:
        name: whose fuse it is, for the warning.
        limit: largest absolute value that is sound.

    Raises:
        ValueError: a limit that is not above zero.

    Attributes:
        blown: whether it is known on the host that it has blown.
    """

    def __init__(self, name: str, limit: float = LIMIT) -> None:
        if not limit > 0:
            raise ValueError(f"Expected a limit above zero, got {limit}.")
        self.name, self.limit = name, limit
        self.bind(torch.device("cpu"))

    def bind(self, device: torch.device) -> None:
        """Start whole."""
        self._device = device
        self._off = torch.zeros((), dtype=torch.bool, device=device)
        self._at = torch.zeros((), dtype=torch.int64, device=device)
        self._steps, self.blown, self._reason = 0, False, ""

    def sound(self, *values: torch.Tensor) -> torch.Tensor:
        """Where all `values` `(B,)` are finite and within the limit, bool `(B,)`."""
        result = values[0].abs() <= self.limit  # false of NaN
        for value in values[1:]:
            result = result & (value.abs() <= self.limit)
        return result

    def passed(self, value: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        """`value` `(B,)`, zero where it is not sound or the fuse has blown."""
        return torch.where(sound & ~self._off, value, 0.0)

    def observe(self, sound: torch.Tensor, valid: torch.Tensor | None = None) -> None:
        """Take in which of the transitions just made were sound; those not `valid` do not count."""
        broken = (~sound if valid is None else ~sound & valid).any()
        self._at = torch.where(broken & ~self._off, self._steps, self._at)
        self._off = self._off | broken
        self._steps += len(sound)
        if self._device.type == "cpu":
            self._look()

    def blow(self, reason: str, count: int) -> None:
        """Switch off for a reason known on the host, in a step of `count` transitions."""
        if not self.blown:
            self._reason = reason
            self._at, self._off = torch.full_like(self._at, self._steps), torch.ones_like(self._off)
            self._look()
        self._steps += count

    def _look(self) -> None:
        """Warn, once, if it has blown."""
        if self.blown or not bool(self._off):
            return
        self.blown = True
        why = self._reason or f"it paid NaN, an infinity, or more than the limit of {self.limit:g}"
        warnings.warn(
            f"The reward term {self.name} is SWITCHED OFF for the rest of this run, after {int(self._at)} transitions: "
            f"{why}. It pays zero from here on; its metric `switched_off` is 1.",
            RuntimeWarning,
            stacklevel=3,
        )

    def metrics(self) -> dict[str, float]:
        """`switched_off`, 0 or 1, and once it is 1 `switched_off_at`, the transitions before that; waits for a GPU."""
        self._look()
        if not self.blown:
            return {"switched_off": 0.0}
        return {"switched_off": 1.0, "switched_off_at": float(self._at)}

    def get_state(self) -> dict[str, Any]:
        """Copy all of it."""
        return {
            "off": self._off.clone(), "at": self._at.clone(), "steps": self._steps, "blown": self.blown,
            "reason": self._reason,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy; a warning that was given is not given again."""
        self._off, self._at = snapshot["off"].to(self._device).clone(), snapshot["at"].to(self._device).clone()
        self._steps, self.blown, self._reason = snapshot["steps"], snapshot["blown"], snapshot["reason"]
