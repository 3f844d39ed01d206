"""A ring of steps of N envs that knows, at no cost, where the episode of every step begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from cairngym.envs.checks import check_shape

Columns = Mapping[str, Any]
"""Tensors and (nested) dicts of tensors, by name."""


def take(column: Any, rows: torch.Tensor) -> Any:
    """The entries of `(T, N, ...)` tensors at flat `rows`, int64 of any shape: `(*rows.shape, ...)`."""
    if isinstance(column, Mapping):
        return {name: take(entry, rows) for name, entry in column.items()}
    found = column.flatten(0, 1).index_select(0, rows.flatten())
    return found.view(*rows.shape, *column.shape[2:])


def leading(column: Any, count: int) -> Any:
    """The first `count` entries of every tensor, as copies."""
    if isinstance(column, Mapping):
        return {name: leading(entry, count) for name, entry in column.items()}
    return column[:count].clone()


class Ring:
    """The newest `length` steps of N envs.

    Steps are numbered from 0 in the order they were written; step t lies in slot t % length. Each env's episodes are
    numbered too. A table holds the last step of the newest `length + 1` of them: no more can have a step in the ring,
    or border on one that has.

    Args:
        length: how many steps of every env are kept.
        num_envs: N.
        device: where they are kept.
    """

    def __init__(self, length: int, num_envs: int, device: torch.device) -> None:
        self.length, self.num_envs, self.device = length, num_envs, device
        self.columns: dict[str, Any] = {}
        """Tensors `(length, N, ...)`; made by the first write."""
        self.steps = 0
        """Steps of every env written so far."""
        self.episode = torch.zeros(length, num_envs, dtype=torch.int64, device=device)
        self.running = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.last = torch.full((length + 1, num_envs), -1, dtype=torch.int64, device=device)

    @classmethod
    def of_episodes(cls, columns: Columns, lengths: torch.Tensor, device: torch.device) -> Ring:
        """A full ring of one env that lived the given episodes.

        Args:
            columns: `(S, ...)`, the episodes one after another.
            lengths: int64 `(E,)`, their lengths, which add up to S.
            device: where they are kept.
        """
        lengths = lengths.to(device)
        ring = cls(int(lengths.sum()), 1, device)
        ring.steps = ring.length
        ring.columns = _map(columns, lambda tensor: tensor.to(device).unsqueeze(1))
        ring.episode[:, 0] = torch.arange(len(lengths), device=device).repeat_interleave(lengths)
        ring.last[: len(lengths), 0] = lengths.cumsum(0) - 1
        ring.running.fill_(len(lengths))
        return ring

    @property
    def filled(self) -> int:
        """How many steps of every env are held."""
        return min(self.steps, self.length)

    @property
    def oldest(self) -> int:
        """The number of the oldest step held."""
        return self.steps - self.filled

    def write(self, columns: Columns, done: torch.Tensor) -> None:
        """Add one step of every env.

        Args:
            columns: `(N, ...)`, of the same names, shapes and dtypes at every call.
            done: bool `(N,)`, whose episode ended with this step.

        Raises:
            ValueError: a name or a shape differs from the first call's.
        """
        if not self.columns:
            self.columns = _map(columns, self._allocate)
        _write(self.columns, columns, self.steps % self.length)
        self.episode[self.steps % self.length] = self.running
        self.steps += 1
        self._end(done)

    def _allocate(self, first: torch.Tensor) -> torch.Tensor:
        return torch.zeros(self.length, *first.shape, dtype=first.dtype, device=self.device)

    def _end(self, mask: torch.Tensor) -> None:
        row = (self.running % (self.length + 1)).unsqueeze(0)
        self.last.scatter_(0, row, torch.where(mask, self.steps - 1, self.last.gather(0, row)))
        self.running += mask

    def cut(self) -> None:
        """Let every running episode end with the newest step, because something else follows."""
        before = ((self.running - 1) % (self.length + 1)).unsqueeze(0)
        self._end((self.last.gather(0, before) != self.steps - 1).squeeze(0))

    def locate(self, step: torch.Tensor, env: torch.Tensor) -> torch.Tensor:
        """Flat rows of the given steps and envs, int64 of their common shape."""
        return (step % self.length) * self.num_envs + env

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw steps and envs uniformly among all that are held, int64 `(count,)` each."""
        pick = torch.randint(self.filled * self.num_envs, (count,), generator=generator, device=self.device)
        return self.oldest + pick // self.num_envs, pick % self.num_envs

    def span(self, step: torch.Tensor, env: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """First and last step held of the episodes that the given steps belong to, int64 `(B,)` each.

        The last step of an episode that still runs is the newest.
        """
        number = take(self.episode, self.locate(step, env))
        runs = number == self.running.index_select(0, env)
        last = torch.where(runs, self.steps - 1, self._last(number, env))
        return (self._last(number - 1, env) + 1).clamp(min=self.oldest), last

    def _last(self, number: torch.Tensor, env: torch.Tensor) -> torch.Tensor:
        return take(self.last, (number % (self.length + 1)) * self.num_envs + env)

    def get_state(self) -> dict[str, Any]:
        """Copy what is held, and nothing of the slots that are still empty."""
        ended = self.filled if self.filled < self.length else self.length + 1
        return {
            "length": self.length, "num_envs": self.num_envs, "steps": self.steps,
            "columns": leading(self.columns, self.filled), "episode": self.episode[: self.filled].clone(),
            "running": self.running.clone(), "last": self.last[:ended].clone(),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy made by `get_state`.

        Raises:
            ValueError: it is of another length or number of envs.
        """
        size = (snapshot["length"], snapshot["num_envs"])
        if size != (self.length, self.num_envs):
            raise ValueError(
                f"Expected a replay of {self.length} steps of {self.num_envs} envs, got one of {size[0]} steps of "
                f"{size[1]} envs. Make it with the same capacity and num_envs."
            )
        self.steps = snapshot["steps"]
        self.columns = {}
        if self.steps:
            self.columns = _map(snapshot["columns"], lambda held: self._allocate(held[0]))
            _write(self.columns, snapshot["columns"], slice(0, self.filled))
        self.episode[: self.filled] = snapshot["episode"]
        self.running.copy_(snapshot["running"])
        self.last.fill_(-1)
        self.last[: len(snapshot["last"])] = snapshot["last"]


def _map(columns: Columns, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    return {
        name: _map(entry, change) if isinstance(entry, Mapping) else change(entry) for name, entry in columns.items()
    }


def _write(held: Columns, columns: Columns, slot: int | slice, where: str = "a step") -> None:
    if held.keys() != columns.keys():
        raise ValueError(f"Expected {where} with the entries {sorted(held)}, got {sorted(columns)}.")
    for name, entry in columns.items():
        if isinstance(entry, Mapping):
            _write(held[name], entry, slot, f"{name!r} of {where}")
            continue
        place = held[name][slot]
        check_shape(f"{name!r} of {where}", entry, tuple(place.shape), "as at the first write")
        place.copy_(entry)
