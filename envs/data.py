"""What passes between worlds, tasks, shapers and agents: observations, state fields, transitions and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Observation = torch.Tensor | dict[str, torch.Tensor]
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class StateField:
    """What one named measurement of a world means."""

    shape: tuple[int, ...]
    """Shape of one env's value."""
    unit: str
    """Unit in SI symbols, or the kind of index ("cell", "object type")."""
    description: str
    """One sentence."""
    dtype: torch.dtype = torch.float32
    privileged: bool = False
    """Whether a planner computes it that knows the solution; language models and their rewards are not shown it."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A batch of B transitions; `next_obs` and `next_state` are the true ones, before any reset."""

    obs: Observation
    state: State
    action: torch.Tensor
    next_obs: Observation
    next_state: State
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    env_id: torch.Tensor | None
    """int64 `(B,)`, None when the transition comes from a replay."""
    valid: torch.Tensor | None = None
    """bool `(B,)`, false where the episode was over before the step, so that nothing was done; None when all are real.
    Only NEXT_STEP and DISABLED know such rows."""

    def __len__(self) -> int:
        return len(self.reward)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one step of a world under a task came to; every tensor has the env axis first."""

    obs: Observation
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    done: torch.Tensor
    """Terminated or truncated."""
    success: torch.Tensor
    final_obs: Observation
    final_state: State
    episode: dict[str, torch.Tensor]
    """`return`, `length`, `success_once`, `success_at_end` up to this step, before any reset."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of `info`; every tensor has the env axis first."""


def where(mask: torch.Tensor, new: Any, old: Any) -> Any:
    """Choose rows of `new` where `mask` `(B,)` holds, else of `old`; for tensors and (nested) dicts of tensors."""
    if isinstance(new, Mapping):
        return {name: where(mask, new[name], old[name]) for name in new}
    return torch.where(mask.view(-1, *(1,) * (new.ndim - 1)), new, old)


def refreshed(mask: torch.Tensor, old: Any, make: Callable[[torch.Tensor | None], Any]) -> Any:
    """`old` but for the rows where `mask` `(B,)` holds, which are made anew; for tensors and (nested) dicts of tensors.

    Args:
        mask: bool `(B,)`.
        old: `(B, ...)`; it is not written into.
        make: gives the rows asked for, int64 `(R,)`, or all of them for None. The CPU asks for few rows where few are
            wanted; a GPU for all, since counting them would wait for the device.
    """
    if mask.device.type != "cpu":
        return where(mask, make(None), old)
    rows = mask.nonzero().squeeze(1)
    if 2 * len(rows) > len(mask):
        return where(mask, make(None), old)
    return _written(rows, make(rows), old) if len(rows) else old


def _written(rows: torch.Tensor, new: Any, old: Any) -> Any:
    if isinstance(new, Mapping):
        return {name: _written(rows, new[name], old[name]) for name in new}
    return old.clone().index_copy_(0, rows, new.to(old.dtype))


def clone(value: Any) -> Any:
    """Copy a tensor or a (nested) dict of tensors."""
    if isinstance(value, Mapping):
        return {name: clone(item) for name, item in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else value
