"""Which episode every env lives, how it goes, and how many came before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cairngym.envs.random import Stream, integers


class Episodes:
    """Counters of N envs, kept by `TensorEnv` and shared (not copied) with fused worlds.

    Attributes:
        seed: the run's seed.
        env_id: int64 `(N,)`, the index each env draws its randomness by.
        number: int64 `(N,)`, how many episodes the env has ended since the seed was set.
        length: int64 `(N,)`, steps taken in this episode.
        returns: float32 `(N,)`, task reward of this episode so far.
        succeeded: bool `(N,)`, whether the task was done at any step of this episode.
        terminated, truncated: bool `(N,)`, how the last step ended.
    """

    FIELDS = ("env_id", "number", "length", "returns", "succeeded", "terminated", "truncated")

    def __init__(self, num_envs: int, device: torch.device, seed: int) -> None:
        self.seed = seed
        self.env_id = torch.arange(num_envs, device=device)
        self.number = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.length = torch.zeros_like(self.number)
        self.returns = torch.zeros(num_envs, dtype=torch.float32, device=device)
        self.succeeded = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.terminated = torch.zeros_like(self.succeeded)
        self.truncated = torch.zeros_like(self.succeeded)

    @property
    def ended(self) -> torch.Tensor:
        """Whether the last step ended the episode and no reset has followed, bool `(N,)`."""
        return self.terminated | self.truncated

    def restart(self, mask: torch.Tensor) -> None:
        """Put the masked envs at the start of their episode 0."""
        self.number.masked_fill_(mask, 0)
        self._clear(mask)

    def next(self, mask: torch.Tensor) -> None:
        """Put the masked envs at the start of their next episode."""
        self.number += mask
        self._clear(mask)

    def _clear(self, mask: torch.Tensor) -> None:
        for counter in (self.length, self.returns, self.succeeded, self.terminated, self.truncated):
            counter.masked_fill_(mask, 0)

    def stagger(self, mask: torch.Tensor, horizon: int) -> None:
        """Let the masked envs pretend to have lived a random part of `horizon` steps."""
        lived = integers(self.seed, self.env_id, self.number, Stream.STAGGER, horizon)[:, 0]
        self.length.copy_(torch.where(mask, lived, self.length))

    def record(
        self, reward: torch.Tensor, success: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Add one step and return this episode's statistics so far, as tensors of their own."""
        self.returns += reward
        self.succeeded |= success
        self.terminated.copy_(terminated)
        self.truncated.copy_(truncated)
        return {
            "return": self.returns.clone(),
            "length": self.length.clone(),
            "success_once": self.succeeded.clone(),
            "success_at_end": success,
        }

    def get_state(self) -> dict[str, Any]:
        """Copy every counter and the seed."""
        return {"seed": self.seed, **{name: getattr(self, name).clone() for name in self.FIELDS}}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy made by `get_state`, in place.

        Raises:
            ValueError: if the snapshot is of another number of envs.
        """
        if len(snapshot["env_id"]) != len(self.env_id):
            raise ValueError(f"Expected a snapshot of {len(self.env_id)} envs, got one of {len(snapshot['env_id'])}.")
        self.seed = snapshot["seed"]
        for name in self.FIELDS:
            getattr(self, name).copy_(snapshot[name])
